// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Makes programs: random sequences over all user-mode instructions of a model.
#include <optional>
#include <random>

#include "differential/cpu/layout.h"

namespace triune::differential::cpu {

class ProgramMaker {
public:
    ProgramMaker(u64 seed, const x86::InsnSet& set) : random_(seed), set_(set) {}

    void reseed(u64 seed) { random_.seed(seed); }
    /// 32-bit code when there is a selector for it.
    Batch make_batch(u16 code32);

private:
    /// An encoding that decodes: what is fixed in it. The rest is random.
    struct Form {
        u8 map, opcode, prefix, vex, w, l, reg, register_rm;
        bool vsib;
    };
    struct Forms {
        std::vector<std::vector<Form>> by_mnemonic;
    };
    const Forms& forms(x86::CodeSize size);
    Forms find_forms(x86::CodeSize size) const;

    Program make_program(u16 code32, u64 start);
    bool add_random(Program& p);
    bool add_branch(Program& p);
    bool add_known_branch(Program& p, unsigned kind);
    bool add_load_mxcsr(Program& p, bool vex);
    bool add_load_flags(Program& p);
    bool add_x87_image(Program& p);
    bool small_indices(Program& p, const x86::Insn& i, const x86::Operand& m);
    u32 mxcsr();
    std::optional<x86::Insn> encode(const Form& f, x86::CodeSize size);
    /// Appends; false when it reads flags that are undefined here.
    bool append(Program& p, const x86::Insn& i);
    bool append_bytes(Program& p, std::initializer_list<u64> bytes);
    bool move_immediate(Program& p, u8 reg, u64 value);
    bool aim(Program& p, x86::Insn& i);
    u64 target(unsigned bytes);
    u64 value();
    void fill(std::span<u8> data);
    Registers registers();
    u64 number() { return random_(); }
    bool one_in(u64 n) { return random_() % n == 0; }

    std::mt19937_64 random_;
    const x86::InsnSet& set_;
    std::array<std::optional<Forms>, 3> forms_;
};

}  // namespace triune::differential::cpu
