// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/bt/compiler.h"

namespace triune::hypervisor::soft::bt {

using x86::Operand;
using x86::OperandKind;

/// [scratch0 + displacement] = what PUSH of a register or constant stores.
void BlockCompiler::store_pushed(const Operand& o, int displacement) {
    const auto slot = e_.qword[t0() + displacement];
    if (o.kind == OperandKind::imm) {
        e_.mov(slot, static_cast<u64>(o.disp));
    } else {
        e_.mov(slot, address_register(static_cast<i8>(o.reg), t1()));
    }
}

void BlockCompiler::load_popped(const Operand& o, int displacement) {
    if (lives_in_memory(o.reg)) {
        e_.mov(t1(), e_.ptr[t0() + displacement]);
        e_.mov(e_.qword_at(s_.vcpu.state.gpr[o.reg]), t1());
        forget_guest(o.reg);
        hold_guest(scratch1, o.reg);
    } else {
        e_.mov(host_reg(o.reg), e_.ptr[t0() + displacement]);
    }
}

void BlockCompiler::push(size_t i) {
    const Operand& o = insns_[i].op[0];
    before_clobber(i);
    if (o.kind != OperandKind::mem) {
        store_pushed(o, access_stack(i, guest_rsp(), -8, true));
    } else {
        const int from = access(i, o, 8, false);
        forget(scratch1);
        e_.mov(t1(), e_.ptr[t0() + from]);
        const bool again = !follows(i, AccessKind::stack);
        if (again) e_.mov(e_.qword_at(s_.data.spill), t1());
        const int to = access_stack(i, guest_rsp(), -8, true);
        if (again) e_.mov(t1(), e_.qword_at(s_.data.spill));
        e_.mov(e_.ptr[t0() + to], t1());
    }
    e_.lea(guest_rsp(), e_.ptr[guest_rsp() - 8]);
}

void BlockCompiler::pop(size_t i) {
    const Operand& o = insns_[i].op[0];
    before_clobber(i);
    load_popped(o, access_stack(i, guest_rsp(), 0, false));
    if (o.reg != x86::rsp) e_.lea(guest_rsp(), e_.ptr[guest_rsp() + 8]);
}

/// How many instructions from i on are pushes of registers and constants, or pops of registers, RSP
/// aside, with one group of accesses. 0 if the first is none.
size_t BlockCompiler::run_length(size_t i) const {
    const Treatment kind = treatment_[i];
    if (kind != Treatment::push && kind != Treatment::pop) return 0;
    size_t n = 0;
    while (i + n < insns_.size() && treatment_[i + n] == kind) {
        const Operand& o = insns_[i + n].op[0];
        if (o.kind == OperandKind::mem || (o.kind == OperandKind::gpr && o.reg == x86::rsp)) break;
        const i16 group = plan(i + n, AccessKind::stack).group;
        if (group < 0 || group != plan(i, AccessKind::stack).group) break;
        ++n;
    }
    return n;
}

/// They change RSP once, at the end.
void BlockCompiler::emit_run(size_t i, size_t count) {
    begin_instruction(i);
    const int bytes = static_cast<int>(8 * count);
    const bool pushes = treatment_[i] == Treatment::push;
    before_clobber(i);
    access_stack(i, guest_rsp(), pushes ? -8 : 0, pushes);
    for (size_t k = 0; k < count; ++k) {
        const int offset = plan(i + k, AccessKind::stack).offset;
        if (pushes) {
            store_pushed(insns_[i + k].op[0], offset);
        } else {
            load_popped(insns_[i + k].op[0], offset);
        }
    }
    e_.lea(guest_rsp(), e_.ptr[guest_rsp() + (pushes ? -bytes : bytes)]);
}

}  // namespace triune::hypervisor::soft::bt
