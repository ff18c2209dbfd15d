// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/bt/compiler.h"

namespace triune::hypervisor::soft::bt {

using x86::Insn;
using x86::Operand;
using x86::OperandKind;

/// [scratch0 + displacement] = what PUSH of a register or constant stores.
void BlockCompiler::store_pushed(const Insn& insn, int displacement) {
    const Operand& o = insn.op[0];
    if (narrow()) {
        const bool wide = insn.operand_bits == 32;
        const Xbyak::Address to = e_.ptr[t0() + displacement];
        if (o.kind == OperandKind::imm) {
            wide ? e_.mov(e_.dword[t0() + displacement], static_cast<u32>(o.disp))
                 : e_.mov(e_.word[t0() + displacement], static_cast<u16>(o.disp));
        } else if (o.kind == OperandKind::segment) {
            forget(scratch1);
            e_.movzx(t1().cvt32(),
                     e_.word[reinterpret_cast<const void*>(&s_.vcpu.state.seg[o.reg].selector)]);
            wide ? e_.mov(to, t1().cvt32()) : e_.mov(to, t1().cvt16());
        } else {
            wide ? e_.mov(to, host_reg(o.reg).cvt32()) : e_.mov(to, host_reg(o.reg).cvt16());
        }
        return;
    }
    const auto slot = e_.qword[t0() + displacement];
    if (o.kind == OperandKind::imm) {
        e_.mov(slot, static_cast<u64>(o.disp));
    } else {
        e_.mov(slot, address_register(static_cast<i8>(o.reg), t1()));
    }
}

void BlockCompiler::load_popped(const Insn& insn, int displacement) {
    const Operand& o = insn.op[0];
    if (narrow()) {
        const Xbyak::Reg64 to = host_reg(o.reg);
        insn.operand_bits == 32 ? e_.mov(to.cvt32(), e_.ptr[t0() + displacement])
                                : e_.mov(to.cvt16(), e_.ptr[t0() + displacement]);
    } else if (lives_in_memory(o.reg)) {
        e_.mov(t1(), e_.ptr[t0() + displacement]);
        e_.mov(e_.qword_at(s_.vcpu.state.gpr[o.reg]), t1());
        forget_guest(o.reg);
        hold_guest(scratch1, o.reg);
    } else {
        e_.mov(host_reg(o.reg), e_.ptr[t0() + displacement]);
    }
}

/// RSP += bytes, in the width of the stack. Clobbers scratch1 where that is 16 bits.
void BlockCompiler::move_rsp(int bytes) {
    if (!narrow()) {
        e_.lea(guest_rsp(), e_.ptr[guest_rsp() + bytes]);
    } else if (narrow()->stack_bits == 32) {
        e_.lea(guest_rsp().cvt32(), e_.ptr[guest_rsp() + bytes]);
    } else {
        forget(scratch1);
        e_.lea(t1().cvt32(), e_.ptr[guest_rsp() + bytes]);
        e_.mov(guest_rsp().cvt16(), t1().cvt16());
    }
}

void BlockCompiler::push(size_t i) {
    const Operand& o = insns_[i].op[0];
    const int bytes = static_cast<int>(slot_bytes(i));
    before_clobber(i);
    if (o.kind != OperandKind::mem) {
        store_pushed(insns_[i], access_stack(i, guest_rsp(), -bytes, true));
    } else {
        const int from = access(i, o, slot_bytes(i), false);
        const Xbyak::Reg value = bytes == 8   ? static_cast<const Xbyak::Reg&>(t1())
                                 : bytes == 4 ? static_cast<const Xbyak::Reg&>(t1().cvt32())
                                              : static_cast<const Xbyak::Reg&>(t1().cvt16());
        forget(scratch1);
        e_.mov(value, e_.ptr[t0() + from]);
        const bool again = !follows(i, AccessKind::stack);
        if (again) e_.mov(e_.qword_at(s_.data.spill), t1());
        const int to = access_stack(i, guest_rsp(), -bytes, true);
        if (again) e_.mov(t1(), e_.qword_at(s_.data.spill));
        e_.mov(e_.ptr[t0() + to], value);
    }
    move_rsp(-bytes);
}

void BlockCompiler::pop(size_t i) {
    const Operand& o = insns_[i].op[0];
    before_clobber(i);
    load_popped(insns_[i], access_stack(i, guest_rsp(), 0, false));
    if (o.reg != x86::rsp) move_rsp(static_cast<int>(slot_bytes(i)));
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
        if (group < 0 || group != plan(i, AccessKind::stack).group || slot_bytes(i + n) != slot_bytes(i))
            break;
        ++n;
    }
    return n;
}

/// They change RSP once, at the end.
void BlockCompiler::emit_run(size_t i, size_t count) {
    begin_instruction(i);
    const int slot = static_cast<int>(slot_bytes(i)), bytes = slot * static_cast<int>(count);
    const bool pushes = treatment_[i] == Treatment::push;
    before_clobber(i);
    access_stack(i, guest_rsp(), pushes ? -slot : 0, pushes);
    for (size_t k = 0; k < count; ++k) {
        const int offset = plan(i + k, AccessKind::stack).offset;
        if (pushes) {
            store_pushed(insns_[i + k], offset);
        } else {
            load_popped(insns_[i + k], offset);
        }
    }
    move_rsp(pushes ? -bytes : bytes);
}

}  // namespace triune::hypervisor::soft::bt
