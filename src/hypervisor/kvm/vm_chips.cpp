// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
//
// The in-kernel interrupt chips' state taken out and put in. No vCPU runs meanwhile.
#include <algorithm>
#include <string>

#include "base/event_loop.h"
#include "hypervisor/kvm/chip_state.h"
#include "hypervisor/kvm/vcpu_state.h"
#include "hypervisor/kvm/vm_state.h"

namespace triune::hypervisor::kvm {
namespace {

/// GSI 0 is pin 2 of the IOAPIC, and the pair's cascade its IR2.
constexpr u32 timer_gsi = 1 << 0, cascade = 1 << 2, timer_pin = 1 << 2;

u32 pins_of(u32 gsis) { return (gsis & ~(timer_gsi | timer_pin)) | (gsis & timer_gsi ? timer_pin : 0); }

std::unexpected<Error> refused(const char* what) { return fail_errno(std::string("KVM: ") + what); }

Result<kvm_irqchip> get_chip(int vm, u32 id) {
    kvm_irqchip chip{};
    chip.chip_id = id;
    if (call(vm, KVM_GET_IRQCHIP, &chip) < 0) return refused("KVM_GET_IRQCHIP");
    return chip;
}

Result<void> set_chip(int vm, kvm_irqchip chip) {
    if (call(vm, KVM_SET_IRQCHIP, &chip) < 0) return refused("KVM_SET_IRQCHIP");
    return {};
}

Result<LapicState> read_lapic(int vcpu) {
    LapicState s;
    kvm_lapic_state registers{};
    if (call(vcpu, KVM_GET_LAPIC, &registers) < 0) return refused("KVM_GET_LAPIC");
    from_kvm(s, registers);
    if (!get_msr(vcpu, msr_apic_base, s.apic_base)) return refused("IA32_APIC_BASE");
    (void)get_msr(vcpu, msr_tsc_deadline, s.tsc_deadline);  // not where CPUID does not show it
    return s;
}

Result<void> write_lapic(int vcpu, const LapicState& s) {
    // The mode first: it decides what the registers mean. The deadline last: it wants its mode in the LVT.
    if (!set_msr(vcpu, msr_apic_base, s.apic_base)) return refused("IA32_APIC_BASE");
    kvm_lapic_state registers{};
    if (call(vcpu, KVM_GET_LAPIC, &registers) < 0) return refused("KVM_GET_LAPIC");
    to_kvm(registers, s);
    if (call(vcpu, KVM_SET_LAPIC, &registers) < 0) return refused("KVM_SET_LAPIC");
    if (s.tsc_deadline && !set_msr(vcpu, msr_tsc_deadline, s.tsc_deadline))
        return refused("IA32_TSC_DEADLINE");
    return {};
}

}  // namespace

void VmState::set_gsi(unsigned gsi, bool level) {
    if (user_chips_) return user_chips_->chip().set_gsi(gsi, level);
    const u32 bit = gsi < Routing::lines ? 1u << gsi : 0;
    if (level)
        levels_.fetch_or(bit, std::memory_order_relaxed);
    else
        levels_.fetch_and(~bit, std::memory_order_relaxed);
    kvm_irq_level line{};
    line.irq = gsi;
    line.level = level;
    call(fd(), KVM_IRQ_LINE, &line);
}

Result<std::vector<int>> VmState::all_vcpus() {
    const base::MutexLock lock(mutex_);
    if (std::ranges::find(vcpus_, -1) != vcpus_.end()) return fail("KVM: not all vCPUs exist");
    return vcpus_;
}

Result<ChipState> VmState::chip_state() {
    const auto vcpus = all_vcpus();
    if (!vcpus) return std::unexpected(vcpus.error());
    auto s = user_chips_ ? user_chips_->chip().state() : kernel_chips(*vcpus);
    if (!s) return s;
    for (unsigned i = 0; i < vcpus->size(); ++i) {
        kvm_vcpu_events events{};
        if (call((*vcpus)[i], KVM_GET_VCPU_EVENTS, &events) < 0) return refused("KVM_GET_VCPU_EVENTS");
        if (events.interrupt.injected && !events.interrupt.soft) take_back(*s, i, events.interrupt.nr);
    }
    kvm_clock_data clock{};
    if (call(fd(), KVM_GET_CLOCK, &clock) < 0) return refused("KVM_GET_CLOCK");
    s->clock = {.host_ns = base::monotonic_ns(), .guest_ns = clock.clock};
    return s;
}

Result<ChipState> VmState::kernel_chips(const std::vector<int>& vcpus) {
    // INIT and start-up messages that have come take effect now, on the local APIC too.
    for (const int vcpu : vcpus) {
        kvm_mp_state mp{};
        if (call(vcpu, KVM_GET_MP_STATE, &mp) < 0) return refused("KVM_GET_MP_STATE");
    }
    ChipState s;
    kvm_pit_state2 pit{};
    if (call(fd(), KVM_GET_PIT2, &pit) < 0) return refused("KVM_GET_PIT2");
    from_kvm(s.pit, pit, base::monotonic_ns());

    const u32 levels = levels_.load(std::memory_order_relaxed) & ~timer_gsi;
    const auto ioapic = get_chip(fd(), KVM_IRQCHIP_IOAPIC);
    if (!ioapic) return std::unexpected(ioapic.error());
    from_kvm(s.ioapic, ioapic->chip.ioapic, pins_of(levels | (s.pit.line ? timer_gsi : 0)));
    for (u32 i = 0; i < s.pic.size(); ++i) {
        const auto chip = get_chip(fd(), i ? KVM_IRQCHIP_PIC_SLAVE : KVM_IRQCHIP_PIC_MASTER);
        if (!chip) return std::unexpected(chip.error());
        from_kvm(s.pic[i], chip->chip.pic);
    }
    if (s.pit.line) s.pic[0].lines |= timer_gsi;

    for (const int vcpu : vcpus) {
        const auto apic = read_lapic(vcpu);
        if (!apic) return std::unexpected(apic.error());
        s.lapic.push_back(*apic);
    }
    return s;
}

Result<void> VmState::set_chip_state(const ChipState& s) {
    const auto vcpus = all_vcpus();
    if (!vcpus) return std::unexpected(vcpus.error());
    if (s.lapic.size() != vcpus->size())
        return fail("the state of " + std::to_string(s.lapic.size()) + " local APICs is for another VM");
    if (user_chips_) {
        // KVM knows of the mode, and shows it in CPUID.
        for (size_t i = 0; i < vcpus->size(); ++i)
            if (!set_msr((*vcpus)[i], msr_apic_base, s.lapic[i].apic_base)) return refused("IA32_APIC_BASE");
        user_chips_->chip().set_state(s);
    } else if (auto r = set_kernel_chips(*vcpus, s); !r) {
        return r;
    }
    kvm_clock_data clock{};
    clock.clock = s.clock.guest_ns + (base::monotonic_ns() - s.clock.host_ns);
    if (call(fd(), KVM_SET_CLOCK, &clock) < 0) return refused("KVM_SET_CLOCK");
    return {};
}

Result<void> VmState::set_kernel_chips(const std::vector<int>& vcpus, const ChipState& s) {
    // The local APICs before what sends to them.
    for (size_t i = 0; i < vcpus.size(); ++i)
        if (auto r = write_lapic(vcpus[i], s.lapic[i]); !r) return r;

    auto ioapic = get_chip(fd(), KVM_IRQCHIP_IOAPIC);
    if (!ioapic) return std::unexpected(ioapic.error());
    to_kvm(ioapic->chip.ioapic, s.ioapic);
    if (auto r = set_chip(fd(), *ioapic); !r) return r;
    for (u32 i = 0; i < s.pic.size(); ++i) {
        auto chip = get_chip(fd(), i ? KVM_IRQCHIP_PIC_SLAVE : KVM_IRQCHIP_PIC_MASTER);
        if (!chip) return std::unexpected(chip.error());
        to_kvm(chip->chip.pic, s.pic[i]);
        // KVM's timer pulses its line, and the cascade is a pulse too: both are low in between.
        if (i == 0) chip->chip.pic.last_irr &= static_cast<u8>(~(timer_gsi | cascade));
        if (auto r = set_chip(fd(), *chip); !r) return r;
    }
    const u32 gsis = (s.ioapic.lines & ~timer_pin) & ((1u << Routing::lines) - 1);
    levels_.store(gsis, std::memory_order_relaxed);

    kvm_pit_state2 pit{};
    if (call(fd(), KVM_GET_PIT2, &pit) < 0) return refused("KVM_GET_PIT2");
    to_kvm(pit, s.pit);
    if (call(fd(), KVM_SET_PIT2, &pit) < 0) return refused("KVM_SET_PIT2");
    return {};
}

}  // namespace triune::hypervisor::kvm
