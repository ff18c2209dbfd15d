// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/bt/emitter.h"
#include "x86/vex.h"

namespace triune::hypervisor::soft::bt {
namespace {

bool dropped_prefix(u8 byte) {
    switch (byte) {
        case 0x26:
        case 0x2e:
        case 0x36:
        case 0x3e:
        case 0x64:
        case 0x65:
        case 0x67: return true;
        default: return false;
    }
}

/// Offset of the first byte behind ModRM, SIB and displacement: the immediate, if any.
unsigned tail_offset(const x86::Insn& insn) {
    if (!insn.has_modrm) return insn.imm_offset ? insn.imm_offset : insn.length;
    unsigned at = insn.modrm_offset + 1;
    const unsigned mod = insn.modrm >> 6, rm = insn.modrm & 7;
    if (mod == 3) return at;
    if (insn.address_bits == 16) return at + (mod == 1 ? 1 : mod == 2 || rm == 6 ? 2 : 0);
    unsigned displacement = mod == 1 ? 1 : mod == 2 ? 4 : 0;
    if (rm == 4) {
        const u8 sib = insn.bytes[at++];
        if (mod == 0 && (sib & 7) == 5) displacement = 4;
    } else if (mod == 0 && rm == 5) {
        displacement = 4;
    }
    return at + displacement;
}

struct Extension {
    bool r, x, b;
};

/// The register-extension bits of the renamed instruction. `old` holds the original's.
Extension extension(const Renaming& n, Extension old) {
    Extension e = old;
    if (n.reg >= 0) e.r = n.reg & 8;
    if (n.base >= 0) {
        e.b = n.base & 8;
        e.x = n.index >= 0 && (n.index & 8);
    }
    if (n.rm >= 0) e.b = n.rm & 8;
    if (n.opcode >= 0) e.b = n.opcode & 8;
    if (n.home) e.x = e.b = false;
    return e;
}

u8 modrm(const x86::Insn& insn, const Renaming& n) {
    u8 m = insn.modrm;
    if (n.reg >= 0) m = static_cast<u8>((m & ~0x38) | ((n.reg & 7) << 3));
    if (n.rm >= 0) m = static_cast<u8>((m & ~7) | (n.rm & 7));
    if (n.base >= 0) {
        const int mod = n.disp == 0 ? 0 : n.disp == static_cast<i8>(n.disp) ? 0x40 : 0x80;
        m = static_cast<u8>((m & 0x38) | (n.base & 7) | mod);
    }
    if (n.home || n.index >= 0) m = static_cast<u8>((m & 0x38) | 4);
    return m;
}

void emit_tail(Emitter& e, const x86::Insn& insn, const Renaming& n) {
    if (insn.has_modrm) {
        const u8 m = modrm(insn, n);
        e.db(m);
        if (n.index >= 0) e.db(static_cast<u8>((n.index & 7) << 3 | (n.base & 7)));
        if (n.base >= 0 && (m & 0xc0) == 0x40) e.db(static_cast<u8>(n.disp));
        if (n.base >= 0 && (m & 0xc0) == 0x80) e.dd(static_cast<u32>(n.disp));
        if (n.home) e.db(0x25), e.dd(n.home);  // SIB: no base, no index
    }
    for (unsigned i = tail_offset(insn); i < insn.length; ++i) e.db(insn.bytes[i]);
}

void encode_vex(Emitter& e, const x86::Insn& insn, const Renaming& n) {
    unsigned start = 0;
    while (insn.bytes[start] != 0xc4 && insn.bytes[start] != 0xc5) ++start;
    const u8* v = &insn.bytes[start];
    const bool three = v[0] == 0xc4;
    const u8 last = three ? v[2] : v[1];
    Extension old{!(v[1] & 0x80), three && !(v[1] & 0x40), three && !(v[1] & 0x20)};
    const u8 map = three ? v[1] & 0x1f : 1;
    u8 third = three ? last : last & 0x7f;
    if (insn.code != x86::CodeSize::bits64) {
        // No register beyond 7 there, and VEX.W widens no general register (Intel SDM 2A 2.3.5, 2.3.6).
        old = {};
        third |= 0x40;
        if (x86::vex_w_widens_integer(insn)) third &= 0x7f;
    }
    const Extension x = extension(n, old);
    if (n.vvvv >= 0) third = static_cast<u8>((third & ~0x78) | ((~n.vvvv & 15) << 3));
    e.db(0xc4);
    e.db((x.r ? 0 : 0x80) | (x.x ? 0 : 0x40) | (x.b ? 0 : 0x20) | map);
    e.db(third);
    e.db(insn.bytes[insn.prefix_bytes]);
    emit_tail(e, insn, n);
}

/// 16-bit code's operand size is 16 without a prefix. In front of vector instructions 66 is part of the
/// opcode, or nothing.
bool wants_operand_prefix(const x86::Insn& insn) {
    if (insn.operand_bits != 16) return false;
    for (u8 k = 0; k < insn.operand_count; ++k) {
        const x86::Operand& o = insn.op[k];
        if ((o.kind == x86::OperandKind::gpr || o.kind == x86::OperandKind::mem) && o.bits == 16) return true;
    }
    return false;
}

/// INC and DEC of one byte are REX prefixes in 64-bit code.
void encode_short_inc(Emitter& e, const x86::Insn& insn, const Renaming& n) {
    const int reg = n.opcode >= 0 ? n.opcode : insn.opcode & 7;
    if (insn.operand_bits == 16) e.db(0x66);
    if (reg & 8) e.db(0x41);
    e.db(0xff);
    e.db(static_cast<u8>(0xc0 | (insn.opcode & 8) | (reg & 7)));
}

void encode_legacy(Emitter& e, const x86::Insn& insn, const Renaming& n) {
    const bool own_size = insn.code == x86::CodeSize::bits16 && !insn.uses_vector_state;
    if (own_size && wants_operand_prefix(insn)) e.db(0x66);
    const unsigned legacy_end = insn.rex ? insn.prefix_bytes - 1u : insn.prefix_bytes;
    for (unsigned i = 0; i < legacy_end; ++i) {
        if (own_size && insn.bytes[i] == 0x66) continue;
        if (!dropped_prefix(insn.bytes[i]) && (insn.bytes[i] & 0xf0) != 0x40) e.db(insn.bytes[i]);
    }
    const Extension old{(insn.rex & 4) != 0, (insn.rex & 2) != 0, (insn.rex & 1) != 0};
    const Extension x = extension(n, old);
    const u8 rex = static_cast<u8>(0x40 | (insn.rex & 8) | (x.r ? 4 : 0) | (x.x ? 2 : 0) | (x.b ? 1 : 0));
    if (insn.rex || rex != 0x40) e.db(rex);
    const unsigned opcode_end = insn.has_modrm    ? insn.modrm_offset
                                : insn.imm_offset ? insn.imm_offset
                                                  : insn.length;
    for (unsigned i = insn.prefix_bytes; i < opcode_end; ++i) {
        u8 byte = insn.bytes[i];
        // An alias that 64-bit code does not have.
        if (insn.code != x86::CodeSize::bits64 && insn.opcode_map == 0 && byte == 0x82) byte = 0x80;
        if (i + 1 == opcode_end && n.opcode >= 0) byte = static_cast<u8>((byte & ~7) | (n.opcode & 7));
        e.db(byte);
    }
    emit_tail(e, insn, n);
}

}  // namespace

void encode(Emitter& e, const x86::Insn& insn, const Renaming& n) {
    if (insn.vex) {
        encode_vex(e, insn, n);
    } else if (insn.code != x86::CodeSize::bits64 && insn.opcode_map == 0 && (insn.opcode & 0xf0) == 0x40) {
        encode_short_inc(e, insn, n);
    } else {
        encode_legacy(e, insn, n);
    }
}

}  // namespace triune::hypervisor::soft::bt
