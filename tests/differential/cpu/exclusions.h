// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "x86/insn.h"

namespace triune::differential::cpu {

/// Instructions that cannot be compared: their results are not reproducible or are about the host's
/// own state, or they would leave the child.
bool excluded(const x86::Insn& insn);

}  // namespace triune::differential::cpu
