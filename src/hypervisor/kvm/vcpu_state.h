// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <linux/kvm.h>

#include <vector>

#include "hypervisor/kvm/device.h"
#include "x86/vcpu_state.h"

namespace triune::hypervisor::kvm {

kvm_segment to_kvm(const x86::Segment& s);
x86::Segment from_kvm(const kvm_segment& s);
kvm_regs to_kvm_regs(const x86::VcpuState& s);
void from_kvm_regs(x86::VcpuState& s, const kvm_regs& r);
/// Leaves what VcpuState does not hold (APIC base, CR8) as it is in `r`.
void to_kvm_sregs(kvm_sregs& r, const x86::VcpuState& s);
void from_kvm_sregs(x86::VcpuState& s, const kvm_sregs& r);

inline constexpr u32 msr_tsc = 0x10, msr_apic_base = 0x1b, msr_tsc_deadline = 0x6e0,
                     msr_wall_clock = 0x4b564d00;
/// One MSR's value in or out.
bool get_msr(int vcpu, u32 index, u64& value);
bool set_msr(int vcpu, u32 index, u64 value);

/// One vCPU's architectural state, both ways. All calls on the vCPU's thread, outside KVM_RUN.
class StateAccess {
public:
    /// Finds out which MSRs and which TSC interface this KVM has. After KVM_SET_CPUID2. `pku`: the guest
    /// has protection keys. `kernel_apic`: KVM has the local APIC, and with it halts, INIT and start-up.
    StateAccess(int vcpu, const Device& device, bool pku, bool kernel_apic);

    Result<x86::VcpuState> read() const;
    Result<void> write(const x86::VcpuState& s) const;
    /// Guest TSC = host TSC + `offset` (without TSC scaling).
    Result<void> set_tsc_offset(u64 offset) const;

    [[nodiscard]] Result<u64> tsc_offset() const;

private:
    struct Msr {
        u32 index;
        u64* (*slot)(x86::VcpuState&, u32 index);  ///< where VcpuState keeps it
    };
    static const std::vector<Msr>& all_msrs();
    Result<void> read_msrs(x86::VcpuState& s) const;
    Result<void> write_msrs(const x86::VcpuState& s) const;
    Result<void> read_extended(x86::VcpuState& s) const;
    Result<void> write_extended(const x86::VcpuState& s) const;
    Result<void> read_pdptes(x86::VcpuState& s) const;
    Result<void> write_pdptes(const x86::VcpuState& s) const;
    Result<void> read_run_state(x86::VcpuState& s) const;
    Result<void> read_events(x86::VcpuState& s) const;
    /// `events`: what KVM was delivering, where that still belongs to the state.
    Result<void> write_events(const x86::VcpuState& s, kvm_vcpu_events events) const;

    int vcpu_;
    bool kernel_apic_, xcrs_, sregs2_, tsc_attribute_ = false;
    unsigned pkru_offset_;  ///< in the XSAVE area; 0: no PKRU
    std::vector<Msr> msrs_;
};

}  // namespace triune::hypervisor::kvm
