// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "hypervisor/soft/bt/narrow.h"

namespace triune::hypervisor::soft::bt {

/// How the translator treats an instruction.
enum class Treatment : u8 {
    decline,  ///< the reference engine executes it
    copy,     ///< runs as it is, registers renamed, memory operand redirected
    skip,     ///< no effect (NOP, ENDBR, prefetch)
    lea,
    bit_string,  ///< BT, BTS, BTR, BTC with a register offset into memory
    moffs,       ///< MOV between the accumulator and an absolute address
    push,
    pop,
    leave,
    string,  ///< MOVS and STOS, with or without REP
    cli,
    sti,
    cld,
    std,
    pushf,
    swapgs,
    rdtsc,
    read_segment,
    load_segment,  ///< in real and virtual-8086 mode: MOV, POP, LDS and its like
    push_all,
    pop_all,
    set_ac,  ///< STAC, CLAC: the rest runs with other access rights
    system,  ///< SystemOp
    jump,
    jump_indirect,
    conditional,
    loop,
    call,
    call_indirect,
    ret,
};

/// `narrow`: null for 64-bit code.
Treatment classify(const x86::Insn& insn, mmu::TlbMode mode, const NarrowMode* narrow);
/// The same for an instruction at `rip`: declines what does not lie within the code segment, or branches out
/// of it.
Treatment classify_at(u64 rip, const x86::Insn& insn, mmu::TlbMode mode, const NarrowMode* narrow);

/// Where a direct branch at `rip` goes.
u64 branch_target(const x86::Insn& insn, u64 rip);

/// Which one, for Treatment::system.
SystemOp system_op(const x86::Insn& insn);

/// Ends a block: control goes elsewhere or under another mode.
bool ends_block(const x86::Insn& insn, Treatment treatment);

/// Needs YMM state, not just x87 and SSE.
bool uses_avx(const x86::Insn& insn);

}  // namespace triune::hypervisor::soft::bt
