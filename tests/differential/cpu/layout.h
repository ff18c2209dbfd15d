// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

/// What a generated program finds in memory, at the same addresses on the host and in the guests:
///
///     code    0x100000  read, execute
///     data    0x200000  three pages read and write, a fourth to read only
///     stack   0x300000  two pages read and write
///
/// and nothing mapped around them.
#include <array>
#include <memory>
#include <string>
#include <vector>

#include "differential/native.h"
#include "x86/insn.h"

namespace triune::differential::cpu {

inline constexpr u64 code_address = 0x100000, slot_bytes = 256, batch = 128;
inline constexpr u64 code_bytes = slot_bytes * batch;
inline constexpr u64 data_at = 0x200000, data_writable = 0x3000, data_size = 0x4000;
inline constexpr u64 stack_at = 0x300000, stack_size = 0x2000;
inline constexpr u64 gs_base = data_at + 0x1000;
inline constexpr size_t image_bytes = data_size + stack_size;
/// As on Linux, because programs may read them.
inline constexpr u16 cs64 = 0x33, user_data = 0x2b;

using Image = std::array<u8, image_bytes>;  ///< data, then stack

struct Program {
    bool compat = false;  ///< 32-bit code
    u16 cs = cs64;
    std::vector<x86::Insn> insns;
    std::vector<u8> code;               ///< ends in UD2
    u32 undefined_flags = 0;            ///< at the end
    std::vector<u32> undefined_before;  ///< each instruction
    Registers in;
    u64 start = 0;  ///< address of code[0]

    [[nodiscard]] x86::CodeSize size() const {
        return compat ? x86::CodeSize::bits32 : x86::CodeSize::bits64;
    }
    [[nodiscard]] std::string text() const;
    /// The instruction at an address, or insns.size().
    [[nodiscard]] size_t index_of(u64 rip) const;
};

/// How a program ended: always in an exception, at best that of its UD2.
struct Outcome {
    Registers r;
    u64 rip = 0, cr2 = 0;
    u32 error = 0;
    i32 vector = -1;  ///< -1: it did not end
    Image memory;
};

struct Batch {
    std::vector<Program> programs;
    Image memory;  ///< what every program finds
};

}  // namespace triune::differential::cpu
