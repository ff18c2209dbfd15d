// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

/// The dispatch table: a handler for each mnemonic and width of the first operand.
#include <array>
#include <initializer_list>

#include "hypervisor/soft/interp/exec.h"

namespace triune::hypervisor::soft::interp {

class HandlerTable {
public:
    /// One handler for every width.
    void add(ZydisMnemonic m, Handler h) { rows_[m].fill(h); }
    void add(std::initializer_list<ZydisMnemonic> ms, Handler h) {
        for (const ZydisMnemonic m : ms) add(m, h);
    }
    /// `F` is a captureless generic lambda: bool <class T>(Exec&, const Insn&), T the unsigned type
    /// of the first operand's width.
    template <class F>
    void add_sized(ZydisMnemonic m, F) {
        rows_[m] = {[](Exec& e, const Insn& i) { return F{}.template operator()<u8>(e, i); },
                    [](Exec& e, const Insn& i) { return F{}.template operator()<u16>(e, i); },
                    [](Exec& e, const Insn& i) { return F{}.template operator()<u32>(e, i); },
                    [](Exec& e, const Insn& i) { return F{}.template operator()<u64>(e, i); }};
    }
    [[nodiscard]] Handler find(ZydisMnemonic m, unsigned bits) const {
        return rows_[m][bits <= 8 ? 0 : bits <= 16 ? 1 : bits <= 32 ? 2 : 3];
    }

private:
    std::array<std::array<Handler, 4>, ZYDIS_MNEMONIC_MAX_VALUE + 1> rows_{};
};

void register_moves(HandlerTable& t);
void register_alu(HandlerTable& t);
void register_shifts(HandlerTable& t);
void register_multiply(HandlerTable& t);
void register_bits(HandlerTable& t);
void register_atomic(HandlerTable& t);
void register_bcd(HandlerTable& t);
void register_string(HandlerTable& t);
void register_stack(HandlerTable& t);
void register_control(HandlerTable& t);
void register_system(HandlerTable& t);
void register_segments(HandlerTable& t);
void register_x87_control(HandlerTable& t);
void register_save_restore(HandlerTable& t);
void register_vector_memory(HandlerTable& t);
void register_vector_moves(HandlerTable& t);

/// The handler of a decoded instruction; it raises #UD when there is none. Never null.
Handler handler_for(const Insn& i);
/// Whether there is one.
bool implemented(const Insn& i);

}  // namespace triune::hypervisor::soft::interp
