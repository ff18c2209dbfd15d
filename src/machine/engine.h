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

/// What `--engine auto` picks on this host, and why.
EngineChoice choose_engine();

}  // namespace triune::machine
