// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Random user-mode instructions that are safe to run in this process, and random state for them.
#include <random>

#include "differential/native.h"
#include "x86/insn.h"

namespace triune::differential {

enum class Family { integer, vector };

/// Not reproducible, not for user mode, or about the host's own state.
bool excluded(const x86::Insn& insn);

class Generator {
public:
    explicit Generator(u64 seed) : random_(seed) {}

    /// Registers only, or a memory operand [rbx + disp8] within the data pages.
    x86::Insn instruction(Family family);
    /// Registers with interesting values; RBX points into the middle of the data.
    Registers registers();
    void fill(std::span<u8> data);
    u64 number() { return random_(); }

private:
    u64 value();
    std::mt19937_64 random_;
};

}  // namespace triune::differential
