// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <expected>
#include <string>

#include "triune/vm.h"

namespace triune::machine {

struct EngineChoice {
    std::string engine, reason;
};

/// What `--engine auto` picks on this host, and why. `debugged`: for a VM with a debugger, which engine kvm
/// gives four break- and watchpoints only.
EngineChoice choose_engine(bool debugged = false);

}  // namespace triune::machine
