// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <span>
#include <vector>

#include "hypervisor/soft/bt/classify.h"
#include "x86/insn.h"

namespace triune::hypervisor::soft::bt {

/// What an instruction does to memory through its ModRM operand, and through RSP (or LEAVE's RBP).
enum class AccessKind : u8 { operand, stack };

/// How one access gets its host address. Accesses whose addresses differ by a constant known at
/// translation time form a group: the first one (its leader) probes the TLB for the range that covers
/// them all, and the host address of the range's low end serves the others until the block ends or
/// calls. A group never mixes a leader that only reads with members that write.
///
///     mov rax, [rbx+8]     leader: probes [rbx+8, rbx+32)      0xc: its low end
///     mov rcx, [rbx+16]    member: offset 8
///     add rbx, 8
///     mov edx, [rbx+20]    member: offset 20
struct AccessPlan {
    i16 group = -1;  ///< -1: on its own
    bool leader = false;
    u8 slot = 0;     ///< where the group's host address is kept
    u16 offset = 0;  ///< of this access from the range's low end
    u16 bytes = 0;   ///< leader: length of the range
};

using AccessPlans = std::vector<std::array<AccessPlan, 2>>;

/// By instruction and AccessKind. `rip`: of the first instruction. `narrow`: null for 64-bit code. `slots`:
/// how many groups there is room for.
///
/// In 16- and 32-bit code distances are modulo the address size. A range that wraps is no problem: at 4 GiB
/// there is a page boundary, and code that uses 16-bit addresses looks for it.
AccessPlans plan_accesses(std::span<const x86::Insn> insns, std::span<const Treatment> treatment, u64 rip,
                          const NarrowMode* narrow, unsigned slots);

}  // namespace triune::hypervisor::soft::bt
