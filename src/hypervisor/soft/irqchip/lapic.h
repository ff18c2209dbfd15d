// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>

#include "hypervisor/chip_state.h"
#include "hypervisor/soft/cpu/context.h"
#include "hypervisor/soft/irqchip/lapic_timer.h"
#include "hypervisor/soft/irqchip/message.h"

namespace triune::hypervisor::soft::irqchip {

/// What a local APIC needs of the rest of the chip.
class LapicBus {
public:
    virtual ~LapicBus() = default;
    /// Sends to the local APICs that `m` addresses; true if one accepted it.
    virtual bool send(const Message& m) = 0;
    /// To all, or to all but `except` when that is not negative.
    virtual void send_all(const Message& m, int except) = 0;
    /// End of a level-triggered interrupt.
    virtual void broadcast_eoi(u8 vector) = 0;
    /// INTR of the 8259A pair, and INTA (-1 when it has nothing).
    [[nodiscard]] virtual bool extint_pending() const = 0;
    virtual int extint_acknowledge() = 0;
    /// The processor's FERR#, answered with IGNNE#: see cpu::LocalApic::ferr.
    virtual bool ferr([[maybe_unused]] bool error) { return true; }
};

/// 256-bit interrupt register, set from any thread.
class VectorSet {
public:
    /// True if the bit was clear.
    bool set(u8 v) { return !(word_[v >> 6].fetch_or(mask(v), std::memory_order_seq_cst) & mask(v)); }
    bool clear(u8 v) { return word_[v >> 6].fetch_and(~mask(v), std::memory_order_seq_cst) & mask(v); }
    [[nodiscard]] bool test(u8 v) const { return word_[v >> 6].load(std::memory_order_acquire) & mask(v); }
    [[nodiscard]] int highest() const {
        for (int i = 3; i >= 0; --i)
            if (const u64 w = word_[static_cast<size_t>(i)].load(std::memory_order_seq_cst))
                return i * 64 + 63 - __builtin_clzll(w);
        return -1;
    }
    /// Bits 32i to 32i+31.
    [[nodiscard]] u32 part(unsigned i) const {
        return static_cast<u32>(word_[i / 2].load(std::memory_order_acquire) >> (i % 2 * 32));
    }
    void set_part(unsigned i, u32 value) {
        word_[i / 2].fetch_or(u64{value} << (i % 2 * 32), std::memory_order_seq_cst);
    }
    void clear_all() {
        for (auto& w : word_) w.store(0, std::memory_order_seq_cst);
    }

private:
    static u64 mask(u8 v) { return u64{1} << (v & 63); }
    std::array<std::atomic<u64>, 4> word_{};
};

/// One local APIC, xAPIC and x2APIC (Intel SDM 3A 11).
///
/// Threads: the LocalApic members belong to the vCPU's thread; what is marked "any thread" may be
/// called while it runs. Accepting an interrupt sets IRR and raises Signal::interrupt once: until
/// has_interrupt() has said "no", further interrupts find the vCPU already looking.
class Lapic final : public cpu::LocalApic {
public:
    Lapic(cpu::VcpuContext& vcpu, LapicBus& bus, base::EventLoop& loop);

    [[nodiscard]] u64 apic_base() const override { return base_.load(std::memory_order_relaxed); }
    bool set_apic_base(u64 value) override;
    std::optional<u64> read_x2apic(u32 msr) override;
    bool write_x2apic(u32 msr, u64 value) override;
    u32 read_mmio(u32 offset) override;
    void write_mmio(u32 offset, u32 value) override;
    [[nodiscard]] u64 cr8() const override { return tpr_ >> 4; }
    void set_cr8(u64 value) override { set_tpr(static_cast<u8>(value << 4)); }
    [[nodiscard]] u64 tsc_deadline() const override { return timer_.tsc_deadline(); }
    void set_tsc_deadline(u64 guest_tsc) override { timer_.set_tsc_deadline(guest_tsc); }
    [[nodiscard]] bool has_interrupt() override;
    int acknowledge() override;
    bool ferr(bool error) override { return bus_.ferr(error); }
    void reset(bool init) override;

