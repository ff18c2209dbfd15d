// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <Zydis/MetaInfo.h>
#include <Zydis/Mnemonic.h>

#include <array>
#include <span>
#include <string>

#include "base/types.h"
#include "x86/insn_set.h"

namespace triune::x86 {

/// Width of code: what CS.D/L select.
enum class CodeSize : u8 { bits16, bits32, bits64 };

enum class OperandKind : u8 {
    none,
    gpr,
    segment,
    control,
    debug,
    mmx,
    x87,
    vector,
    imm,
    mem,
    far_ptr,
    other
};

/// Which field of the instruction names an operand's register (what a rewriter has to change).
enum class OperandField : u8 { none, modrm_reg, modrm_rm, vvvv, opcode, other };

/// One operand, explicit ones first, then implicit. Register numbers are architectural:
/// gpr 0-15 (with `high8` for AH, CH, DH, BH: then reg is 0-3), segment 0-5, vector 0-15. Flags, RIP
/// and system registers appear as `other`. Implicit memory operands: string instructions [rSI], [rDI];
/// pushes and pops SS:[rSP + 0] (before the push's decrement; width by operand size, not by SS.B);
/// XLAT shows its base rBX only.
struct Operand {
    OperandKind kind = OperandKind::none;
    OperandField field = OperandField::none;
    u8 reg = 0;
    bool high8 = false;
    bool read = false, written = false;
    bool conditional_write = false;  ///< `written`, but perhaps not (CMOV, CMPXCHG, REP with count 0)
    bool is_explicit = false;
    bool immediate_is_relative = false;
    bool agen = false;  ///< mem: address only, no access (LEA, NOP, INVLPG, prefetch hints)
    bool vsib = false;  ///< mem: gather: `index` is a vector register, one access per element
    u16 bits = 0;       ///< operand size in bits
    u16 far_selector = 0;
    // mem: [seg: base + index*scale + disp]; -1 where absent; base 16 is RIP.
    i8 base = -1, index = -1;
    u8 scale = 0;
    u8 segment = 3;  ///< effective segment (Seg)
    i64 disp =
        0;  ///< mem: displacement; imm: the value, sign-extended where the ISA says so; far_ptr: offset
};

inline constexpr i8 base_rip = 16;

/// A decoded instruction. Plain data, independent of where it was fetched from.
struct Insn {
    ZydisMnemonic mnemonic = ZYDIS_MNEMONIC_INVALID;
    u8 length = 0;
    CodeSize code = CodeSize::bits64;
    u8 operand_bits = 0;  ///< effective operand size: 8..64
    u8 address_bits = 0;  ///< effective address size: 16..64
    u8 operand_count = 0;
    bool lock = false;
    bool rep = false;    ///< repeats (string instructions only): F3, or F2 where both mean the same
    bool repne = false;  ///< F2 before CMPS, SCAS
    bool vex = false;    ///< VEX-encoded
    bool uses_vector_state = false;               ///< touches x87, MMX, SSE, AVX registers or MXCSR/FCW
    bool is_branch = false;                       ///< changes RIP other than to the next instruction
    bool privileged = false;                      ///< CPL 0 only
    ZydisISAExt isa_ext = ZYDIS_ISA_EXT_INVALID;  ///< which CPUID feature it belongs to, roughly…
    ZydisISASet isa_set = ZYDIS_ISA_SET_INVALID;  ///< …and finely (SSE4.1 or SSE4.2)
    u8 opcode_map = 0;                            ///< 0: one byte, 1: 0F, 2: 0F38, 3: 0F3A
    u8 opcode = 0;
    u8 modrm_offset = 0, disp_offset = 0, disp_bits = 0, imm_offset = 0,
       imm_bits = 0;      ///< offsets 0 when absent
    u8 prefix_bytes = 0;  ///< legacy prefixes + REX/VEX before the opcode or escape
    u8 rex = 0;           ///< the REX byte, 0 if none
    bool has_modrm = false;
    u8 modrm = 0;
    /// Status flags (x86::flag bits, also DF): read; certainly written (set, cleared, by result, or
    /// undefined); possibly left unchanged although listed as written (shifts by CL, REP CMPS…).
    /// What is maybe written is also in flags_written: killed for sure is written & ~maybe_written.
    u32 flags_read = 0, flags_written = 0, flags_maybe_written = 0;
    u32 flags_undefined = 0;  ///< subset of flags_written with no defined value
    std::array<u8, 15> bytes{};
    std::array<Operand, 10> op{};

    [[nodiscard]] const Operand* memory() const {
        for (u8 i = 0; i < operand_count; ++i)
            if (op[i].kind == OperandKind::mem && !op[i].agen) return &op[i];
        return nullptr;
    }
};

enum class DecodeStatus : u8 {
    ok,
    need_more,  ///< the bytes end before the instruction does
    invalid,    ///< #UD; also UD0, UD1, UD2 and whatever the processor does not have
    too_long,   ///< longer than 15 bytes: #GP(0)
};
/// Decodes the instruction that starts at code[0] for a processor that has the instructions of `set`
/// (TZCNT and LZCNT on one without them are BSF and BSR). At most 15 bytes are looked at.
/// `out` changes only when the result is ok. 16-bit code is decoded by the rules of protected mode:
/// what real and virtual-8086 mode refuse (VEX, LLDT, LTR, LAR, LSL, VERR, VERW, ARPL, SLDT, STR) is
/// for the caller to check.
DecodeStatus decode(std::span<const u8> code, CodeSize size, Insn& out, const InsnSet& set = every_insn);

/// No two executions give the same: time and random numbers.
[[nodiscard]] inline bool reads_time_or_chance(const Insn& i) {
    return i.mnemonic == ZYDIS_MNEMONIC_RDTSC || i.mnemonic == ZYDIS_MNEMONIC_RDTSCP ||
           i.mnemonic == ZYDIS_MNEMONIC_RDRAND || i.mnemonic == ZYDIS_MNEMONIC_RDSEED;
}

/// "mov rax, qword ptr [rbx]" for people; `rip` is the address of the instruction.
std::string disassemble(std::span<const u8> code, CodeSize size, u64 rip);

}  // namespace triune::x86
