// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/bt/compiler.h"

namespace triune::hypervisor::soft::bt {

using x86::Operand;
using x86::OperandKind;

/// [scratch0 + displacement] = what PUSH `o` stores. A memory operand's value is in EngineData::spill.
void BlockCompiler::store_pushed(const Operand& o, int displacement) {
    const auto slot = e_.qword[t0() + displacement];
    if (o.kind == OperandKind::imm) {
        e_.mov(slot, static_cast<u64>(o.disp));
    } else if (o.kind == OperandKind::mem) {
        e_.mov(t1(), e_.qword_at(s_.data.spill));
        e_.mov(slot, t1());
    } else if (lives_in_memory(o.reg)) {
        e_.mov(t1(), e_.qword_at(s_.vcpu.state.gpr[o.reg]));
        e_.mov(slot, t1());
    } else {
        e_.mov(slot, host_reg(o.reg));
    }
}

void BlockCompiler::load_popped(const Operand& o, int displacement) {
    if (lives_in_memory(o.reg)) {
        e_.mov(t1(), e_.ptr[t0() + displacement]);
        e_.mov(e_.qword_at(s_.vcpu.state.gpr[o.reg]), t1());
    } else {
        e_.mov(host_reg(o.reg), e_.ptr[t0() + displacement]);
    }
}

void BlockCompiler::push(size_t i) {
    const Operand& o = insns_[i].op[0];
    before_clobber(i);
    if (o.kind == OperandKind::mem) {
        access(i, o, 8, false);
        e_.mov(t0(), e_.ptr[t0()]);
        e_.mov(e_.qword_at(s_.data.spill), t0());
    }
    e_.lea(t0(), e_.ptr[guest_rsp() - 8]);
    probe(8, true);
    store_pushed(o, 0);
    e_.lea(guest_rsp(), e_.ptr[guest_rsp() - 8]);
}

void BlockCompiler::pop(size_t i) {
    before_clobber(i);
    e_.mov(t0(), guest_rsp());
    probe(8, false);
    e_.lea(guest_rsp(), e_.ptr[guest_rsp() + 8]);
    load_popped(insns_[i].op[0], 0);
}

/// How many instructions from i on are pushes of registers and constants, or pops of registers,
/// RSP aside.
size_t BlockCompiler::run_length(size_t i) const {
    const Treatment kind = treatment_[i];
    if (kind != Treatment::push && kind != Treatment::pop) return 0;
    size_t n = 0;
    while (i + n < insns_.size() && treatment_[i + n] == kind && n < 32) {
        const Operand& o = insns_[i + n].op[0];
        if (o.kind == OperandKind::mem || (o.kind == OperandKind::gpr && o.reg == x86::rsp)) break;
        ++n;
    }
    return n;
}

/// One probe for all of them. Where it fails, the cold path takes them one by one.
void BlockCompiler::emit_run(size_t i, size_t count) {
    begin_instruction(i);
    run_begin_ = i;
    run_end_ = i + count;
    const int bytes = static_cast<int>(8 * count);
    const bool pushes = treatment_[i] == Treatment::push;
    before_clobber(i);
    if (pushes) {
        e_.lea(t0(), e_.ptr[guest_rsp() - bytes]);
    } else {
        e_.mov(t0(), guest_rsp());
    }
    probe(static_cast<unsigned>(bytes), pushes, true);
    const size_t cold = cold_.size() - 1;
    for (size_t k = 0; k < count; ++k) {
        const Operand& o = insns_[i + k].op[0];
        if (pushes) {
            store_pushed(o, bytes - 8 - static_cast<int>(8 * k));
        } else {
            load_popped(o, static_cast<int>(8 * k));
        }
    }
    e_.lea(guest_rsp(), e_.ptr[guest_rsp() + (pushes ? -bytes : bytes)]);
    cold_[cold].back = e_.offset();
}

void BlockCompiler::emit_run_cold(const Cold& c) {
    const Flags flags = flags_;
    flags_ = c.flags;
    for (size_t i = c.insn; i < c.insn_end; ++i) emit_instruction(i);
    e_.jump_to(c.back);
    flags_ = flags;
}

}  // namespace triune::hypervisor::soft::bt
