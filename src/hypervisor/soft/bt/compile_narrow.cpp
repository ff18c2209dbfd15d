// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/bt/compiler.h"

/// Addresses and instructions of 16- and 32-bit code that 64-bit code has otherwise or not at all. Guest
/// registers are whole 64-bit ones here too: what an instruction leaves of their upper halves is what it
/// leaves of them in 64-bit code, as in the reference engine.
namespace triune::hypervisor::soft::bt {

using x86::Insn;
using x86::Operand;

/// target = offset of `mem` plus `adjust` in its segment. Flags unchanged.
void BlockCompiler::narrow_offset(const Insn& insn, const Operand& mem, int adjust,
                                  const Xbyak::Reg32& target) {
    const int disp = static_cast<int>(static_cast<u32>(mem.disp) + static_cast<u32>(adjust));
    const bool words = insn.address_bits == 16;
    if (target.getIdx() == scratch0) forget(scratch0);
    if (mem.base < 0 && mem.index < 0) {
        e_.mov(target, words ? static_cast<u16>(disp) : static_cast<u32>(disp));
        return;
    }
    if (mem.index < 0) {
        const Xbyak::Reg64 base = host_reg(static_cast<u8>(mem.base));
        if (disp) {
            e_.lea(target, e_.ptr[base + disp]);
        } else if (words) {
            e_.movzx(target, base.cvt16());
            return;
        } else {
            e_.mov(target, base.cvt32());
        }
    } else {
        const Xbyak::Reg64 index = host_reg(static_cast<u8>(mem.index));
        if (mem.base < 0) {
            e_.lea(target, e_.ptr[index * mem.scale + disp]);
        } else {
            e_.lea(target, e_.ptr[host_reg(static_cast<u8>(mem.base)) + index * mem.scale + disp]);
        }
    }
    if (words) e_.movzx(target, target.cvt16());
}

namespace {

/// Which of SegmentBounds::last is for accesses of `bytes`.
std::optional<unsigned> bound_for(unsigned bytes) {
    switch (bytes) {
        case 1: return 0;
        case 2: return 1;
        case 4: return 2;
        case 8: return 3;
        default: return std::nullopt;
    }
}

}  // namespace

/// scratch0: offset in `seg` in, linear address out, of an access of `bytes`. What the segment does not allow
/// is declined; a leader's range that does not fit, or wraps, goes on with every access for itself.
/// Clobbers scratch1 and the flags.
void BlockCompiler::narrow_linear(unsigned seg, unsigned address_bits, unsigned bytes, bool write,
                                  Range range) {
    const bool flat = narrow()->is_flat(seg);
    const bool may_wrap = range != Range::access && address_bits == 16;
    const EngineData::SegmentBounds& bounds = s_.data.segment[seg];
    forget_scratch();
    if (!flat || may_wrap) {
        const auto by_size = bound_for(bytes);
        if (may_wrap || !by_size) {
            e_.lea(t1(), e_.ptr[t0() + (bytes - 1)]);
            e_.cmp(t1(), e_.qword_at(may_wrap ? bounds.last16[write] : bounds.last[write][0]));
        } else {
            e_.cmp(t0(), e_.qword_at(bounds.last[write][*by_size]));
        }
        const u8 greater = 15;
        if (range == Range::leader) {
            Cold c{ColdKind::unmerged};
            c.patch = e_.jump_forward_if(greater);
            c.rip = current_rip_;
            cold_.push_back(c);
        } else {
            leave_if(greater, LeaveReason::declined, current_rip_);
        }
    }
    if (!flat) e_.add(t0().cvt32(), e_.dword_at(bounds.base));
}

/// The same for an offset that is known now, below 2 GiB.
void BlockCompiler::narrow_fixed(unsigned seg, u32 offset, unsigned bytes, bool write) {
    const EngineData::SegmentBounds& bounds = s_.data.segment[seg];
    forget_scratch();
    e_.cmp(e_.qword_at(bounds.last[write][0]), static_cast<u32>(offset + bytes - 1));
    leave_if(12, LeaveReason::declined, current_rip_);  // less
    e_.mov(t0().cvt32(), e_.dword_at(bounds.base));
    if (offset) e_.add(t0().cvt32(), offset);
}

/// access() of 16- and 32-bit code.
int BlockCompiler::narrow_access(size_t i, const Operand& mem, unsigned size, bool write, bool* indexed) {
    const AccessPlan& p = plan(i, AccessKind::operand);
    const Insn& insn = insns_[i];
    const int adjust = p.leader ? -static_cast<int>(p.offset) : 0;
    const unsigned bytes = p.leader ? p.bytes : size;
    const bool fixed = mem.base < 0 && mem.index < 0;
    const u32 offset = static_cast<u32>(mem.disp + adjust) & (insn.address_bits == 16 ? 0xffff : 0xffffffff);
    const bool small = offset < 0x7fffff00;
    if (fixed && narrow()->is_flat(mem.segment) && (!p.leader || insn.address_bits == 32)) {
        probe_constant(offset, size, write, p);
        return keep_pointer(p);
    }
    if (fixed && small && !p.leader && !narrow()->is_flat(mem.segment)) {
        narrow_fixed(mem.segment, offset, bytes, write);
    } else {
        narrow_offset(insn, mem, adjust, t0().cvt32());
        narrow_linear(mem.segment, insn.address_bits, bytes, write, p.leader ? Range::leader : Range::access);
    }
    const bool sum = indexed && p.group < 0 && options_.add_in_address && leaves_scratch1(i);
    if (indexed) *indexed = sum;
    probe(size, write, p, sum);
    return keep_pointer(p);
}

void BlockCompiler::narrow_lea(size_t i) {
    const Insn& insn = insns_[i];
    const Xbyak::Reg64 to = host_reg(insn.op[0].reg);
    if (insn.op[0].bits == 32) {
        narrow_offset(insn, insn.op[1], 0, to.cvt32());
    } else {
        narrow_offset(insn, insn.op[1], 0, t0().cvt32());
        e_.mov(to.cvt16(), t0().cvt16());
    }
}

/// JCXZ and LOOP with a count in CX, which 64-bit code does not have: ECX stands in while they look.
void BlockCompiler::narrow_loop(size_t i) {
    using namespace Xbyak::util;
    const Insn& insn = insns_[i];
    const auto finish = [&] {
        e_.mov(t0().cvt16(), cx);
        e_.mov(rcx, t0());
    };
    e_.mov(t0(), rcx);
    e_.movzx(ecx, cx);
    e_.db(0x67);
    e_.db(insn.opcode);
    e_.db(0);
    const u32 hop = e_.offset();
    const FlagsAt flags = exit_flags();
    finish();
    exit_to(next_rip(i), e_.jump_forward(), flags);
    e_.patch_byte(hop - 1, static_cast<u8>(e_.offset() - hop));
    finish();
    exit_to(branch_target(i), e_.jump_forward(), flags);
    ended_ = true;
}

/// The bounds stay, the base is sixteen times the selector (Intel SDM 3B 20.1.1).
void BlockCompiler::load_segment(size_t i) {
    const Insn& insn = insns_[i];
    before_clobber(i);
    unsigned seg = insn.op[0].reg;
    if (insn.mnemonic == ZYDIS_MNEMONIC_MOV) {
        const Operand& from = insn.op[1];
        if (from.kind == x86::OperandKind::gpr) {
            e_.movzx(t0().cvt32(), host_reg(from.reg).cvt16());
        } else {
            const int displacement = access(i, from, 2, false);
            e_.movzx(t0().cvt32(), e_.word[t0() + displacement]);
        }
    } else if (insn.mnemonic == ZYDIS_MNEMONIC_POP) {
        const int displacement = access_stack(i, guest_rsp(), 0, false);
        e_.movzx(t0().cvt32(), e_.word[t0() + displacement]);
        move_rsp(static_cast<int>(slot_bytes(i)));
    } else {
        seg = insn.mnemonic == ZYDIS_MNEMONIC_LDS   ? x86::ds
              : insn.mnemonic == ZYDIS_MNEMONIC_LES ? x86::es
              : insn.mnemonic == ZYDIS_MNEMONIC_LFS ? x86::fs
                                                    : x86::gs;
        const int displacement = access(i, insn.op[1], 4, false);
        e_.mov(t0().cvt32(), e_.ptr[t0() + displacement]);
        e_.mov(host_reg(insn.op[0].reg).cvt16(), t0().cvt16());
        e_.shr(t0().cvt32(), 16);
    }
    e_.mov(e_.word[reinterpret_cast<const void*>(&s_.vcpu.state.seg[seg].selector)], t0().cvt16());
    e_.shl(t0().cvt32(), 4);
    e_.mov(e_.qword_at(s_.vcpu.state.seg[seg].base), t0());
    e_.mov(e_.qword_at(s_.data.segment[seg].base), t0());
}

/// scratch0 = host address of all that PUSHA writes or POPA reads.
void BlockCompiler::all_registers(size_t i, int displacement, bool write) {
    const unsigned bytes = 8 * slot_bytes(i);
    before_clobber(i);
    e_.lea(t0().cvt32(), e_.ptr[guest_rsp() + displacement]);
    if (narrow()->stack_bits == 16) e_.movzx(t0().cvt32(), t0().cvt16());
    narrow_linear(x86::ss, narrow()->stack_bits, bytes, write, Range::whole);
    probe(bytes, write);
}

void BlockCompiler::push_all(size_t i) {
    const int slot = static_cast<int>(slot_bytes(i));
    all_registers(i, -8 * slot, true);
    for (u8 r = 0; r < 8; ++r) {
        const Xbyak::Address to = e_.ptr[t0() + (7 - r) * slot];
        slot == 4 ? e_.mov(to, host_reg(r).cvt32()) : e_.mov(to, host_reg(r).cvt16());
    }
    move_rsp(-8 * slot);
}

void BlockCompiler::pop_all(size_t i) {
    const int slot = static_cast<int>(slot_bytes(i));
    all_registers(i, 0, false);
    for (u8 r = 0; r < 8; ++r) {
        if (r == x86::rsp) continue;
        const Xbyak::Address from = e_.ptr[t0() + (7 - r) * slot];
        slot == 4 ? e_.mov(host_reg(r).cvt32(), from) : e_.mov(host_reg(r).cvt16(), from);
    }
    move_rsp(8 * slot);
}

void BlockCompiler::narrow_leave(size_t i) {
    using namespace Xbyak::util;
    before_clobber(i);
    const int from = access_stack(i, rbp, 0, false);
    before_execute(i);
    if (narrow()->stack_bits == 32) {
        e_.mov(t1().cvt32(), e_.ptr[t0() + from]);
        e_.lea(guest_rsp().cvt32(), e_.ptr[rbp + 4]);
        e_.mov(ebp, t1().cvt32());
    } else {
        e_.movzx(t1().cvt32(), e_.word[t0() + from]);
        e_.lea(t0().cvt32(), e_.ptr[rbp + 2]);
        e_.mov(guest_rsp().cvt16(), t0().cvt16());
        e_.mov(bp, t1().cvt16());
    }
}

}  // namespace triune::hypervisor::soft::bt
