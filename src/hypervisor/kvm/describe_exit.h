// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <linux/kvm.h>

#include <string>

#include "x86/vcpu_state.h"

namespace triune::hypervisor::kvm {

/// For a person: why KVM_RUN cannot go on. One line, then where there is one the vCPU's state.
std::string describe_exit(const kvm_run& run, const x86::VcpuState& state);
/// The same for a KVM_RUN that failed with errno `code`.
std::string describe_failure(int code, const kvm_run& run);
/// The report of a triple fault. The exceptions that led there stay inside the processor.
std::string describe_shutdown(const x86::VcpuState& state);

}  // namespace triune::hypervisor::kvm
