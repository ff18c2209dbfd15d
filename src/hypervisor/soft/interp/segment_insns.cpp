// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/interp/dispatch.h"
#include "hypervisor/soft/interp/handlers.h"

namespace triune::hypervisor::soft::interp {
namespace {

namespace flag = x86::flag;

/// UMIP: SGDT, SIDT, SLDT, STR, SMSW fault outside CPL 0 (Intel SDM 3A 2.5).
bool umip(Exec& e) { return (e.s.cr4 & x86::cr4::umip) && e.s.cpl() ? e.gp() : true; }
bool protected_only(Exec& e) { return !e.s.protected_mode() || e.s.v8086() ? e.ud() : true; }

/// Stores a 16-bit system value: to memory 16 bits, to a register the operand size (`wide`).
bool store_selector(Exec& e, const Insn& i, u64 value) {
    const Operand& o = i.op[0];
    if (o.kind == OperandKind::mem) return e.write<u16>(i, o, static_cast<u16>(value));
    e.set_gpr(o.reg, value, i.operand_bits);
    return true;
}

bool read_selector(Exec& e, const Insn& i, const Operand& o, u16& v) {
    if (o.kind == OperandKind::gpr) {
        v = static_cast<u16>(e.s.gpr[o.reg]);
        return true;
    }
    return e.read<u16>(i, o, v);
}

template <bool interrupt>
bool store_table(Exec& e, const Insn& i) {
    if (!umip(e)) return false;
    const x86::DescriptorTable& d = interrupt ? e.s.idtr : e.s.gdtr;
    const Operand& m = i.op[0];
    const unsigned base_bytes = i.code == CodeSize::bits64 ? 8 : 4;
    u8 image[10];
    const u16 limit = static_cast<u16>(d.limit);
    std::memcpy(image, &limit, 2);
    std::memcpy(image + 2, &d.base, 8);
    Gva a = 0;
    return e.linear(i.code, static_cast<Seg>(m.segment), e.effective_address(i, m), 2 + base_bytes,
                    Access::write, a) &&
           e.store_bytes(a, image, 2 + base_bytes, m.segment);
}

template <bool interrupt>
bool load_table(Exec& e, const Insn& i) {
    if (e.s.protected_mode() && e.s.cpl()) return e.gp();
    const Operand& m = i.op[0];
    const unsigned base_bytes = i.code == CodeSize::bits64 ? 8 : 4;
    u8 image[10] = {};
    Gva a = 0;
    if (!e.linear(i.code, static_cast<Seg>(m.segment), e.effective_address(i, m), 2 + base_bytes,
                  Access::read, a) ||
        !e.load_bytes(a, image, 2 + base_bytes, m.segment))
        return false;
    u16 limit = 0;
    u64 base = 0;
    std::memcpy(&limit, image, 2);
    std::memcpy(&base, image + 2, 8);
    if (i.operand_bits == 16) base &= 0xffffff;
    return e.take(interrupt ? e.sys.lidt(base, limit) : e.sys.lgdt(base, limit));
}

/// LDS, LES, LFS, LGS, LSS.
template <Seg seg>
bool load_far_pointer(Exec& e, const Insn& i) {
    const Operand& m = i.op[1];
    const unsigned bytes = i.operand_bits / 8;
    Gva a = 0;
    u64 offset = 0, selector = 0;
    if (!e.address(i, m, bytes + 2, Access::read, a) || !e.load_sized(a, offset, bytes, m.segment) ||
        !e.load_sized(a + bytes, selector, 2, m.segment) ||
        !e.take(e.sys.load_segment(seg, static_cast<u16>(selector))))
        return false;
    e.set_gpr(i.op[0].reg, offset, i.operand_bits);
    return true;
}

template <bool limit>
bool lar_lsl(Exec& e, const Insn& i) {
    if (!protected_only(e)) return false;
    u16 selector = 0;
    if (!read_selector(e, i, i.op[1], selector)) return false;
    std::optional<u32> v;
    if (!e.take(limit ? e.sys.lsl(selector) : e.sys.lar(selector), v)) return false;
    if (v) e.set_gpr(i.op[0].reg, *v, i.operand_bits);
    e.set_flags(flag::zf, v ? flag::zf : 0);
    return true;
}

template <bool write>
bool verify(Exec& e, const Insn& i) {
    if (!protected_only(e)) return false;
    u16 selector = 0;
    bool ok = false;
    if (!read_selector(e, i, i.op[0], selector) ||
        !e.take(write ? e.sys.verw(selector) : e.sys.verr(selector), ok))
        return false;
    e.set_flags(flag::zf, ok ? flag::zf : 0);
    return true;
}

template <bool task>
bool load_system_segment(Exec& e, const Insn& i) {
    if (!protected_only(e)) return false;
    if (e.s.cpl()) return e.gp();
    u16 selector = 0;
    return read_selector(e, i, i.op[0], selector) &&
           e.take(task ? e.sys.ltr(selector) : e.sys.lldt(selector));
}

template <bool task>
bool store_system_segment(Exec& e, const Insn& i) {
    return protected_only(e) && umip(e) && store_selector(e, i, task ? e.s.tr.selector : e.s.ldtr.selector);
}

/// ARPL: 16- and 32-bit protected mode only. A selector that stays as it is is not written, so that it may
/// lie in a segment or page that is read-only (Intel SDM 2A ARPL, operation).
bool arpl(Exec& e, const Insn& i) {
    if (!protected_only(e)) return false;
    const u16 rpl = e.reg<u16>(i.op[1]) & 3;
    u16 old = 0;
    if (!e.read<u16>(i, i.op[0], old)) return false;
    const bool adjusted = (old & 3) < rpl;
    if (adjusted && !e.write<u16>(i, i.op[0], static_cast<u16>((old & ~3) | rpl))) return false;
    e.set_flags(flag::zf, adjusted ? flag::zf : 0);
    return true;
}

}  // namespace

bool mov_segment(Exec& e, const Insn& i) {
    if (i.op[0].kind != OperandKind::segment) return store_selector(e, i, e.s.seg[i.op[1].reg].selector);
    const unsigned seg = i.op[0].reg;
    u16 selector = 0;
    if (seg == x86::cs) return e.ud();
    if (!read_selector(e, i, i.op[1], selector) ||
        !e.take(e.sys.load_segment(static_cast<Seg>(seg), selector)))
        return false;
    if (seg == x86::ss) e.s.interrupt_shadow = x86::shadow::mov_ss;
    return true;
}

void register_segments(HandlerTable& t) {
    t.add(ZYDIS_MNEMONIC_SGDT, store_table<false>);
    t.add(ZYDIS_MNEMONIC_SIDT, store_table<true>);
    t.add(ZYDIS_MNEMONIC_LGDT, load_table<false>);
    t.add(ZYDIS_MNEMONIC_LIDT, load_table<true>);
    t.add(ZYDIS_MNEMONIC_LDS, load_far_pointer<x86::ds>);
    t.add(ZYDIS_MNEMONIC_LES, load_far_pointer<x86::es>);
    t.add(ZYDIS_MNEMONIC_LFS, load_far_pointer<x86::fs>);
    t.add(ZYDIS_MNEMONIC_LGS, load_far_pointer<x86::gs>);
    // LSS needs no shadow: it loads the stack pointer at once (Intel SDM 3A 6.8.3).
    t.add(ZYDIS_MNEMONIC_LSS, load_far_pointer<x86::ss>);
    t.add(ZYDIS_MNEMONIC_LAR, lar_lsl<false>);
    t.add(ZYDIS_MNEMONIC_LSL, lar_lsl<true>);
    t.add(ZYDIS_MNEMONIC_VERR, verify<false>);
    t.add(ZYDIS_MNEMONIC_VERW, verify<true>);
    t.add(ZYDIS_MNEMONIC_LLDT, load_system_segment<false>);
    t.add(ZYDIS_MNEMONIC_LTR, load_system_segment<true>);
    t.add(ZYDIS_MNEMONIC_SLDT, store_system_segment<false>);
    t.add(ZYDIS_MNEMONIC_STR, store_system_segment<true>);
    t.add(ZYDIS_MNEMONIC_SMSW, [](Exec& e, const Insn& i) {
        if (!umip(e)) return false;
        if (i.op[0].kind == OperandKind::mem) return e.write<u16>(i, i.op[0], static_cast<u16>(e.s.cr0));
        e.set_gpr(i.op[0].reg, e.s.cr0, i.operand_bits);
        return true;
    });
    t.add(ZYDIS_MNEMONIC_LMSW, [](Exec& e, const Insn& i) {
        if (e.s.protected_mode() && e.s.cpl()) return e.gp();
        u16 v = 0;
        return read_selector(e, i, i.op[0], v) && e.take(e.sys.lmsw(v));
    });
    t.add(ZYDIS_MNEMONIC_ARPL, arpl);
}

}  // namespace triune::hypervisor::soft::interp
