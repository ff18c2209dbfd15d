// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

/// What decode() needs to know beyond Zydis: how registers are numbered in an Operand and
/// which instructions use vector state.
#include <Zydis/Zydis.h>

#include <array>

#include "x86/insn.h"

namespace triune::x86 {

struct RegisterName {
    OperandKind kind = OperandKind::other;
    u8 number = 0;
    bool high8 = false;
};

/// Indexed by ZydisRegister. What is not in an Operand's vocabulary (flags, RIP, GDTR, MXCSR…) is
/// `other`.
inline constexpr auto register_names = [] {
    std::array<RegisterName, ZYDIS_REGISTER_MAX_VALUE + 1> t{};
    auto fill = [&t](int first, int last, OperandKind kind, u8 number = 0, bool high8 = false) {
        for (int r = first; r <= last; ++r) t[static_cast<size_t>(r)] = {kind, number++, high8};
    };
    fill(ZYDIS_REGISTER_AL, ZYDIS_REGISTER_BL, OperandKind::gpr);
    fill(ZYDIS_REGISTER_AH, ZYDIS_REGISTER_BH, OperandKind::gpr, 0, true);
    fill(ZYDIS_REGISTER_SPL, ZYDIS_REGISTER_R15B, OperandKind::gpr, 4);
    fill(ZYDIS_REGISTER_AX, ZYDIS_REGISTER_R15W, OperandKind::gpr);
    fill(ZYDIS_REGISTER_EAX, ZYDIS_REGISTER_R15D, OperandKind::gpr);
    fill(ZYDIS_REGISTER_RAX, ZYDIS_REGISTER_R15, OperandKind::gpr);
    fill(ZYDIS_REGISTER_ST0, ZYDIS_REGISTER_ST7, OperandKind::x87);
    fill(ZYDIS_REGISTER_MM0, ZYDIS_REGISTER_MM7, OperandKind::mmx);
    fill(ZYDIS_REGISTER_XMM0, ZYDIS_REGISTER_XMM31, OperandKind::vector);
    fill(ZYDIS_REGISTER_YMM0, ZYDIS_REGISTER_YMM31, OperandKind::vector);
    fill(ZYDIS_REGISTER_ES, ZYDIS_REGISTER_GS, OperandKind::segment);
    fill(ZYDIS_REGISTER_CR0, ZYDIS_REGISTER_CR15, OperandKind::control);
    fill(ZYDIS_REGISTER_DR0, ZYDIS_REGISTER_DR15, OperandKind::debug);
    return t;
}();
static_assert(register_names[ZYDIS_REGISTER_BH].number == 3 && register_names[ZYDIS_REGISTER_BH].high8);
static_assert(register_names[ZYDIS_REGISTER_R15B].number == 15);
static_assert(register_names[ZYDIS_REGISTER_GS].number == 5);

/// x87, MMX, SSE or AVX state beyond what the operands show (MXCSR, control words, whole-state
/// saves). Operands in such registers count besides.
inline bool touches_vector_state(const ZydisDecodedInstruction& z) {
    switch (z.mnemonic) {
        // In those extensions, but about general registers, memory order or caches only.
        case ZYDIS_MNEMONIC_LFENCE:
        case ZYDIS_MNEMONIC_MFENCE:
        case ZYDIS_MNEMONIC_SFENCE:
        case ZYDIS_MNEMONIC_PREFETCHNTA:
        case ZYDIS_MNEMONIC_PREFETCHT0:
        case ZYDIS_MNEMONIC_PREFETCHT1:
        case ZYDIS_MNEMONIC_PREFETCHT2:
        case ZYDIS_MNEMONIC_MOVNTI:
        case ZYDIS_MNEMONIC_POPCNT:
        case ZYDIS_MNEMONIC_CRC32:
        case ZYDIS_MNEMONIC_PAUSE:
        case ZYDIS_MNEMONIC_XGETBV:
        case ZYDIS_MNEMONIC_XSETBV: return false;
        case ZYDIS_MNEMONIC_FXSAVE:
        case ZYDIS_MNEMONIC_FXSAVE64:
        case ZYDIS_MNEMONIC_FXRSTOR:
        case ZYDIS_MNEMONIC_FXRSTOR64: return true;
        default: break;
    }
    switch (z.meta.isa_ext) {
        case ZYDIS_ISA_EXT_X87:
        case ZYDIS_ISA_EXT_MMX:
        case ZYDIS_ISA_EXT_SSE:
        case ZYDIS_ISA_EXT_SSE2:
        case ZYDIS_ISA_EXT_SSE3:
        case ZYDIS_ISA_EXT_SSSE3:
        case ZYDIS_ISA_EXT_SSE4:
        case ZYDIS_ISA_EXT_AVX:
        case ZYDIS_ISA_EXT_AVX2:
        case ZYDIS_ISA_EXT_AVX2GATHER:
        case ZYDIS_ISA_EXT_AVXAES:
        case ZYDIS_ISA_EXT_AES:
        case ZYDIS_ISA_EXT_F16C:
        case ZYDIS_ISA_EXT_FMA:
        case ZYDIS_ISA_EXT_PCLMULQDQ:
        case ZYDIS_ISA_EXT_SHA:
        case ZYDIS_ISA_EXT_VAES:
        case ZYDIS_ISA_EXT_VPCLMULQDQ:
        case ZYDIS_ISA_EXT_XSAVE: return true;
        default: return false;
    }
}

}  // namespace triune::x86
