// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <expected>
#include <string>

#include "base/result.h"
#include "triune/vm.h"
#include "x86/cpu_model.h"

namespace triune::machine {

struct EngineChoice {
    std::string engine, reason;
};

/// Whether VMs run under engine "kvm" on this host's processor model: an error names the features that the
/// guest has been shown and that KVM lacks.
Result<void> kvm_can_go_on(const x86::CpuModel& model, bool kernel_chips);

/// For a VM that is to run under engine "kvm" whatever the probe thinks: what that found, empty if all is
/// well. An error where KVM would never come back.
Result<std::string> doubts_about_kvm();

/// What `--engine auto` picks on this host, and why. `debugged`: for a VM with a debugger, which engine kvm
/// gives four break- and watchpoints only.
EngineChoice choose_engine(bool debugged = false);

}  // namespace triune::machine
