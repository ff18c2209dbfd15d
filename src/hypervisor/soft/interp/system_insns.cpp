// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/interp/dispatch.h"
#include "hypervisor/soft/interp/handlers.h"

namespace triune::hypervisor::soft::interp {
namespace {

namespace flag = x86::flag;
using x86::rax;
using x86::rcx;
using x86::rdx;

u64 edx_eax(const Exec& e) { return e.gpr(rdx, 32) << 32 | e.gpr(rax, 32); }
void set_edx_eax(Exec& e, u64 v) {
    e.s.gpr[rax] = static_cast<u32>(v);
    e.s.gpr[rdx] = v >> 32;
}
bool privileged(Exec& e) { return e.s.cpl() && e.s.protected_mode() ? e.gp() : true; }

bool rdmsr(Exec& e, const Insn&) {
    u64 v = 0;
    if (!e.take(e.sys.rdmsr(static_cast<u32>(e.s.gpr[rcx])), v)) return false;
    set_edx_eax(e, v);
    return true;
}

bool rdtsc(Exec& e, const Insn&) {
    u64 v = 0;
    if (!e.take(e.sys.rdtsc(), v)) return false;
    set_edx_eax(e, v);
    return true;
}
bool rdtscp(Exec& e, const Insn& i) {
    if (!rdtsc(e, i)) return false;
    e.s.gpr[rcx] = static_cast<u32>(e.s.tsc_aux);
    return true;
}
bool rdpid(Exec& e, const Insn& i) {
    e.s.gpr[i.op[0].reg] = static_cast<u32>(e.s.tsc_aux);
    return true;
}
bool rdpmc(Exec& e, const Insn&) {
    u64 v = 0;
    if (!e.take(e.sys.rdpmc(), v)) return false;
    set_edx_eax(e, v);
    return true;
}
bool xgetbv(Exec& e, const Insn&) {
    u64 v = 0;
    if (!e.take(e.sys.xgetbv(static_cast<u32>(e.s.gpr[rcx])), v)) return false;
    set_edx_eax(e, v);
    return true;
}

bool rdpkru(Exec& e, const Insn&) {
    u32 v = 0;
    if (!e.take(e.sys.rdpkru(static_cast<u32>(e.s.gpr[rcx])), v)) return false;
    set_edx_eax(e, v);
    return true;
}
bool wrpkru(Exec& e, const Insn&) {
    return e.take(e.sys.wrpkru(static_cast<u32>(e.s.gpr[rcx]), static_cast<u32>(e.s.gpr[rdx]),
                               static_cast<u32>(e.s.gpr[rax])));
}

/// RDFSBASE, RDGSBASE, WRFSBASE, WRGSBASE: 64-bit mode with CR4.FSGSBASE.
template <Seg seg, bool write>
bool segment_base(Exec& e, const Insn& i) {
    if (i.code != CodeSize::bits64 || !(e.s.cr4 & x86::cr4::fsgsbase)) return e.ud();
    const unsigned bits = i.operand_bits == 64 ? 64 : 32;
    const unsigned r = i.op[0].reg;
    if constexpr (write) {
        const u64 v = e.gpr(r, bits);
        if (!e.mmu.canonical(v)) return e.gp();
        e.s.seg[seg].base = v;
    } else {
        e.set_gpr(r, e.s.seg[seg].base, bits);
    }
    return true;
}

template <bool set>
bool access_flag(Exec& e, const Insn&) {
    if (e.s.cpl()) return e.ud();
    if constexpr (set)
        e.s.rflags |= flag::ac;
    else
        e.s.rflags &= ~flag::ac;
    return true;
}

bool invlpg(Exec& e, const Insn& i) {
    const Operand& m = i.op[0];
    u64 a = e.effective_address(i, m);
    if (i.code != CodeSize::bits64)
        a = (a + e.s.seg[m.segment].base) & base::low_mask(32);
    else if (m.segment >= x86::fs)
        a += e.s.seg[m.segment].base;
    return e.take(e.sys.invlpg(a));
}

bool invpcid(Exec& e, const Insn& i) {
    if (!privileged(e)) return false;
    const Operand& m = *i.memory();
    Gva a = 0;
    u64 descriptor[2];
    if (!e.linear(i.code, static_cast<Seg>(m.segment), e.effective_address(i, m), 16, Access::read, a) ||
        !e.load_bytes(a, descriptor, 16, m.segment))
        return false;
    const u64 type = e.gpr(i.op[0].reg, i.code == CodeSize::bits64 ? 64 : 32);
    if (descriptor[0] >> 12) return e.gp();
    return e.take(e.sys.invpcid(type, descriptor[0], descriptor[1]));
}

/// CLFLUSH, CLFLUSHOPT, CLWB: a byte's read, as far as faults go; our caches are coherent.
bool cache_line(Exec& e, const Insn& i) {
    const Operand& m = i.op[0];
    Gva a = 0;
    return e.linear(i.code, static_cast<Seg>(m.segment), e.effective_address(i, m), 1, Access::read, a) &&
           e.probe(a, 1, Access::read, m.segment);
}

bool in(Exec& e, const Insn& i) {
    const unsigned size = i.op[0].bits / 8u;
    const u16 port =
        i.op[1].kind == OperandKind::imm ? static_cast<u8>(i.op[1].disp) : static_cast<u16>(e.s.gpr[rdx]);
    u32 v = 0;
    if (!e.take(e.sys.in(port, size), v)) return false;
    e.set_gpr(rax, v, size * 8);
    return true;
}

bool out(Exec& e, const Insn& i) {
    const unsigned size = i.op[1].bits / 8u;
    const u16 port =
        i.op[0].kind == OperandKind::imm ? static_cast<u8>(i.op[0].disp) : static_cast<u16>(e.s.gpr[rdx]);
    return e.take(e.sys.out(port, static_cast<u32>(e.gpr(rax, size * 8)), size));
}

bool hlt(Exec& e, const Insn&) {
    if (!e.take(e.sys.hlt())) return false;
    e.halted = true;
    return true;
}

}  // namespace

bool mov_control(Exec& e, const Insn& i) {
    const unsigned bits = i.code == CodeSize::bits64 ? 64 : 32;
    if (i.op[0].kind == OperandKind::control)
        return e.take(e.sys.write_cr(i.op[0].reg, e.gpr(i.op[1].reg, bits)));
    u64 v = 0;
    if (!e.take(e.sys.read_cr(i.op[1].reg), v)) return false;
    e.set_gpr(i.op[0].reg, v, bits);
    return true;
}

bool mov_debug(Exec& e, const Insn& i) {
    const unsigned bits = i.code == CodeSize::bits64 ? 64 : 32;
    if (i.op[0].kind == OperandKind::debug)
        return e.take(e.sys.write_dr(i.op[0].reg, e.gpr(i.op[1].reg, bits)));
    u64 v = 0;
    if (!e.take(e.sys.read_dr(i.op[1].reg), v)) return false;
    e.set_gpr(i.op[0].reg, v, bits);
    return true;
}

void register_system(HandlerTable& t) {
    t.add(ZYDIS_MNEMONIC_RDMSR, rdmsr);
    t.add(ZYDIS_MNEMONIC_WRMSR, [](Exec& e, const Insn&) {
        return e.take(e.sys.wrmsr(static_cast<u32>(e.s.gpr[rcx]), edx_eax(e)));
    });
    t.add(ZYDIS_MNEMONIC_CPUID, [](Exec& e, const Insn&) { return e.take(e.sys.cpuid()); });
    t.add(ZYDIS_MNEMONIC_RDTSC, rdtsc);
    t.add(ZYDIS_MNEMONIC_RDTSCP, rdtscp);
    t.add(ZYDIS_MNEMONIC_RDPID, rdpid);
    t.add(ZYDIS_MNEMONIC_RDPMC, rdpmc);
    t.add(ZYDIS_MNEMONIC_XGETBV, xgetbv);
    t.add(ZYDIS_MNEMONIC_RDPKRU, rdpkru);
    t.add(ZYDIS_MNEMONIC_WRPKRU, wrpkru);
    t.add(ZYDIS_MNEMONIC_XSETBV, [](Exec& e, const Insn&) {
        return e.take(e.sys.xsetbv(static_cast<u32>(e.s.gpr[rcx]), edx_eax(e)));
    });
    t.add(ZYDIS_MNEMONIC_SWAPGS, [](Exec& e, const Insn&) { return e.take(e.sys.swapgs()); });
    t.add(ZYDIS_MNEMONIC_RDFSBASE, segment_base<x86::fs, false>);
    t.add(ZYDIS_MNEMONIC_RDGSBASE, segment_base<x86::gs, false>);
    t.add(ZYDIS_MNEMONIC_WRFSBASE, segment_base<x86::fs, true>);
    t.add(ZYDIS_MNEMONIC_WRGSBASE, segment_base<x86::gs, true>);
    t.add(ZYDIS_MNEMONIC_CLAC, access_flag<false>);
    t.add(ZYDIS_MNEMONIC_STAC, access_flag<true>);
    t.add(ZYDIS_MNEMONIC_CLI, [](Exec& e, const Insn&) { return e.take(e.sys.cli()); });
    t.add(ZYDIS_MNEMONIC_STI, [](Exec& e, const Insn&) { return e.take(e.sys.sti()); });
    t.add(ZYDIS_MNEMONIC_CLTS, [](Exec& e, const Insn&) { return e.take(e.sys.clts()); });
    t.add(ZYDIS_MNEMONIC_INVLPG, invlpg);
    t.add(ZYDIS_MNEMONIC_INVPCID, invpcid);
    t.add({ZYDIS_MNEMONIC_WBINVD, ZYDIS_MNEMONIC_INVD}, [](Exec& e, const Insn&) { return privileged(e); });
    t.add({ZYDIS_MNEMONIC_CLFLUSH, ZYDIS_MNEMONIC_CLFLUSHOPT, ZYDIS_MNEMONIC_CLWB}, cache_line);
    t.add(ZYDIS_MNEMONIC_HLT, hlt);
    t.add({ZYDIS_MNEMONIC_VMCALL, ZYDIS_MNEMONIC_VMMCALL},
          [](Exec& e, const Insn&) { return e.take(e.sys.vmcall()); });
    t.add(ZYDIS_MNEMONIC_IN, in);
    t.add(ZYDIS_MNEMONIC_OUT, out);
}

}  // namespace triune::hypervisor::soft::interp
