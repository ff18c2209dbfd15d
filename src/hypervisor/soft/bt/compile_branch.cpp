// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/bt/compiler.h"

namespace triune::hypervisor::soft::bt {

using x86::Insn;
using x86::Operand;
using x86::OperandKind;

/// scratch0 = where an indirect branch goes. Flags must be free.
void BlockCompiler::load_branch_target(size_t i) {
    const Operand& o = insns_[i].op[0];
    if (o.kind == OperandKind::mem) {
        const int from = access(i, o, slot_bytes(i), false);
        narrow() ? load_narrow_target(insns_[i], e_.ptr[t0() + from]) : e_.mov(t0(), e_.ptr[t0() + from]);
    } else if (narrow()) {
        insns_[i].operand_bits == 32 ? e_.mov(t0().cvt32(), host_reg(o.reg).cvt32())
                                     : e_.movzx(t0().cvt32(), host_reg(o.reg).cvt16());
    } else if (lives_in_memory(o.reg)) {
        e_.mov(t0(), e_.qword_at(s_.vcpu.state.gpr[o.reg]));
    } else {
        e_.mov(t0(), host_reg(o.reg));
    }
    forget(scratch0);
    check_branch_target();
}

void BlockCompiler::load_narrow_target(const Insn& insn, const Xbyak::Address& from) {
    if (insn.operand_bits == 32) {
        e_.mov(t0().cvt32(), from);
    } else {
        e_.movzx(t0().cvt32(), e_.word[from.getRegExp()]);
    }
}

/// A branch to the EIP in scratch0 faults where it is, if that lies beyond the code segment's limit.
void BlockCompiler::check_branch_target() {
    if (!narrow() || narrow()->cs_limit == 0xffffffff) return;
    e_.cmp(t0().cvt32(), narrow()->cs_limit);
    leave_if(cc::a, LeaveReason::declined, current_rip_);
}

/// scratch0: EIP in, what the jump cache knows it by out.
void BlockCompiler::load_key() {
    if (narrow()) e_.or_(t0(), e_.qword_at(s_.data.narrow_key));
}

/// A near branch to an address that is not canonical faults where it is (Intel SDM 2A, CALL and JMP; 2B,
/// RET). The target is in scratch0; flags must be free. Uses scratch1.
void BlockCompiler::check_canonical(u64 rip) {
    if (narrow()) return;
    // All bits above the sign are equal: 0 or -1.
    e_.mov(t1(), t0());
    e_.sar(t1(), s_.vcpu.state.cr4 & x86::cr4::la57 ? 56 : 47);
    e_.inc(t1());
    e_.cmp(t1(), 1);
    leave_if(cc::a, LeaveReason::declined, rip);
}

/// The jump cache has no address that is not canonical: only what misses it is looked at.
void BlockCompiler::emit_jump_miss(const Cold& c) {
    check_canonical(c.rip);
    if (!c.back) return e_.jump_to(s_.stubs.indirect[lane()]);
    e_.mov(e_.qword_at(s_.data.branch_target), t0());
    e_.mov(t1(), e_.qword_at(s_.data.missed[lane()]));
    e_.jump_to(c.back);
}

void BlockCompiler::jump_indirect(size_t i) {
    before_clobber(i);
    load_branch_target(i);
    load_key();
    EngineData::JumpCache& cache = s_.data.jump[lane()];
    emit_jump_probe(e_, cache);
    Cold miss{ColdKind::jump_miss};
    miss.patch = e_.jump_forward_if(cc::ne);
    miss.rip = current_rip_;
    cold_.push_back(miss);
    e_.jmp(jump_target(e_, cache));
    ended_ = true;
}

void BlockCompiler::conditional(size_t i) {
    const Insn& insn = insns_[i];
    before_execute(i);
    exit_to(branch_target(i), e_.jump_forward_if(insn.opcode & 15), FlagsAt::host);
}

/// JRCXZ and LOOP have only short forms: they hop over the way out that is not taken.
void BlockCompiler::loop(size_t i) {
    const Insn& insn = insns_[i];
    before_execute(i);
    if (insn.address_bits == 16) return narrow_loop(i);
    if (insn.address_bits == 32) e_.db(0x67);
    e_.db(insn.opcode);
    e_.db(5);
    const FlagsAt flags = exit_flags();
    const u32 not_taken = e_.jump_forward();
    const u32 taken = e_.jump_forward();
    exit_to(next_rip(i), not_taken, flags);
    exit_to(branch_target(i), taken, flags);
    ended_ = true;
}

void BlockCompiler::push_return_address(size_t i) {
    const u64 rip = next_rip(i);
    const int bytes = static_cast<int>(slot_bytes(i));
    const int to = access_stack(i, guest_rsp(), -bytes, true);
    if (narrow()) {
        bytes == 4 ? e_.mov(e_.dword[t0() + to], static_cast<u32>(rip))
                   : e_.mov(e_.word[t0() + to], static_cast<u16>(rip));
    } else if (static_cast<i64>(rip) == static_cast<i32>(rip)) {
        e_.mov(e_.qword[t0() + to], rip);
    } else {
        e_.load_constant(t1(), rip);
        e_.mov(e_.ptr[t0() + to], t1());
    }
    move_rsp(-bytes);
}

/// Host RET of the callee lands here with the popped guest address in scratch0. If that is not
/// where this call would return to, the prediction was wrong.
void BlockCompiler::return_site(size_t i) {
    const u64 rip = next_rip(i);
    if (narrow()) {
        e_.cmp(t0().cvt32(), static_cast<u32>(rip));
    } else if (static_cast<i64>(rip) == static_cast<i32>(rip)) {
        e_.cmp(t0(), static_cast<u32>(rip));
    } else {
        e_.load_constant(t1(), rip);
        e_.cmp(t0(), t1());
    }
    e_.jump_to_if(cc::ne, s_.stubs.indirect[lane()]);
    if (i + 1 < insns_.size()) {
        // The block goes on. While the callee ran, C++ may have taken the vector registers.
        check_vector(rip);
        flags_ = Flags::memory;
    } else {
        exit_to(rip, e_.jump_forward(), FlagsAt::memory);
        ended_ = true;
    }
}

void BlockCompiler::call(size_t i) {
    before_clobber(i);
    push_return_address(i);
    exit_to(branch_target(i), e_.call_forward(), FlagsAt::memory);
    // A tree of calls can take exponential time without one jump back.
    exits_.back().polls = true;
    return_site(i);
}

void BlockCompiler::call_indirect(size_t i) {
    before_clobber(i);
    load_branch_target(i);
    load_key();
    EngineData::JumpCache& cache = s_.data.jump[lane()];
    emit_jump_probe(e_, cache);
    // Nothing is pushed before it is known that the target is fit to go to.
    Cold miss{ColdKind::jump_miss};
    miss.patch = e_.jump_forward_if(cc::ne);
    miss.rip = current_rip_;
    e_.mov(t1(), jump_target(e_, cache));
    miss.back = e_.offset();
    cold_.push_back(miss);
    e_.mov(e_.qword_at(s_.data.spill), t1());
    forget_scratch();
    push_return_address(i);
    e_.call(e_.qword_at(s_.data.spill));
    return_site(i);
}

void BlockCompiler::ret(size_t i) {
    const Insn& insn = insns_[i];
    before_clobber(i);
    const int from = access_stack(i, guest_rsp(), 0, false);
    const int bytes =
        static_cast<int>(slot_bytes(i)) + (insn.opcode == 0xc2 ? static_cast<u16>(insn.op[0].disp) : 0);
    if (narrow()) {
        load_narrow_target(insn, e_.ptr[t0() + from]);
        check_branch_target();
    } else {
        e_.mov(t0(), e_.ptr[t0() + from]);
        // Most return where they were called from. Translator::Impl::take_back_return() sees to the rest.
        if (insn.opcode == 0xc2) {
            check_canonical(current_rip_);
        } else {
            e_.mov(e_.dword_at(s_.data.ret_block), block_.id);
        }
    }
    move_rsp(bytes);
    e_.ret();
    ended_ = true;
}

}  // namespace triune::hypervisor::soft::bt
