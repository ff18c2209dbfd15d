// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>

#include "x86/insn.h"
#include "x86/vcpu_state.h"

namespace triune::hypervisor::soft::verify {

/// The two states are one to any program. Status flags in `unseen` may differ; a vector component in
/// its initial configuration equals one that holds the initial values (Intel SDM 1 13.6). The x87 pointers to
/// the last instruction and its operand are not compared: the translator does not keep them.
bool same_state(const x86::VcpuState& a, const x86::VcpuState& b, u64 unseen);

/// Fields of `a` (the checked engine's) and `b` (the reference's) that differ, starred, and the general
/// registers all of them.
std::string side_by_side(const x86::VcpuState& a, const x86::VcpuState& b, u64 unseen);

/// Status flags that the straight-line code from here on overwrites before it reads them: no program
/// can tell what they hold. Flags that it neither reads nor overwrites are seen.
u64 unseen_flags(std::span<const x86::Insn> code);

/// Status flags that the manual leaves undefined after this code.
u64 undefined_flags(std::span<const x86::Insn> code);

}  // namespace triune::hypervisor::soft::verify