    /// Enabled by IA32_APIC_BASE and in xAPIC mode: the register page is there.
    [[nodiscard]] bool mmio_enabled() const {
        return (apic_base() & (base_enable | base_x2apic)) == base_enable;
    }

    /// Whether `m` is addressed to this APIC. Any thread.
    [[nodiscard]] bool matches(const Message& m) const;
    /// Takes `m`, which is addressed to it; false if it may not (disabled, bad vector). Any thread.
    bool accept(const Message& m);
    /// Processor priority, for lowest-priority arbitration. Any thread.
    [[nodiscard]] u8 priority() const { return ppr_.load(std::memory_order_relaxed); }
    [[nodiscard]] bool software_enabled() const {
        return (apic_base() & base_enable) && (svr_.load(std::memory_order_relaxed) & svr_enable);
    }
    /// Rising edge of the LINT0 pin, which is the 8259A's INTR. Any thread.
    void lint0_rises();

    /// The timer's next expiry in monotonic_ns(), ~0 for none; poll_timer() then fires it. It is
    /// fired by the event loop too: whoever comes first. Any thread.
    [[nodiscard]] u64 next_deadline_ns() const { return timer_.next_deadline_ns(); }
    void poll_timer() { timer_.poll(); }

    /// While its vCPU does not run.
    [[nodiscard]] LapicState state();
    void set_state(const LapicState& s);

private:
    static constexpr u64 base_bsp = 1 << 8, base_x2apic = 1 << 10, base_enable = 1 << 11;
    static constexpr u32 svr_enable = 1 << 8;
    static constexpr u32 lvt_masked = 1 << 16;
    enum Lvt : u8 { lvt_timer, lvt_thermal, lvt_perf, lvt_lint0, lvt_lint1, lvt_error, lvt_count };
    enum Esr : u32 { esr_send_illegal = 1 << 5, esr_receive_illegal = 1 << 6, esr_illegal_register = 1 << 7 };

    [[nodiscard]] bool x2apic() const { return apic_base() & base_x2apic; }
    [[nodiscard]] u32 id() const { return vcpu_.index; }
    [[nodiscard]] u32 x2apic_ldr() const { return (id() >> 4) << 16 | 1u << (id() & 15); }
    /// Registers common to both modes, by register number (offset / 16). False: no such register.
    bool read_register(u32 reg, u32& value);
    bool write_register(u32 reg, u32 value);
    void write_lvt(unsigned index, u32 value);
    void set_tpr(u8 value);
    void set_svr(u32 value);
    void eoi();
    void send_ipi(u64 icr, bool wide);
    bool accept_fixed(u8 vector, bool level);
    void error(u32 bits);
    void update_priority();
    void notify();
    [[nodiscard]] bool accepts_extint() const;
    [[nodiscard]] int deliverable() const;

    cpu::VcpuContext& vcpu_;
    LapicBus& bus_;
    std::atomic<u64> base_{0};
    std::atomic<u32> svr_{0xff}, ldr_{0}, dfr_{~0u};
    std::array<std::atomic<u32>, lvt_count> lvt_{};
    VectorSet irr_, tmr_, isr_;
    std::atomic<u8> ppr_{0};
    u8 tpr_ = 0;
    std::atomic<u32> errors_{0};  ///< since the last write to ESR
    u32 esr_ = 0;
    u64 icr_ = 0;
    /// The vCPU knows that it has to look: set before the signal is raised, cleared when it found nothing.
    std::atomic<bool> noticed_{false};
    std::atomic<bool> extint_message_{false};
    LapicTimer timer_;
};

}  // namespace triune::hypervisor::soft::irqchip
