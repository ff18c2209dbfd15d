// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/bt/compiler.h"

namespace triune::hypervisor::soft::bt {

/// MOVS and STOS. 64-bit code that goes upwards has them inline while both sides stay in one page each that
/// the TLB knows; the helper does the rest, and 16- and 32-bit code.
void BlockCompiler::string(size_t i) {
    const x86::Insn& insn = insns_[i];
    before_clobber(i);
    bool movs = false;
    unsigned size = 1, segment = x86::ds;
    for (u8 n = 0; n < insn.operand_count; ++n) {
        if (insn.op[n].kind != x86::OperandKind::mem) continue;
        size = insn.op[n].bits / 8;
        if (insn.op[n].base != x86::rsi) continue;
        movs = true;
        segment = insn.op[n].segment;
    }
    const u32 info = StringInfo::pack(size, movs, insn.rep, block_.mode) |
                     (narrow() ? StringInfo::narrow(insn.address_bits, segment) : 0);
    if (narrow()) return call_string_helper(info);

    static_assert(x86::flag::df == 1 << 10);
    const u8* const rflags = reinterpret_cast<const u8*>(&s_.vcpu.state.rflags);
    e_.test(e_.byte[rflags + 1], x86::flag::df >> 8);
    to_string_helper(cc::ne);
    insn.rep ? repeated_string(size, movs) : single_string(size, movs);
    for (Cold& c : cold_) {
        if (c.kind != ColdKind::string || c.back) continue;
        c.back = e_.offset();
        c.info = info;
        c.rip = current_rip_;
    }
}

void BlockCompiler::call_string_helper(u32 info) {
    e_.store_constant(s_.data.rip, current_rip_);
    e_.mov(t1().cvt32(), info);
    e_.call_to(s_.stubs.string);
}

/// A way to the helper, which does the whole instruction; string() completes it.
void BlockCompiler::to_string_helper(u8 condition) {
    Cold c{ColdKind::string};
    c.patch = e_.jump_forward_if(condition);
    cold_.push_back(c);
}

void BlockCompiler::single_string(unsigned size, bool movs) {
    const auto part = [&](const Xbyak::Reg64& r) {
        return Xbyak::Reg(r).changeBit(static_cast<int>(size) * 8);
    };
    const int step = static_cast<int>(size);
    if (movs) {
        e_.mov(t0(), host_reg(x86::rsi));
        probe(size, false);
        e_.mov(part(t1()), e_.ptr[t0()]);
        e_.mov(e_.qword_at(s_.data.spill), t1());
    }
    e_.mov(t0(), host_reg(x86::rdi));
    probe(size, true);
    if (movs) e_.mov(t1(), e_.qword_at(s_.data.spill));
    e_.mov(e_.ptr[t0()], part(movs ? t1() : host_reg(x86::rax)));
    if (movs) e_.lea(host_reg(x86::rsi), e_.ptr[host_reg(x86::rsi) + step]);
    e_.lea(host_reg(x86::rdi), e_.ptr[host_reg(x86::rdi) + step]);
}

/// scratch0 = what is to be added to `address` to get its host address. Goes to the helper unless the
/// RCX elements from there on lie in one page that the TLB knows.
void BlockCompiler::probe_elements(const Xbyak::Reg64& address, unsigned size, bool write) {
    const auto& set = s_.tlb.set[mode()];
    const int tag = static_cast<int>(reinterpret_cast<u64>(write ? &set[0].write_tag : &set[0].read_tag));
    const int host = static_cast<int>(reinterpret_cast<u64>(&set[0].host));
    e_.mov(t0(), address);
    index_tlb();
    e_.xor_(t0(), e_.ptr[t1() + tag]);
    e_.cmp(t0(), static_cast<u32>(page_mask));
    to_string_helper(cc::a);
    e_.lea(t0(), e_.ptr[t0() + host_reg(x86::rcx) * static_cast<int>(size)]);
    e_.cmp(t0(), static_cast<u32>(page_size));
    to_string_helper(cc::a);
    e_.mov(t0(), e_.ptr[t1() + host]);
    e_.sub(t0(), e_.ptr[t1() + tag]);
}

void BlockCompiler::repeated_string(unsigned size, bool movs) {
    const Xbyak::Reg64 rcx = host_reg(x86::rcx), rsi = host_reg(x86::rsi), rdi = host_reg(x86::rdi);
    static_assert(host_of_guest[x86::rcx] == 1 && host_of_guest[x86::rsi] == 6 &&
                  host_of_guest[x86::rdi] == 7 && host_of_guest[x86::rax] == 0);
    // Also what keeps the sums of probe_elements() from wrapping.
    e_.cmp(rcx, static_cast<u32>(page_size / size));
    to_string_helper(cc::a);
    probe_elements(rdi, size, true);
    if (movs) {
        e_.mov(e_.qword_at(s_.data.spill), t0());
        probe_elements(rsi, size, false);
        e_.mov(t1(), e_.qword_at(s_.data.spill));
        e_.add(rsi, t0());
        e_.add(rdi, t1());
    } else {
        e_.add(rdi, t0());
    }
    // Host DF is clear while translated code runs (ABI), the guest's is known to be.
    e_.rep();
    switch (size) {
        case 1: movs ? e_.movsb() : e_.stosb(); break;
        case 2: movs ? e_.movsw() : e_.stosw(); break;
        case 4: movs ? e_.movsd() : e_.stosd(); break;
        default: movs ? e_.movsq() : e_.stosq(); break;
    }
    if (movs) {
        e_.sub(rsi, t0());
        e_.sub(rdi, t1());
    } else {
        e_.sub(rdi, t0());
    }
}

}  // namespace triune::hypervisor::soft::bt
