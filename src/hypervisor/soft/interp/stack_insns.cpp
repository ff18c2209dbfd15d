// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/interp/handlers.h"

namespace triune::hypervisor::soft::interp {
namespace {

using x86::rbp;
using x86::rsp;

/// Width of what PUSH, POP, ENTER, LEAVE, PUSHF move: 64 or 16 in 64-bit mode.
unsigned slot_bits(const Insn& i) {
    if (i.code != CodeSize::bits64) return i.operand_bits;
    return i.operand_bits == 16 ? 16 : 64;
}

bool push_value(Exec& e, const Insn& i, u64 v, unsigned bits) {
    if (i.code == CodeSize::bits64) [[likely]] {
        const Gva a = e.s.gpr[rsp] - bits / 8;
        if (e.flag(x86::flag::ac) && !e.check_alignment(a, bits / 8)) return false;
        if (!(bits == 64 ? e.store<u64>(a, v, x86::ss) : e.store<u16>(a, static_cast<u16>(v), x86::ss)))
            return false;
        e.s.gpr[rsp] = a;
        return true;
    }
    return e.take(e.sys.push(v, bits));
}

bool pop_value(Exec& e, const Insn& i, u64& v, unsigned bits) {
    if (i.code == CodeSize::bits64) [[likely]] {
        if (e.flag(x86::flag::ac) && !e.check_alignment(e.s.gpr[rsp], bits / 8)) return false;
        if (bits == 64) {
            if (!e.load<u64>(e.s.gpr[rsp], v, x86::ss)) return false;
        } else {
            u16 narrow;
            if (!e.load<u16>(e.s.gpr[rsp], narrow, x86::ss)) return false;
            v = narrow;
        }
        e.s.gpr[rsp] += bits / 8;
        return true;
    }
    return e.take(e.sys.pop(bits), v);
}

bool push(Exec& e, const Insn& i) {
    const Operand& o = i.op[0];
    const unsigned bits = slot_bits(i);
    u64 v = 0;
    switch (o.kind) {
        case OperandKind::gpr: v = e.s.gpr[o.reg]; break;
        case OperandKind::imm: v = static_cast<u64>(o.disp); break;
        case OperandKind::segment: v = e.s.seg[o.reg].selector; break;
        default:
            if (!with_width(bits, [&]<class T>() {
                    T x;
                    if (!e.read<T>(i, o, x)) return false;
                    v = x;
                    return true;
                }))
                return false;
    }
    return push_value(e, i, v & base::low_mask(bits), bits);
}

bool pop(Exec& e, const Insn& i) {
    const Operand& o = i.op[0];
    const unsigned bits = slot_bits(i);
    const u64 old_rsp = e.s.gpr[rsp];
    u64 v = 0;
    if (!pop_value(e, i, v, bits)) return false;
    bool ok = true;
    if (o.kind == OperandKind::gpr) {
        e.set_gpr(o.reg, v, bits);  // POP RSP: the popped value stays
    } else if (o.kind == OperandKind::segment) {
        ok = e.take(e.sys.load_segment(static_cast<Seg>(o.reg), static_cast<u16>(v)));
        if (ok && o.reg == x86::ss) e.s.interrupt_shadow = x86::shadow::mov_ss;
    } else {
        // The address is computed after RSP was incremented (Intel SDM 2B POP).
        ok = with_width(bits, [&]<class T>() { return e.write<T>(i, o, static_cast<T>(v)); });
    }
    if (!ok) e.s.gpr[rsp] = old_rsp;
    return ok;
}

bool pushf(Exec& e, const Insn& i) {
    u64 v = 0;
    const unsigned bits = slot_bits(i);
    return e.take(e.sys.pushf(bits), v) && push_value(e, i, v, bits);
}

bool popf(Exec& e, const Insn& i) {
    const unsigned bits = slot_bits(i);
    const u64 old_rsp = e.s.gpr[rsp];
    u64 v = 0;
    if (!pop_value(e, i, v, bits)) return false;
    if (e.take(e.sys.popf(v, bits))) return true;
    e.s.gpr[rsp] = old_rsp;
    return false;
}

bool pusha(Exec& e, const Insn& i) {
    const u64 old = e.s.gpr[rsp];
    for (unsigned r = 0; r < 8; ++r) {
        const u64 v = r == rsp ? old : e.s.gpr[r];
        if (!push_value(e, i, v & base::low_mask(i.operand_bits), i.operand_bits)) {
            e.s.gpr[rsp] = old;
            return false;
        }
    }
    return true;
}

bool popa(Exec& e, const Insn& i) {
    const u64 old = e.s.gpr[rsp];
    std::array<u64, 8> v{};
    for (unsigned r = 8; r-- > 0;)
        if (!pop_value(e, i, v[r], i.operand_bits)) {
            e.s.gpr[rsp] = old;
            return false;
        }
    for (unsigned r = 0; r < 8; ++r)
        if (r != rsp) e.set_gpr(r, v[r], i.operand_bits);
    return true;
}

bool leave(Exec& e, const Insn& i) {
    const unsigned bits = slot_bits(i);
    const u64 old_rsp = e.s.gpr[rsp];
    e.set_gpr(rsp, e.s.gpr[rbp], e.sys.stack_bits());
    u64 v = 0;
    if (!pop_value(e, i, v, bits)) {
        e.s.gpr[rsp] = old_rsp;
        return false;
    }
    e.set_gpr(rbp, v, bits);
    return true;
}

/// Intel SDM 2A ENTER.
bool enter(Exec& e, const Insn& i) {
    const unsigned bits = slot_bits(i);
    const unsigned stack = e.sys.stack_bits();
    const u64 size = static_cast<u16>(i.op[0].disp);
    const unsigned level = static_cast<unsigned>(i.op[1].disp & 31);
    const u64 old_rsp = e.s.gpr[rsp], old_rbp = e.s.gpr[rbp];
    const auto undo = [&] {
        e.s.gpr[rsp] = old_rsp;
        e.s.gpr[rbp] = old_rbp;
        return false;
    };
    if (!push_value(e, i, e.gpr(rbp, bits), bits)) return undo();
    const u64 frame = e.s.gpr[rsp];
    u64 display = old_rbp;
    for (unsigned n = 1; n < level; ++n) {
        display = (display - bits / 8) & base::low_mask(stack);
        Gva a = 0;
        u64 v = 0;
        if (!e.linear(i.code, x86::ss, display, bits / 8, Access::read, a) ||
            !e.load_sized(a, v, bits / 8, x86::ss) || !push_value(e, i, v, bits))
            return undo();
    }
    if (level && !push_value(e, i, frame & base::low_mask(bits), bits)) return undo();
    // The new stack top must be writable: checked with a write that is not done.
    const u64 top = (e.s.gpr[rsp] - size) & base::low_mask(stack);
    Gva a = 0;
    if (!e.linear(i.code, x86::ss, top, bits / 8, Access::write, a) ||
        !e.probe(a, bits / 8, Access::write, x86::ss))
        return undo();
    e.set_gpr(rsp, top, stack);
    e.set_gpr(rbp, frame, bits == 16 ? 16 : stack == 16 ? 32 : bits);
    return true;
}

}  // namespace

void register_stack(HandlerTable& t) {
    t.add(ZYDIS_MNEMONIC_PUSH, push);
    t.add(ZYDIS_MNEMONIC_POP, pop);
    t.add({ZYDIS_MNEMONIC_PUSHF, ZYDIS_MNEMONIC_PUSHFD, ZYDIS_MNEMONIC_PUSHFQ}, pushf);
    t.add({ZYDIS_MNEMONIC_POPF, ZYDIS_MNEMONIC_POPFD, ZYDIS_MNEMONIC_POPFQ}, popf);
    t.add({ZYDIS_MNEMONIC_PUSHA, ZYDIS_MNEMONIC_PUSHAD}, pusha);
    t.add({ZYDIS_MNEMONIC_POPA, ZYDIS_MNEMONIC_POPAD}, popa);
    t.add(ZYDIS_MNEMONIC_LEAVE, leave);
    t.add(ZYDIS_MNEMONIC_ENTER, enter);
}

}  // namespace triune::hypervisor::soft::interp
