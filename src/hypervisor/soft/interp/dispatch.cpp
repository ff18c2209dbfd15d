// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/interp/dispatch.h"

#include "hypervisor/soft/interp/handlers.h"

namespace triune::hypervisor::soft::interp {
namespace {

const HandlerTable& table() {
    static const HandlerTable t = [] {
        HandlerTable made;
        register_moves(made);
        register_alu(made);
        register_shifts(made);
        register_multiply(made);
        register_bits(made);
        register_atomic(made);
        register_bcd(made);
        register_string(made);
        register_stack(made);
        register_control(made);
        register_system(made);
        register_segments(made);
        return made;
    }();
    return t;
}

bool undefined(Exec& e, const Insn&) { return e.ud(); }

Handler move(const Insn& i) {
    for (unsigned n = 0; n < 2; ++n) {
        if (i.op[n].kind == OperandKind::segment) return mov_segment;
        if (i.op[n].kind == OperandKind::control) return mov_control;
        if (i.op[n].kind == OperandKind::debug) return mov_debug;
    }
    return nullptr;
}

}  // namespace

Handler handler_for(const Insn& i) {
    if (const Handler h = i.mnemonic == ZYDIS_MNEMONIC_MOV ? move(i) : nullptr) return h;
    if (i.uses_vector_state) return vector_handler(i);
    const Handler h = table().find(i.mnemonic, i.op[0].bits);
    return h ? h : undefined;
}

bool implemented(const Insn& i) { return handler_for(i) != undefined; }

}  // namespace triune::hypervisor::soft::interp
