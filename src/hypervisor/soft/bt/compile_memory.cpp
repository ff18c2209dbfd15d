// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/bt/compiler.h"

namespace triune::hypervisor::soft::bt {

using x86::Insn;
using x86::Operand;

/// The host register that holds guest register `guest`; one that lives in memory is loaded to `scratch`.
Xbyak::Reg64 BlockCompiler::address_register(i8 guest, const Xbyak::Reg64& scratch) {
    const u8 g = static_cast<u8>(guest);
    if (!lives_in_memory(g)) return host_reg(g);
    e_.mov(scratch, e_.qword_at(s_.vcpu.state.gpr[g]));
    return scratch;
}

/// scratch0 = linear address of `mem`. Changes scratch1; flags only when a segment base is added.
void BlockCompiler::address(const Insn& insn, const Operand& mem, u64 next, bool with_segment) {
    if (mem.base == x86::base_rip) {
        u64 a = next + static_cast<u64>(mem.disp);
        if (insn.address_bits == 32) a &= 0xffffffff;
        e_.load_constant(t0(), a);
    } else if (mem.base < 0 && mem.index < 0) {
        u64 a = static_cast<u64>(mem.disp);
        if (insn.address_bits == 32) a &= 0xffffffff;
        e_.load_constant(t0(), a);
    } else {
        const int disp = static_cast<int>(mem.disp);
        if (mem.index < 0) {
            const Xbyak::Reg64 base = address_register(mem.base, t0());
            if (disp != 0) {
                e_.lea(t0(), e_.ptr[base + disp]);
            } else if (base.getIdx() != scratch0) {
                e_.mov(t0(), base);
            }
        } else if (mem.base < 0) {
            const Xbyak::Reg64 index = address_register(mem.index, t1());
            e_.lea(t0(), e_.ptr[index * mem.scale + disp]);
        } else {
            const Xbyak::Reg64 base = address_register(mem.base, t0());
            const Xbyak::Reg64 index = address_register(mem.index, t1());
            e_.lea(t0(), e_.ptr[base + index * mem.scale + disp]);
        }
        if (insn.address_bits == 32) e_.mov(t0().cvt32(), t0().cvt32());
    }
    if (with_segment && (mem.segment == x86::fs || mem.segment == x86::gs))
        e_.add(t0(), e_.qword_at(s_.vcpu.state.seg[mem.segment].base));
}

/// scratch0: linear address in, host address out. The inline TLB probe. `several`: it stands for the
/// accesses of a run of instructions, which its cold path takes one by one.
void BlockCompiler::probe(unsigned size, bool write, bool several) {
    const auto& set = s_.tlb.set[mode()];
    static_assert(sizeof(mmu::TlbEntry) == 32);
    const int tag = static_cast<int>(reinterpret_cast<u64>(write ? &set[0].write_tag : &set[0].read_tag));
    const int host = static_cast<int>(reinterpret_cast<u64>(&set[0].host));
    if (s_.host_bmi2) {
        e_.rorx(t1().cvt32(), t0().cvt32(), 7);
    } else {
        e_.mov(t1().cvt32(), t0().cvt32());
        e_.shr(t1().cvt32(), 7);
    }
    e_.and_(t1().cvt32(), (mmu::Tlb::entries - 1) << 5);
    e_.xor_(t0(), e_.ptr[t1() + tag]);
    e_.cmp(t0(), static_cast<u32>(page_size - size));
    Cold c{ColdKind::probe};
    c.patch = e_.jump_forward_if(cc::a);
    e_.add(t0(), e_.ptr[t1() + host]);
    c.back = e_.offset();
    c.info = TlbMissInfo::pack(size, write, block_.mode);
    c.rip = current_rip_;
    if (several) {
        c.kind = ColdKind::run;
        c.insn = run_begin_;
        c.insn_end = run_end_;
        c.flags = flags_;
    }
    cold_.push_back(c);
}

void BlockCompiler::probe_constant(u64 gva, unsigned size, bool write) {
    const mmu::TlbEntry& entry = s_.tlb.set[mode()][mmu::Tlb::index(gva)];
    e_.load_constant(t0(), gva);
    e_.xor_(t0(), e_.qword_at(write ? entry.write_tag : entry.read_tag));
    e_.cmp(t0(), static_cast<u32>(page_size - size));
    Cold c{ColdKind::probe};
    c.patch = e_.jump_forward_if(cc::a);
    e_.add(t0(), e_.qword_at(entry.host));
    c.back = e_.offset();
    c.info = TlbMissInfo::pack(size, write, block_.mode);
    c.rip = current_rip_;
    c.constant = true;
    c.address = gva;
    cold_.push_back(c);
}

/// scratch0 = host address of instruction i's memory operand. Flags must be free.
void BlockCompiler::access(size_t i, const Operand& mem, unsigned size, bool write) {
    const Insn& insn = insns_[i];
    const bool segment = mem.segment == x86::fs || mem.segment == x86::gs;
    const bool fixed = mem.base == x86::base_rip || (mem.base < 0 && mem.index < 0);
    if (fixed && !segment) {
        u64 a = static_cast<u64>(mem.disp) + (mem.base == x86::base_rip ? next_rip(i) : 0);
        if (insn.address_bits == 32) a &= 0xffffffff;
        probe_constant(a, size, write);
        return;
    }
    address(insn, mem, next_rip(i), true);
    probe(size, write);
}

}  // namespace triune::hypervisor::soft::bt
