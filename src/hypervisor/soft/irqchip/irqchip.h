// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <vector>

#include "hypervisor/soft/irqchip/ioapic.h"
#include "hypervisor/soft/irqchip/lapic.h"
#include "hypervisor/soft/irqchip/pic.h"
#include "hypervisor/soft/irqchip/pit.h"

namespace triune::hypervisor::soft::irqchip {

/// The interrupt chip of one VM. Any thread, except that a Lapic's registers belong to its vCPU.
class IrqChip final : private LapicBus {
public:
    static constexpr Gpa ioapic_base = 0xfec00000;

    /// One local APIC for each of `vcpus`, which live as long as the chip. APIC id = index.
    IrqChip(const std::vector<cpu::VcpuContext*>& vcpus, base::EventLoop& loop);

    Lapic& apic(unsigned vcpu) { return *apics_[vcpu]; }

    /// GSI 0-15 reach the 8259A pair and the IOAPIC, 16-23 the IOAPIC. GSI 0 is IOAPIC pin 2 (the
    /// interrupt source override that the ACPI tables state); the pair's IR2 is its cascade.
    void set_gsi(unsigned gsi, bool level);
    void signal_msi(u64 address, u32 data);
    /// `ended` hears, on the vCPU's thread and without a lock held, that the guest has ended the interrupt of
    /// a GSI that is a bit of watch_ends(). To be set before vCPUs run.
    void on_end_of_interrupt(std::function<void(unsigned gsi)> ended) { ended_ = std::move(ended); }
    void watch_ends(u32 gsis);

    [[nodiscard]] static bool owns_port(u16 port) {
        return (port & 0xff7e) == 0x20 || (port >= 0x40 && port <= 0x43) || port == 0x61 ||
               (port & 0xfffe) == 0x4d0 || is_coprocessor(port);
    }
    [[nodiscard]] static bool owns_mmio(Gpa gpa) { return gpa - ioapic_base < IoApic::window; }
    /// Byte registers; a wider access is split by the caller.
    u8 port_read(u16 port);
    void port_write(u16 port, u8 value);
    IoApic& ioapic() { return ioapic_; }

    /// All but the clock. While no vCPU runs and nothing else calls in.
    [[nodiscard]] ChipState state();
    void set_state(const ChipState& s);

private:
    bool send(const Message& m) override;
    void send_all(const Message& m, int except) override;
    void broadcast_eoi(u8 vector) override { ioapic_.eoi(vector); }
    void pin_ended(unsigned pin) { ended_(pin == 2 ? 0 : pin); }
    [[nodiscard]] bool extint_pending() const override { return pic_.output(); }
    int extint_acknowledge() override { return pic_.acknowledge(); }
    bool ferr(bool error) override;
    /// A write ends IRQ 13 and asserts IGNNE# until FERR# ends (PIIX3 datasheet, coprocessor error register).
    static bool is_coprocessor(u16 port) { return (port & 0xfffe) == 0xf0; }
    static bool is_pit(u16 port) { return (port & 0xfffc) == 0x40 || port == 0x61; }

    std::function<void(unsigned)> ended_ = [](unsigned) {};
    std::atomic<bool> ferr_{false}, ignne_{false};
    // The timers' handlers reach everything above them, so Pit and the APICs go first.
    PicPair pic_;
    IoApic ioapic_;
    std::vector<std::unique_ptr<Lapic>> apics_;
    Pit pit_;
};

}  // namespace triune::hypervisor::soft::irqchip
