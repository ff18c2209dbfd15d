// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/interp/rewrite.h"

#include "x86/vex.h"

namespace triune::hypervisor::soft::interp {
namespace {

using x86::CodeSize;
using x86::Insn;
using x86::Operand;
using x86::OperandField;
using x86::OperandKind;

bool dropped_prefix(u8 b) {
    switch (b) {
        case 0x26:
        case 0x2e:
        case 0x36:
        case 0x3e:
        case 0x64:
        case 0x65:
        case 0x67:
        case 0xf0: return true;
        default: return false;
    }
}

/// Outside 64-bit mode VEX.vvvv's top bit and VEX.B are ignored; here they would name registers
/// 8-15. VEX.W widens general registers only here.
void settle_vex(u8* vex, bool w_widens_integer) {
    if (vex[0] == 0xc5) {
        vex[1] |= 0x40;
    } else {
        vex[1] |= 0x20;
        vex[2] |= 0x40;
        if (w_widens_integer) vex[2] &= 0x7f;
    }
}

}  // namespace

Rewritten rewrite_for_host(const Insn& i) {
    Rewritten r;
    const auto put = [&r](u8 b) { r.bytes[r.length++] = b; };
    const u8 vex_bytes = i.vex ? (i.bytes[i.prefix_bytes - 2] == 0xc5 ? 2 : 3) : 0;
    const u8 legacy_end = static_cast<u8>(i.prefix_bytes - vex_bytes);
    for (u8 n = 0; n < legacy_end; ++n) {
        // A REX prefix counts only right before the opcode; dropping what follows it must not revive it.
        const bool looks_like_rex = (i.bytes[n] & 0xf0) == 0x40;
        const bool rex = looks_like_rex && n + 1 == legacy_end && i.rex;
        if (rex || (!looks_like_rex && !dropped_prefix(i.bytes[n]))) put(i.bytes[n]);
    }
    const Operand* rsp_operand = nullptr;
    for (u8 n = 0; n < i.operand_count; ++n) {
        if (i.op[n].kind != OperandKind::gpr || !i.op[n].is_explicit) continue;
        if (i.op[n].reg == x86::rsp) rsp_operand = &i.op[n];
    }
    if (i.vex) {
        const u8 at = r.length;
        for (u8 n = 0; n < vex_bytes; ++n) put(i.bytes[legacy_end + n]);
        if (i.code != CodeSize::bits64) settle_vex(&r.bytes[at], x86::vex_w_widens_integer(i));
    }
    const u8 opcode_end = i.has_modrm ? i.modrm_offset : i.length;
    for (u8 n = i.prefix_bytes; n < opcode_end; ++n) put(i.bytes[n]);
    if (!i.has_modrm) return r;

    u8 modrm = i.modrm;
    u8 tail = static_cast<u8>(i.modrm_offset + 1);
    if ((modrm >> 6) != 3) {
        if ((modrm & 7) == 4 && i.address_bits != 16) ++tail;  // SIB
        tail = static_cast<u8>(tail + i.disp_bits / 8);
        modrm = (modrm & 0x38) | 5;
    }
    if (rsp_operand) {
        r.rsp_replaced = true;
        if (rsp_operand->field == OperandField::modrm_reg)
            modrm = static_cast<u8>((modrm & 0xc7) | x86::rbp << 3);
        else
            modrm = static_cast<u8>((modrm & 0xf8) | x86::rbp);
    }
    put(modrm);
    if ((modrm >> 6) != 3) {
        r.disp_offset = r.length;
        for (unsigned n = 0; n < 4; ++n) put(0);
    }
    for (u8 n = tail; n < i.length; ++n) put(i.bytes[n]);
    return r;
}

}  // namespace triune::hypervisor::soft::interp
