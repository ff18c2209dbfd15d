// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/bt/compiler.h"

namespace triune::hypervisor::soft::bt {

using x86::Insn;
using x86::Operand;

/// Bits of RFLAGS outside the status flags live in VcpuState.
void BlockCompiler::set_rflags(size_t i, u32 bits, bool set) {
    before_clobber(i);
    if (set) {
        e_.or_(e_.dword_at(s_.vcpu.state.rflags), bits);
    } else {
        e_.and_(e_.dword_at(s_.vcpu.state.rflags), ~bits);
    }
}

/// The scanner ends the block one instruction later, so the interrupt shadow is over when the next
/// block polls. An interrupt that waits for IF makes that poll fail.
void BlockCompiler::sti(size_t i) {
    set_rflags(i, x86::flag::if_, true);
    sti_ = true;
    e_.cmp(e_.byte[reinterpret_cast<const void*>(&s_.vcpu.interrupt_waiting)], 0);
    const u32 none = e_.jump_forward_if(cc::e);
    e_.lock();
    e_.or_(e_.dword_at(s_.vcpu.signals.pending), static_cast<u32>(cpu::Signal::interrupt));
    e_.set_target_here(none);
}

void BlockCompiler::pushf(size_t i) {
    using namespace Xbyak::util;
    const int bytes = static_cast<int>(slot_bytes(i));
    before_clobber(i);
    const int to = access_stack(i, guest_rsp(), -bytes, true);
    e_.mov(e_.qword_at(s_.data.spill), rax);
    e_.movzx(eax, e_.word[reinterpret_cast<const void*>(&s_.data.flags)]);
    e_.mov(t1().cvt32(), eax);
    e_.shr(t1().cvt32(), 8);
    e_.and_(t1().cvt32(), static_cast<u32>(x86::flag::arithmetic & 0xff));
    e_.and_(eax, 1);
    e_.shl(eax, 11);
    e_.or_(t1().cvt32(), eax);
    e_.mov(eax, e_.dword_at(s_.vcpu.state.rflags));
    // The image has RF and VM clear (Intel SDM 2B PUSHF).
    e_.and_(eax, ~static_cast<u32>(x86::flag::arithmetic | x86::flag::rf | x86::flag::vm));
    e_.or_(t1().cvt32(), eax);
    e_.mov(rax, e_.qword_at(s_.data.spill));
    if (bytes == 8) {
        e_.mov(e_.ptr[t0() + to], t1());
    } else if (bytes == 4) {
        e_.mov(e_.ptr[t0() + to], t1().cvt32());
    } else {
        e_.mov(e_.ptr[t0() + to], t1().cvt16());
    }
    move_rsp(-bytes);
}

void BlockCompiler::swapgs() {
    e_.mov(t0(), e_.qword_at(s_.vcpu.state.seg[x86::gs].base));
    e_.mov(t1(), e_.qword_at(s_.vcpu.state.kernel_gs_base));
    e_.mov(e_.qword_at(s_.vcpu.state.seg[x86::gs].base), t1());
    e_.mov(e_.qword_at(s_.vcpu.state.kernel_gs_base), t0());
}

void BlockCompiler::rdtsc(size_t i) {
    using namespace Xbyak::util;
    before_clobber(i);
    if (block_.mode == mmu::TlbMode::user) {
        e_.test(e_.dword_at(s_.vcpu.state.cr4), static_cast<u32>(x86::cr4::tsd));
        leave_if(cc::ne, LeaveReason::declined, current_rip_);
    }
    const bool with_aux = insns_[i].mnemonic == ZYDIS_MNEMONIC_RDTSCP;
    if (with_aux) e_.lfence();  // earlier loads come first (Intel SDM 2B RDTSCP)
    e_.rdtsc();
    e_.shl(rdx, 32);
    e_.or_(rax, rdx);
    e_.add(rax, e_.qword_at(s_.vcpu.state.tsc_offset));
    e_.mov(rdx, rax);
    e_.shr(rdx, 32);
    e_.mov(eax, eax);
    if (with_aux) e_.mov(ecx, e_.dword_at(s_.vcpu.state.tsc_aux));
}

void BlockCompiler::read_segment(size_t i) {
    const Operand& to = insns_[i].op[0];
    const u16& selector = s_.vcpu.state.seg[insns_[i].op[1].reg].selector;
    const auto field = e_.word[reinterpret_cast<const void*>(&selector)];
    e_.movzx(t0().cvt32(), field);
    if (lives_in_memory(to.reg)) {
        if (to.bits == 16) {
            e_.mov(e_.word[reinterpret_cast<const void*>(&s_.vcpu.state.gpr[to.reg])], t0().cvt16());
        } else {
            e_.mov(e_.qword_at(s_.vcpu.state.gpr[to.reg]), t0());
        }
    } else if (to.bits == 16) {
        e_.mov(host_reg(to.reg).cvt16(), t0().cvt16());
    } else {
        e_.mov(host_reg(to.reg), t0());
    }
}

/// What follows runs under another TLB set and another shadow stack.
void BlockCompiler::set_ac(size_t i) {
    using namespace Xbyak::util;
    const bool set = insns_[i].mnemonic == ZYDIS_MNEMONIC_STAC;
    set_rflags(i, x86::flag::ac, set);
    const auto to = set ? mmu::TlbMode::supervisor_ac : mmu::TlbMode::supervisor;
    if (to != block_.mode) {
        e_.mov(e_.qword_at(s_.data.shadow_sp_of_lane[lane()]), rsp);
        e_.mov(rsp, e_.qword_at(s_.data.shadow_sp_of_lane[static_cast<unsigned>(to)]));
        e_.mov(e_.dword_at(s_.data.lane), static_cast<u32>(to));
    }
    exit_to(next_rip(i), e_.jump_forward(), FlagsAt::memory);
    exits_.back().lane = static_cast<u8>(to);
    ended_ = true;
}

void BlockCompiler::system(size_t i) {
    const Insn& insn = insns_[i];
    before_clobber(i);
    const SystemOp op = system_op(insn);
    if (op == SystemOp::invlpg) {
        if (narrow()) {
            narrow_offset(insn, insn.op[0], 0, t0().cvt32());
        } else {
            address(insn, insn.op[0], next_rip(i), true);
        }
        e_.mov(e_.qword_at(s_.data.fault_address), t0());
    } else if (op == SystemOp::write_cr3) {
        if (narrow()) {
            e_.mov(t0().cvt32(), host_reg(insn.op[1].reg).cvt32());
            e_.mov(e_.qword_at(s_.data.fault_address), t0());
        } else if (lives_in_memory(insn.op[1].reg)) {
            e_.mov(t0(), e_.qword_at(s_.vcpu.state.gpr[insn.op[1].reg]));
            e_.mov(e_.qword_at(s_.data.fault_address), t0());
        } else {
            e_.mov(e_.qword_at(s_.data.fault_address), host_reg(insn.op[1].reg));
        }
    } else if (op == SystemOp::read_cr2) {
        e_.mov(t0(), e_.qword_at(s_.vcpu.state.cr2));
        if (lives_in_memory(insn.op[0].reg)) {
            e_.mov(e_.qword_at(s_.vcpu.state.gpr[insn.op[0].reg]), t0());
        } else {
            narrow() ? e_.mov(host_reg(insn.op[0].reg).cvt32(), t0().cvt32())
                     : e_.mov(host_reg(insn.op[0].reg), t0());
        }
        exit_to(next_rip(i), e_.jump_forward(), FlagsAt::memory);
        ended_ = true;
        return;
    }
    e_.mov(e_.dword_at(s_.data.system_op), static_cast<u32>(op));
    e_.store_constant(s_.data.rip, current_rip_);
    e_.store_constant(s_.data.next_rip, next_rip(i));
    e_.jump_to(s_.stubs.leave[static_cast<u32>(LeaveReason::system)]);
    ended_ = true;
}

}  // namespace triune::hypervisor::soft::bt
