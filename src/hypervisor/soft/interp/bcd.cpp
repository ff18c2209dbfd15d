// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
/// Decimal adjustment and the like; none of it exists in 64-bit mode.
#include "hypervisor/soft/interp/alu_unsafe.h"
#include "hypervisor/soft/interp/handlers.h"

namespace triune::hypervisor::soft::interp {
namespace {

namespace flag = x86::flag;
using x86::rax;

u8 al(const Exec& e) { return static_cast<u8>(e.s.gpr[rax]); }
void set_ax(Exec& e, u8 low, u8 high) { e.set_gpr(rax, static_cast<u64>(high) << 8 | low, 16); }

/// ZF, SF and PF by `v`; the rest from `others`.
void result_flags(Exec& e, u8 v, u64 others) {
    u32 f = 0;
    (void)alu::or_<u8>(v, v, f);
    e.set_arithmetic((f & (flag::zf | flag::sf | flag::pf)) | others);
}

/// DAA and DAS (Intel SDM 2A).
template <bool subtract>
bool decimal_adjust(Exec& e, const Insn&) {
    const u8 old = al(e);
    const bool old_cf = e.flag(flag::cf);
    u8 v = old;
    u64 flags = 0;
    if ((old & 15) > 9 || e.flag(flag::af)) {
        v = static_cast<u8>(subtract ? v - 6 : v + 6);
        flags |= flag::af;
        if (old_cf || (subtract ? old < 6 : old > 0xf9)) flags |= flag::cf;
    }
    if (old > 0x99 || old_cf) {
        v = static_cast<u8>(subtract ? v - 0x60 : v + 0x60);
        flags |= flag::cf;
    } else if (!subtract) {
        flags &= ~flag::cf;
    }
    e.set_gpr(rax, v, 8);
    result_flags(e, v, flags);
    return true;
}

/// AAA and AAS.
template <bool subtract>
bool ascii_adjust(Exec& e, const Insn&) {
    u16 ax = static_cast<u16>(e.s.gpr[rax]);
    u64 flags = 0;
    if ((ax & 15) > 9 || e.flag(flag::af)) {
        ax = static_cast<u16>(subtract ? ax - 0x106 : ax + 0x106);
        flags = flag::af | flag::cf;
    }
    set_ax(e, ax & 15, static_cast<u8>(ax >> 8));
    result_flags(e, ax & 15, flags);
    return true;
}

}  // namespace

void register_bcd(HandlerTable& t) {
    t.add(ZYDIS_MNEMONIC_DAA, decimal_adjust<false>);
    t.add(ZYDIS_MNEMONIC_DAS, decimal_adjust<true>);
    t.add(ZYDIS_MNEMONIC_AAA, ascii_adjust<false>);
    t.add(ZYDIS_MNEMONIC_AAS, ascii_adjust<true>);
    t.add(ZYDIS_MNEMONIC_AAM, [](Exec& e, const Insn& i) {
        const u8 divisor = static_cast<u8>(i.op[0].disp);
        if (!divisor) return e.raise(Fault::de());
        const u8 v = al(e);
        set_ax(e, v % divisor, v / divisor);
        result_flags(e, v % divisor, 0);
        return true;
    });
    t.add(ZYDIS_MNEMONIC_AAD, [](Exec& e, const Insn& i) {
        const u8 ah = static_cast<u8>(e.s.gpr[rax] >> 8);
        const u8 v = static_cast<u8>(al(e) + ah * static_cast<u8>(i.op[0].disp));
        set_ax(e, v, 0);
        result_flags(e, v, 0);
        return true;
    });
    t.add(ZYDIS_MNEMONIC_SALC, [](Exec& e, const Insn&) {
        e.set_gpr(rax, e.flag(flag::cf) ? 0xff : 0, 8);
        return true;
    });
}

}  // namespace triune::hypervisor::soft::interp
