// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "base/types.h"

namespace triune::hypervisor::kvm {

/// What this host's /dev/kvm is worth.
struct Probe {
    /// Backed by VT-x or AMD-V, and guest code runs right and at the processor's speed in kernel and in
    /// user mode. `--engine auto` takes KVM only then.
    bool good = false;
    /// A guest ran to its end at all: `--engine kvm` may be tried.
    bool runs = false;
    /// KVM did not come back from its guest: no VM is to be tried.
    bool stuck = false;
    std::string verdict;  ///< one line for a person: why, with figures where a guest ran

    u64 native_ns = 0;  ///< the loop on the host
    u64 kernel_ns = 0;  ///< the same in the guest's kernel mode
    u64 user_ns = 0;    ///< and in its user mode
    u64 call_ns = 0;    ///< one system call of the guest
    u64 table_ns = 0;   ///< one change of a page table with the flush and the access that need it
};

/// The processor says that it has VT-x or AMD-V (Intel SDM 2A CPUID leaf 1 ECX bit 5; AMD APM 3 leaf
/// 80000001h ECX bit 2).
bool hardware_virtualization();

/// Runs the probe's guest, within two seconds whatever KVM does. The first call does it, later ones tell
/// what it found. Any thread.
const Probe& probe();

/// The judgement alone, on measured figures: fills `good` and `verdict`.
void judge(Probe& p, bool hardware);

}  // namespace triune::hypervisor::kvm
