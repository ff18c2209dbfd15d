// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <vector>

#include "x86/insn.h"

namespace triune::x86 {

/// decode() of 64-bit code, made fast by memory: instructions that differ in nothing but the values of their
/// displacement and immediate decode alike. What an instruction is known by is its *head*: prefixes, opcode,
/// ModRM and SIB. Heads that differ in nothing but registers are a *kind*: the first one of a kind is decoded
/// with several displacements and immediates; if copying them over gives what decode() gives, the kind's
/// heads are remembered, else they are left to decode() for good. Heads with VEX or an address-size prefix,
/// and those of the three-byte maps, always are.
///
///     48 8b 44 24 | 18             mov rax, [rsp+0x18]
///     head        | displacement
class DecodeCache {
public:
    DecodeCache() : entries_(heads), kinds_(kinds) {}
    /// As x86::decode. `set` may change from call to call; the cache is emptied then.
    DecodeStatus decode(std::span<const u8> code, Insn& out, const InsnSet& set);

private:
    static constexpr size_t heads = 2048, kinds = 1024;
    static constexpr size_t max_operands = 4;
    struct Kind {
        u64 key = 0;  ///< 0: free
        bool usable = false;
        bool imm_signed = false;
    };
    struct Entry {
        u64 head = 0;  ///< its bytes, and how many they are in the last one; 0: free
        bool imm_signed = false;
        i8 memory = -1, imm = -1;  ///< operands whose values the displacement and the immediate are
        u8 length = 0, disp_offset = 0, disp_bits = 0, imm_offset = 0, imm_bits = 0;
        /// An Insn up to here: the other operands are as in any Insn.
        std::array<std::byte, offsetof(Insn, op) + max_operands * sizeof(Operand)> insn;
    };
    static Entry make_entry(u64 head, const Insn& insn);
    static void patch(const Entry& entry, const u8* code, Insn& out);
    static void learn(Kind& kind, Entry& entry, unsigned head_bytes, const u8* code, const InsnSet& set);

    std::vector<Entry> entries_;
    std::vector<Kind> kinds_;
    const InsnSet* set_ = nullptr;
};

}  // namespace triune::x86
