// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <linux/kvm.h>

#include <vector>

#include "hypervisor/kvm/device.h"
#include "x86/cpu_model.h"

namespace triune::hypervisor::kvm {

/// CPUID as KVM_SET_CPUID2 takes it.
using CpuidTable = std::vector<kvm_cpuid_entry2>;

/// What this host's KVM can give a guest (KVM_GET_SUPPORTED_CPUID).
Result<CpuidTable> supported_cpuid(const Device& device);

/// `model` without what this KVM cannot do: feature bits that neither `supported` nor the in-kernel APIC
/// gives are cleared, MAXPHYADDR and XCR0 are no larger than KVM's. Everything else (vendor, topology,
/// caches, clocks) stays the model's own, so that a guest sees the same processor under every engine.
x86::CpuModel limit_model(const x86::CpuModel& model, const CpuidTable& supported, bool tsc_deadline);

/// limit_model() by what `device` says.
Result<x86::CpuModel> model_for(const Device& device, const x86::CpuModel& model, bool kernel_chips);

/// The table of the vCPU whose APIC id is `index`.
CpuidTable vcpu_cpuid(const x86::CpuModel& model, unsigned index);

/// KVM_SET_CPUID2.
Result<void> set_cpuid(int vcpu, const CpuidTable& table);

}  // namespace triune::hypervisor::kvm
