// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "x86/cpu_model.h"

namespace triune::hypervisor::soft::system {

/// What system instructions need to know of the CPU model, looked up once: CPUID bits as booleans
/// and the masks of register bits that may be set. The model must not change once a vCPU runs.
struct Features {
    const x86::CpuModel* model = nullptr;
    bool amd = false;           ///< AuthenticAMD or HygonGenuine
    bool kvm = false;           ///< the hypervisor leaves carry KVM's signature
    bool kvmclock = false;      ///< MSRs 0x4b564d00, 0x4b564d01
    bool kvmclock_old = false;  ///< MSRs 0x11, 0x12
    bool long_mode = false, syscall = false, sysenter = false, nx = false;
    bool invpcid = false, rdtscp = false, rdpid = false, xsave = false, xgetbv1 = false;
    bool mtrr = false, pat = false, tsc_deadline = false, x2apic = false;
    bool pred_cmd = false, flush_cmd = false, arch_capabilities = false;
    bool aperfmperf = false, osvw = false;
    u64 spec_ctrl_mask = 0;     ///< 0: no IA32_SPEC_CTRL
    u64 cr4_mask = 0;           ///< bits of CR4 that may be set
    u64 efer_mask = 0;          ///< bits of EFER that may be written (not LMA)
    unsigned linear_bits = 48;  ///< of a canonical address, as far as the processor supports
    u64 phys_reserved = 0;      ///< address bits at and above MAXPHYADDR

    static Features of(const x86::CpuModel& model);
};

}  // namespace triune::hypervisor::soft::system
