// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <vector>

#include "x86/insn.h"

namespace triune::hypervisor::soft::bt {

/// live = for each instruction of a block, the status flags (x86::flag bits) whose values before it can
/// still be read: by it, by a later one, or by whatever runs after the block. Entry n (one past the
/// last) is what is live at the end: all of them. At a conditional branch all are live.
///
/// A page fault does not count as a reader: where this says a flag is dead, a fault's saved image of
/// it is unspecified; the program cannot tell, since it overwrites the flag before reading it.
void live_flags(std::span<const x86::Insn> block, std::vector<u32>& live);

}  // namespace triune::hypervisor::soft::bt
