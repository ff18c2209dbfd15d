// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/bt/compiler.h"

namespace triune::hypervisor::soft::bt {

using x86::Insn;
using x86::Operand;

/// The host register that holds guest register `guest`; one that lives in memory is loaded to `scratch`
/// unless it is held already.
Xbyak::Reg64 BlockCompiler::address_register(i8 guest, const Xbyak::Reg64& scratch) {
    const u8 g = static_cast<u8>(guest);
    if (!lives_in_memory(g)) return host_reg(g);
    if (const auto r = scratch_with(g)) return Xbyak::Reg64(*r);
    e_.mov(scratch, e_.qword_at(s_.vcpu.state.gpr[g]));
    hold_guest(static_cast<u8>(scratch.getIdx()), g);
    return scratch;
}

/// target (scratch0 or a guest's register) = linear address of `mem` plus `adjust`, in target's width.
/// Changes scratch registers; flags only when a segment base is added.
void BlockCompiler::address(const Insn& insn, const Operand& mem, u64 next, bool with_segment, int adjust,
                            const Xbyak::Reg& target) {
    const Xbyak::Reg64 whole(target.getIdx());
    const int disp = static_cast<int>(mem.disp) + adjust;
    const bool fixed = mem.base == x86::base_rip || (mem.base < 0 && mem.index < 0);
    if (fixed) {
        u64 a = static_cast<u64>(mem.disp + adjust) + (mem.base == x86::base_rip ? next : 0);
        if (insn.address_bits == 32 || target.isBit(32)) a &= 0xffffffff;
        e_.load_constant(whole, a);
    } else if (mem.index < 0) {
        const Xbyak::Reg64 base = address_register(mem.base, t0());
        if (disp != 0) {
            e_.lea(target, e_.ptr[base + disp]);
        } else if (target.isBit(32)) {
            e_.mov(target, base.cvt32());
        } else if (base.getIdx() != whole.getIdx()) {
            e_.mov(whole, base);
        }
    } else if (mem.base < 0) {
        const Xbyak::Reg64 index = address_register(mem.index, t1());
        e_.lea(target, e_.ptr[index * mem.scale + disp]);
    } else {
        const Xbyak::Reg64 base = address_register(mem.base, t0());
        const Xbyak::Reg64 index = address_register(mem.index, base.getIdx() == scratch1 ? t0() : t1());
        e_.lea(target, e_.ptr[base + index * mem.scale + disp]);
    }
    if (insn.address_bits == 32 && !fixed && !target.isBit(32)) e_.mov(whole.cvt32(), whole.cvt32());
    if (whole.getIdx() == scratch0) forget(scratch0);
    if (with_segment && (mem.segment == x86::fs || mem.segment == x86::gs))
        e_.add(whole, e_.qword_at(s_.vcpu.state.seg[mem.segment].base));
}

void BlockCompiler::index_tlb() {
    forget_scratch();
    emit_tlb_index(e_, s_);
}

/// scratch0: linear address in, host address out (`indexed`: less scratch1). The inline TLB probe. A leader's
/// is for the low end of its group's range.
void BlockCompiler::probe(unsigned size, bool write, const AccessPlan& p, bool indexed) {
    const auto& set = s_.tlb.set[mode()];
    const int tag = static_cast<int>(reinterpret_cast<u64>(write ? &set[0].write_tag : &set[0].read_tag));
    const int host = static_cast<int>(reinterpret_cast<u64>(&set[0].host));
    index_tlb();
    e_.xor_(t0(), e_.ptr[t1() + tag]);
    e_.cmp(t0(), static_cast<u32>(page_size - (p.leader ? p.bytes : size)));
    const u32 patch = e_.jump_forward_if(cc::a);
    if (indexed) {
        e_.mov(t1(), e_.ptr[t1() + host]);
    } else {
        e_.add(t0(), e_.ptr[t1() + host]);
    }
    miss(patch, size, write, p, std::nullopt);
    cold_.back().indexed = indexed;
}

void BlockCompiler::probe_constant(u64 gva, unsigned size, bool write, const AccessPlan& p) {
    const mmu::TlbEntry& entry = s_.tlb.set[mode()][mmu::Tlb::index(gva)];
    forget_scratch();
    e_.load_constant(t0(), gva);
    e_.xor_(t0(), e_.qword_at(write ? entry.write_tag : entry.read_tag));
    e_.cmp(t0(), static_cast<u32>(page_size - (p.leader ? p.bytes : size)));
    const u32 patch = e_.jump_forward_if(cc::a);
    e_.add(t0(), e_.qword_at(entry.host));
    miss(patch, size, write, p, gva);
}

/// probe() for what RSP points to: in one page for a long time, which Tlb::stack knows. 64-bit code only.
void BlockCompiler::probe_stack(unsigned size, bool write, const AccessPlan& p) {
    const mmu::StackEntry& stack = s_.tlb.stack[mode()];
    forget_scratch();
    e_.xor_(t0(), e_.qword_at(stack.tag));
    e_.cmp(t0(), static_cast<u32>(page_size - (p.leader ? p.bytes : size)));
    const u32 patch = e_.jump_forward_if(cc::a);
    e_.add(t0(), e_.qword_at(stack.host));
    miss(patch, size, write, p, std::nullopt);
    cold_.back().stack = true;
}

/// On the cold path of a probe of Tlb::stack: back if the TLB does it, else scratch0 = the address.
void BlockCompiler::look_up_stack(const Cold& c) {
    const unsigned bytes = c.plan.leader ? c.plan.bytes : TlbMissInfo::size(c.info);
    e_.mov(t1().cvt32(), static_cast<u32>(page_size - bytes));
    e_.call_to(s_.stubs.stack_probe[mode()]);
    e_.jump_to_if(cc::e, c.back);
}

/// The cold path of a probe that ends here.
void BlockCompiler::miss(u32 patch, unsigned size, bool write, const AccessPlan& p,
                         std::optional<u64> constant) {
    Cold c{p.leader ? ColdKind::group : ColdKind::probe};
    c.patch = patch;
    c.back = e_.offset();
    c.info = TlbMissInfo::pack(size, write, block_.mode, static_cast<unsigned>(current_rip_ - block_.rip));
    c.rip = current_rip_;
    c.constant = constant.has_value();
    c.address = constant.value_or(0);
    c.plan = p;
    cold_.push_back(c);
}

/// A leader's probe has failed. Where the range lies across two pages, the variant of this code in
/// which every access probes for itself goes on. Else the leader's own access is looked up, so that a
/// page fault is the one that it alone would raise.
void BlockCompiler::emit_group_cold(const Cold& c) {
    if (c.constant) {
        e_.load_constant(t0(), c.address);
    } else if (c.stack) {
        look_up_stack(c);
        e_.mov(t1().cvt32(), t0().cvt32());
        e_.and_(t1().cvt32(), static_cast<u32>(page_mask));
        e_.cmp(t1().cvt32(), static_cast<u32>(page_size - c.plan.bytes));
        go_on_unmerged(c.rip, e_.jump_forward_if(cc::a));
    } else {
        const auto& set = s_.tlb.set[mode()];
        const u64 tag =
            reinterpret_cast<u64>(TlbMissInfo::write(c.info) ? &set[0].write_tag : &set[0].read_tag);
        e_.xor_(t0(), e_.ptr[t1() + static_cast<int>(tag)]);
        e_.mov(t1().cvt32(), t0().cvt32());
        e_.and_(t1().cvt32(), static_cast<u32>(page_mask));
        e_.cmp(t1().cvt32(), static_cast<u32>(page_size - c.plan.bytes));
        go_on_unmerged(c.rip, e_.jump_forward_if(cc::a));
    }
    if (c.plan.offset) e_.lea(t0(), e_.ptr[t0() + c.plan.offset]);
    call_miss_helper(c.info | TlbMissInfo::value_is_address);
    if (c.plan.offset) e_.lea(t0(), e_.ptr[t0() - c.plan.offset]);
    e_.jump_to(c.back);
}

/// Calls for the access that `info` tells. What it tells lies in the displacement of a NOP behind the call,
/// so that nothing is to be loaded on the way and the call still returns to where it came from.
void BlockCompiler::call_miss_helper(u32 info) {
    e_.call_to(s_.stubs.tlb_miss);
    for (const u8 byte : {0x0f, 0x1f, 0x80}) e_.db(byte);  // nop [rax + disp32]
    e_.dd(info);
}

/// The instruction at `rip` again, in the variant in which every access probes for itself. Flags are in
/// memory or dead.
void BlockCompiler::go_on_unmerged(u64 rip, u32 patch) {
    const u64 here = current_rip_;
    current_rip_ = rip;
    exit_to(rip, patch, FlagsAt::memory);
    exits_.back().unmerged = true;
    current_rip_ = here;
}

/// Host address of instruction i's memory operand: scratch0 plus the result, plus scratch1 if it says
/// `indexed`. Flags must be free unless it follows().
int BlockCompiler::access(size_t i, const Operand& mem, unsigned size, bool write, bool* indexed) {
    const AccessPlan& p = plan(i, AccessKind::operand);
    if (follows(i, AccessKind::operand)) return use_pointer(p);
    if (narrow()) return narrow_access(i, mem, size, write, indexed);
    const Insn& insn = insns_[i];
    const bool segment = mem.segment == x86::fs || mem.segment == x86::gs;
    const bool fixed = mem.base == x86::base_rip || (mem.base < 0 && mem.index < 0);
    const int adjust = p.leader ? -static_cast<int>(p.offset) : 0;
    if (fixed && !segment) {
        u64 a = static_cast<u64>(mem.disp) + (mem.base == x86::base_rip ? next_rip(i) : 0);
        if (insn.address_bits == 32) a &= 0xffffffff;
        probe_constant(a + static_cast<u64>(static_cast<i64>(adjust)), size, write, p);
    } else {
        address(insn, mem, next_rip(i), true, adjust);
        if (mem.base == x86::rsp && mem.index < 0 && !segment && insn.address_bits == 64) {
            probe_stack(size, write, p);
            return keep_pointer(p);
        }
        const bool sum = indexed && p.group < 0 && options_.add_in_address && leaves_scratch1(i);
        if (indexed) *indexed = sum;
        probe(size, write, p, sum);
    }
    return keep_pointer(p);
}

/// Nothing between instruction i's probe and its access needs scratch1.
bool BlockCompiler::leaves_scratch1(size_t i) const {
    const Insn& insn = insns_[i];
    if (needs_host_flags(i)) return false;
    for (u8 n = 0; n < insn.operand_count; ++n) {
        const Operand& o = insn.op[n];
        if (o.kind == x86::OperandKind::gpr && o.is_explicit && (o.high8 || lives_in_memory(o.reg)))
            return false;
    }
    return true;
}

/// The same for what the instruction pushes to or pops from [base + displacement].
int BlockCompiler::access_stack(size_t i, const Xbyak::Reg64& base, int displacement, bool write) {
    const AccessPlan& p = plan(i, AccessKind::stack);
    if (follows(i, AccessKind::stack)) return use_pointer(p);
    const int from = displacement - (p.leader ? p.offset : 0);
    const unsigned size = slot_bytes(i);
    if (narrow()) {
        if (from || narrow()->stack_bits == 16) {
            e_.lea(t0().cvt32(), e_.ptr[base + from]);
            if (narrow()->stack_bits == 16) e_.movzx(t0().cvt32(), t0().cvt16());
        } else {
            e_.mov(t0().cvt32(), base.cvt32());
        }
        narrow_linear(x86::ss, narrow()->stack_bits, p.leader ? p.bytes : size, write,
                      p.leader ? Range::leader : Range::access);
    } else if (from) {
        e_.lea(t0(), e_.ptr[base + from]);
    } else {
        e_.mov(t0(), base);
    }
    narrow() ? probe(size, write, p) : probe_stack(size, write, p);
    return keep_pointer(p);
}

int BlockCompiler::keep_pointer(const AccessPlan& p) {
    if (!p.leader) return 0;
    e_.mov(e_.qword_at(s_.data.pointer[p.slot]), t0());
    held(scratch0) = {Held::What::pointer, p.group};
    return p.offset;
}

int BlockCompiler::use_pointer(const AccessPlan& p) {
    const Held wanted{Held::What::pointer, p.group};
    if (held(scratch0) != wanted) {
        e_.mov(t0(), e_.qword_at(s_.data.pointer[p.slot]));
        held(scratch0) = wanted;
    }
    return p.offset;
}

void BlockCompiler::hold_guest(u8 scratch, u8 guest) {
    if (options_.cache_registers) {
        held(scratch) = {Held::What::guest, guest};
    } else {
        forget(scratch);
    }
}

/// Guest register `guest`, which lives in memory, has changed there.
void BlockCompiler::forget_guest(u8 guest) {
    for (Held& h : held_)
        if (h == Held{Held::What::guest, guest}) h = {};
}

/// The scratch register that has the value of `guest`, which lives in memory.
std::optional<u8> BlockCompiler::scratch_with(u8 guest) const {
    for (u8 k = 0; k < held_.size(); ++k)
        if (held_[k] == Held{Held::What::guest, guest}) return static_cast<u8>(scratch0 + k);
    return std::nullopt;
}

}  // namespace triune::hypervisor::soft::bt
