// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "x86/insn.h"

namespace triune::x86 {

/// VEX.W of `i` selects between 32 and 64 bits of a general register or of what may stand in its place in
/// memory (VMOVD/Q, VCVTSI2SS, VPINSRD/Q…). Outside 64-bit mode that bit is ignored (Intel SDM 2A 2.3.5.5).
inline bool vex_w_widens_integer(const Insn& i) {
    if (!i.vex) return false;
    bool memory = false;
    for (u8 n = 0; n < i.operand_count; ++n) {
        if (i.op[n].kind == OperandKind::gpr && i.op[n].is_explicit) return true;
        memory |= i.op[n].kind == OperandKind::mem && i.op[n].is_explicit;
    }
    if (!memory) return false;
    switch (i.mnemonic) {
        case ZYDIS_MNEMONIC_VMOVD:
        case ZYDIS_MNEMONIC_VCVTSI2SS:
        case ZYDIS_MNEMONIC_VCVTSI2SD:
        case ZYDIS_MNEMONIC_VPEXTRD:
        case ZYDIS_MNEMONIC_VPINSRD: return true;
        default: return false;
    }
}

}  // namespace triune::x86
