// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/kvm/user_chips.h"

#include <algorithm>

namespace triune::hypervisor::kvm {

using soft::cpu::Signal;

UserChips::UserChips(const VmConfig& config, const x86::CpuModel& model, u64 tsc_offset) {
    std::vector<soft::cpu::VcpuContext*> contexts;
    for (unsigned i = 0; i < config.cpus; ++i) {
        auto context = std::make_unique<soft::cpu::VcpuContext>();
        context->index = i;
        context->model = &model;
        context->state.tsc_offset = tsc_offset;
        wakers_.push_back(std::make_unique<Relay>());
        context->signals.waker = wakers_.back().get();
        contexts.push_back(context.get());
        contexts_.push_back(std::move(context));
    }
    chip_ = std::make_unique<soft::irqchip::IrqChip>(contexts, *config.loop);
    events_ = std::make_unique<soft::irqchip::IrqEvents>(*chip_, *config.loop);
}

// -- what came --------------------------------------------------------------------------------------

Result<bool> UserApic::settle(const StateAccess& state) {
    soft::cpu::Signals& s = context_.signals;
    s.take(Signal::kick);       // KvmVcpu has its own flag
    s.take(Signal::interrupt);  // inject() looks
    s.take(Signal::smi);        // there is no system-management mode
    if (s.take(Signal::nmi)) nmis_ = std::min(nmis_ + s.nmis.exchange(0, std::memory_order_relaxed), 2u);
    if (s.take(Signal::init))
        if (auto r = reset(state); !r) return std::unexpected(r.error());
    // Only a processor that waits for it heeds a start-up message (Intel SDM 3A 9.4.4.1).
    if (s.take(Signal::sipi) && waiting_for_sipi_)
        if (auto r = start_up(state); !r) return std::unexpected(r.error());
    if (waiting_for_sipi_) {
        sleep(~u64{0});
        return false;
    }
    if (!halted_) return true;
    if (!nmis_ && !(run_.if_flag && apic_.has_interrupt())) {
        sleep(apic_.next_deadline_ns());
        return false;
    }
    halted_ = false;
    return true;
}

void UserApic::sleep(u64 deadline_ns) {
    context_.signals.wait(deadline_ns);
    if (apic_.next_deadline_ns() <= base::monotonic_ns()) apic_.poll_timer();
}

Result<void> UserApic::reset(const StateAccess& state) {
    auto s = state.read();
    if (!s) return std::unexpected(s.error());
    x86::reset_state(*s, true);
    apic_.reset(true);
    halted_ = false;
    nmis_ = 0;
    // The boot processor starts at the reset vector, the others wait (Intel SDM 3A 9.4.3).
    waiting_for_sipi_ = context_.index != 0;
    run_.if_flag = run_.ready_for_interrupt_injection = 0;
    return state.write(*s);
}

Result<void> UserApic::start_up(const StateAccess& state) {
    auto s = state.read();
    if (!s) return std::unexpected(s.error());
    const u8 vector = context_.signals.sipi_vector.load(std::memory_order_relaxed);
    s->seg[x86::cs].selector = static_cast<u16>(vector << 8);
    s->seg[x86::cs].base = u64{vector} << 12;
    s->rip = 0;
    waiting_for_sipi_ = false;
    return state.write(*s);
}

// -- in and out of the guest ------------------------------------------------------------------------

Result<void> UserApic::inject() {
    for (; nmis_; --nmis_)
        if (call(vcpu_, KVM_NMI) < 0) return fail_errno("KVM: KVM_NMI");
    bool waiting = apic_.has_interrupt();
    if (waiting && run_.if_flag && run_.ready_for_interrupt_injection) {
        if (const int vector = apic_.acknowledge(); vector >= 0) {
            kvm_interrupt interrupt{.irq = static_cast<u32>(vector)};
            if (call(vcpu_, KVM_INTERRUPT, &interrupt) < 0) return fail_errno("KVM: KVM_INTERRUPT");
            run_.ready_for_interrupt_injection = 0;
        }
        waiting = apic_.has_interrupt();
    }
    run_.request_interrupt_window = waiting;
    return {};
}

void UserApic::after_run() {
    if (run_.cr8 != cr8_) apic_.set_cr8(run_.cr8);
    // KVM has judged the write.
    if (run_.apic_base != apic_.apic_base()) (void)apic_.set_apic_base(run_.apic_base);
}

bool UserApic::read_msr(u32 index, u64& value) {
    if (index == msr_tsc_deadline) {
        value = apic_.tsc_deadline();
        return true;
    }
    if (index < 0x800 || index > 0x8ff) return false;
    const auto read = apic_.read_x2apic(index);
    if (read) value = *read;
    return read.has_value();
}

bool UserApic::write_msr(u32 index, u64 value, const StateAccess& state) {
    if (index == msr_tsc_deadline) {
        // The guest may have written its time-stamp counter.
        if (const auto offset = state.tsc_offset()) context_.state.tsc_offset = *offset;
        apic_.set_tsc_deadline(value);
        return true;
    }
    return index >= 0x800 && index <= 0x8ff && apic_.write_x2apic(index, value);
}

// -- state ------------------------------------------------------------------------------------------

void UserApic::add_to(x86::VcpuState& s) const {
    const u32 pending = context_.signals.pending.load(std::memory_order_acquire);
    const auto has = [pending](Signal signal) { return (pending & static_cast<u32>(signal)) != 0; };
    s.halted = halted_;
    s.waiting_for_sipi = waiting_for_sipi_;
    const u32 nmis = nmis_ + (has(Signal::nmi) ? context_.signals.nmis.load(std::memory_order_relaxed) : 0);
    s.nmi_pending = static_cast<u8>(std::min(s.nmi_pending + std::min(nmis, 2u), s.nmi_blocked ? 1u : 2u));
    s.init_pending = has(Signal::init);
    s.sipi_pending = has(Signal::sipi);
    s.sipi_vector = context_.signals.sipi_vector.load(std::memory_order_relaxed);
}

void UserApic::take_from(const x86::VcpuState& s) {
    halted_ = s.halted;
    waiting_for_sipi_ = s.waiting_for_sipi;
    nmis_ = 0;  // KVM_SET_VCPU_EVENTS has them
    context_.state.tsc_offset = s.tsc_offset;
    run_.if_flag = (s.rflags & x86::flag::if_) != 0;
    run_.ready_for_interrupt_injection = 0;  // KVM tells after its next run
    constexpr u32 messages =
        static_cast<u32>(Signal::nmi) | static_cast<u32>(Signal::init) | static_cast<u32>(Signal::sipi);
    context_.signals.pending.fetch_and(~messages, std::memory_order_acq_rel);
    context_.signals.nmis.store(0, std::memory_order_relaxed);
    context_.signals.sipi_vector.store(s.sipi_vector, std::memory_order_relaxed);
    if (s.init_pending) context_.signals.raise(Signal::init);
    if (s.sipi_pending) context_.signals.raise(Signal::sipi);
}

}  // namespace triune::hypervisor::kvm
