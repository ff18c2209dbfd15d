// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/bt/compiler.h"

namespace triune::hypervisor::soft::bt {

using x86::Insn;
using x86::Operand;
using x86::OperandField;
using x86::OperandKind;

namespace {

bool keeps_part(const Operand& o) { return o.read || o.conditional_write || o.bits < 32; }

bool has_high_byte(const Insn& insn) {
    for (u8 n = 0; n < insn.operand_count; ++n)
        if (insn.op[n].kind == OperandKind::gpr && insn.op[n].high8 && insn.op[n].is_explicit) return true;
    return false;
}

/// Named by a field of the instruction that a renamer may change.
bool renamed(const Operand& o) { return o.kind == OperandKind::gpr && o.is_explicit && !o.high8; }

/// The result does not depend on the register: XOR r, r and SUB r, r.
bool zeroes(const Insn& insn) {
    return (insn.mnemonic == ZYDIS_MNEMONIC_XOR || insn.mnemonic == ZYDIS_MNEMONIC_SUB) &&
           insn.op[0].kind == OperandKind::gpr && insn.op[1].kind == OperandKind::gpr &&
           insn.op[0].reg == insn.op[1].reg && insn.op[0].bits >= 32;
}

void rename(Renaming& renaming, OperandField field, u8 host) {
    switch (field) {
        case OperandField::modrm_reg: renaming.reg = host; break;
        case OperandField::modrm_rm: renaming.rm = host; break;
        case OperandField::vvvv: renaming.vvvv = host; break;
        case OperandField::opcode: renaming.opcode = host; break;
        default: break;
    }
}

}  // namespace

void BlockCompiler::copy(size_t i) {
    const Insn& insn = insns_[i];
    const Operand* mem = insn.memory();
    int displacement = 0;
    bool indexed = false;
    if (mem) {
        before_clobber(i);
        displacement = access(i, *mem, mem->bits / 8, mem->written, &indexed);
    }
    before_execute(i);
    if (move(i)) return;
    if (mem && has_high_byte(insn)) {
        copy_high_byte(insn, displacement);
        after_execute(i);
        return;
    }
    Renaming renaming;
    if (mem) renaming.base = scratch0, renaming.disp = displacement;
    if (indexed) renaming.index = scratch1;

    const ScratchAssignment scratch = assign(insn, mem != nullptr);
    for (u8 n = 0; n < insn.operand_count; ++n) {
        const Operand& o = insn.op[n];
        if (!renamed(o)) continue;
        if (!lives_in_memory(o.reg)) {
            rename(renaming, o.field, static_cast<u8>(host_of_guest[o.reg]));
        } else if (scratch.host[n] >= 0) {
            const u8 r = static_cast<u8>(scratch.host[n]);
            rename(renaming, o.field, r);
            const bool load = keeps_part(o) && held(r) != Held{Held::What::guest, o.reg};
            if (load && !zeroes(insn)) e_.mov(Xbyak::Reg64(r), e_.qword_at(s_.vcpu.state.gpr[o.reg]));
            if (keeps_part(o)) held(r) = {Held::What::guest, o.reg};
        } else {
            renaming.home = static_cast<u32>(reinterpret_cast<u64>(&s_.vcpu.state.gpr[o.reg]));
        }
    }
    access_here();
    encode(e_, insn, renaming);
    for (u8 n = 0; n < insn.operand_count; ++n) {
        const Operand& o = insn.op[n];
        if (!renamed(o) || !o.written || !lives_in_memory(o.reg)) continue;
        const u8 r = static_cast<u8>(scratch.host[n]);
        e_.mov(e_.qword_at(s_.vcpu.state.gpr[o.reg]), Xbyak::Reg64(r));
        forget_guest(o.reg);
    }
    for (u8 n = 0; n < insn.operand_count; ++n) {
        const Operand& o = insn.op[n];
        if (!renamed(o) || scratch.host[n] < 0) continue;
        const u8 r = static_cast<u8>(scratch.host[n]);
        if (o.written) {
            hold_guest(r, o.reg);
        } else if (!options_.cache_registers) {
            forget(r);
        }
    }
    after_execute(i);
}

/// Scratch registers for the operands that live in memory. One that is only read may be a memory
/// operand in ModRM.rm instead.
BlockCompiler::ScratchAssignment BlockCompiler::assign(const Insn& insn, bool address_taken) const {
    ScratchAssignment a;
    std::array<int, 2> source{-1, -1}, destination{-1, -1};  // guest register by scratch register
    const auto place = [&](const Operand& o) -> i8 {
        for (const u8 k : {0, 1})
            if (source[k] == o.reg || destination[k] == o.reg) return static_cast<i8>(scratch0 + k);
        if (keeps_part(o)) {
            if (const auto r = scratch_with(o.reg); r && source[*r - scratch0] < 0)
                return static_cast<i8>(*r);
            const bool may_be_memory = o.field == OperandField::modrm_rm && !o.written && !address_taken &&
                                       !insn.uses_vector_state && insn.mnemonic != ZYDIS_MNEMONIC_BT;
            if (may_be_memory) return -1;
            if (source[1] < 0) return scratch1;
            return scratch0;
        }
        // The address and the sources are dead by the time that it is written.
        return destination[1] < 0 ? scratch1 : scratch0;
    };
    for (const bool sources : {true, false}) {
        for (u8 n = 0; n < insn.operand_count; ++n) {
            const Operand& o = insn.op[n];
            if (!renamed(o) || !lives_in_memory(o.reg) || keeps_part(o) != sources) continue;
            a.host[n] = place(o);
            if (a.host[n] < 0) continue;
            (sources ? source : destination)[static_cast<size_t>(a.host[n] - scratch0)] = o.reg;
        }
    }
    return a;
}

/// MOV to or from registers that live in memory. False if it is something else.
bool BlockCompiler::move(size_t i) {
    const Insn& insn = insns_[i];
    const Operand &to = insn.op[0], &from = insn.op[1];
    if (insn.mnemonic != ZYDIS_MNEMONIC_MOV || to.kind != OperandKind::gpr || to.bits < 32) return false;
    const bool memory_to = lives_in_memory(to.reg);
    const bool wide = to.bits == 64;
    if (from.kind == OperandKind::imm) {
        if (!memory_to) return false;
        const u64 value = wide ? static_cast<u64>(from.disp) : static_cast<u32>(from.disp);
        e_.store_constant(s_.vcpu.state.gpr[to.reg], value);
        forget_guest(to.reg);
        return true;
    }
    if (from.kind != OperandKind::gpr || (!memory_to && !lives_in_memory(from.reg))) return false;
    if (!memory_to) {
        const Xbyak::Reg64 d = host_reg(to.reg);
        if (const auto r = scratch_with(from.reg)) {
            wide ? e_.mov(d, Xbyak::Reg64(*r)) : e_.mov(d.cvt32(), Xbyak::Reg32(*r));
        } else if (wide) {
            e_.mov(d, e_.qword_at(s_.vcpu.state.gpr[from.reg]));
        } else {
            e_.mov(d.cvt32(), e_.dword_at(s_.vcpu.state.gpr[from.reg]));
        }
        return true;
    }
    Xbyak::Reg64 source = address_register(static_cast<i8>(from.reg), t1());
    if (!wide) {
        e_.mov(t1().cvt32(), source.cvt32());
        source = t1();
    }
    e_.mov(e_.qword_at(s_.vcpu.state.gpr[to.reg]), source);
    forget_guest(to.reg);
    if (!wide) hold_guest(scratch1, to.reg);
    return true;
}

/// AH, CH, DH and BH cannot be named beside a REX prefix, which [scratch0] needs: RDI stands in.
void BlockCompiler::copy_high_byte(const Insn& insn, int displacement) {
    using namespace Xbyak::util;
    e_.mov(e_.qword_at(s_.data.spill), rdi);
    e_.mov(rdi, t0());
    Renaming renaming;
    renaming.base = 7;
    renaming.disp = displacement;
    encode(e_, insn, renaming);
    e_.mov(rdi, e_.qword_at(s_.data.spill));
}

void BlockCompiler::lea(size_t i) {
    if (narrow()) return narrow_lea(i);
    const Insn& insn = insns_[i];
    const Operand& to = insn.op[0];
    const bool direct = !lives_in_memory(to.reg) && to.bits >= 32;
    const Xbyak::Reg64 target = direct ? host_reg(to.reg) : t0();
    address(insn, insn.op[1], next_rip(i), false, 0,
            to.bits == 32 ? static_cast<const Xbyak::Reg&>(target.cvt32()) : target);
    if (direct) return;
    if (!lives_in_memory(to.reg)) {
        e_.mov(host_reg(to.reg).cvt16(), t0().cvt16());
        return;
    }
    forget_guest(to.reg);
    if (to.bits == 16) {
        e_.mov(e_.word[reinterpret_cast<const void*>(&s_.vcpu.state.gpr[to.reg])], t0().cvt16());
    } else {
        e_.mov(e_.qword_at(s_.vcpu.state.gpr[to.reg]), t0());
        hold_guest(scratch0, to.reg);
    }
}

/// The register's upper bits select an operand-sized word relative to the address (Intel SDM 2A BT).
void BlockCompiler::bit_string(size_t i) {
    const Insn& insn = insns_[i];
    const Operand& mem = insn.op[0];
    const u8 bit_reg = insn.op[1].reg;
    const bool wide = insn.operand_bits == 64;
    before_clobber(i);
    const auto load_offset = [&] {
        if (wide) {
            if (lives_in_memory(bit_reg)) {
                e_.mov(t1(), e_.qword_at(s_.vcpu.state.gpr[bit_reg]));
            } else {
                e_.mov(t1(), host_reg(bit_reg));
            }
        } else if (lives_in_memory(bit_reg)) {
            e_.movsxd(t1(), e_.dword_at(s_.vcpu.state.gpr[bit_reg]));
        } else {
            e_.movsxd(t1(), host_reg(bit_reg).cvt32());
        }
    };
    forget_scratch();
    load_offset();
    e_.and_(t1().cvt32(), wide ? 63 : 31);
    e_.mov(e_.qword_at(s_.data.spill), t1());
    if (narrow()) {
        narrow_offset(insn, mem, 0, t0().cvt32());
    } else {
        address(insn, mem, next_rip(i), false);
    }
    load_offset();
    e_.sar(t1(), wide ? 6 : 5);
    e_.lea(t0(), e_.ptr[t0() + t1() * (wide ? 8 : 4)]);
    if (insn.address_bits == 32) e_.mov(t0().cvt32(), t0().cvt32());
    if (insn.address_bits == 16) e_.movzx(t0().cvt32(), t0().cvt16());
    if (narrow())
        narrow_linear(mem.segment, insn.address_bits, 4, insn.mnemonic != ZYDIS_MNEMONIC_BT, Range::access);
    else if (mem.segment == x86::fs || mem.segment == x86::gs)
        e_.add(t0(), e_.qword_at(s_.vcpu.state.seg[mem.segment].base));
    probe(wide ? 8 : 4, insn.mnemonic != ZYDIS_MNEMONIC_BT);
    before_execute(i);
    e_.mov(t1(), e_.qword_at(s_.data.spill));
    access_here();
    Renaming renaming;
    renaming.reg = scratch1;
    renaming.base = scratch0;
    encode(e_, insn, renaming);
    after_execute(i);
}

void BlockCompiler::moffs(size_t i) {
    using namespace Xbyak::util;
    const Insn& insn = insns_[i];
    const Operand& mem = *insn.memory();
    before_clobber(i);
    const int displacement = access(i, mem, mem.bits / 8, mem.written);
    before_execute(i);
    const Xbyak::Reg accumulator = mem.bits == 8    ? Xbyak::Reg(al)
                                   : mem.bits == 16 ? Xbyak::Reg(ax)
                                   : mem.bits == 32 ? Xbyak::Reg(eax)
                                                    : Xbyak::Reg(rax);
    if (mem.written) {
        e_.mov(e_.ptr[t0() + displacement], accumulator);
    } else {
        e_.mov(accumulator, e_.ptr[t0() + displacement]);
    }
}

void BlockCompiler::leave(size_t i) {
    using namespace Xbyak::util;
    if (narrow()) return narrow_leave(i);
    before_clobber(i);
    const int from = access_stack(i, rbp, 0, false);
    before_execute(i);
    e_.mov(t1(), e_.ptr[t0() + from]);
    e_.lea(guest_rsp(), e_.ptr[rbp + 8]);
    e_.mov(rbp, t1());
}

}  // namespace triune::hypervisor::soft::bt
