// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "x86/insn.h"

namespace triune::x86 {

/// Everything that decode() found out, as one line for tests and people, for example
/// "add len=3 o64 a64 | rw*r0:64 r*r1:64 | W=CPAZSO"; `*` marks explicit operands, `?` writes that may
/// not happen, `~` flags that may stay, `!` undefined flags.
std::string describe(const Insn& insn);

}  // namespace triune::x86
