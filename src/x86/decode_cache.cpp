// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "x86/decode_cache.h"

#include <algorithm>
#include <cstring>

namespace triune::x86 {
namespace {

constexpr size_t max_length = 15;
constexpr unsigned max_head = 7;

/// One-byte opcodes with ModRM in 64-bit code (Intel SDM 2D table A-2). 62, C4 and C5 begin other encodings.
constexpr bool one_byte_has_modrm(u8 opcode) {
    if (opcode < 0x40) return (opcode & 7) < 4;
    switch (opcode) {
        case 0x63:
        case 0x69:
        case 0x6b:
        case 0xc0:
        case 0xc1:
        case 0xc6:
        case 0xc7:
        case 0xf6:
        case 0xf7:
        case 0xfe:
        case 0xff: return true;
        default: return (opcode & 0xf0) == 0x80 || (opcode & 0xfc) == 0xd0 || (opcode & 0xf8) == 0xd8;
    }
}

/// The same behind 0F (table A-3). Where this is wrong, learn() notices.
constexpr bool two_byte_has_modrm(u8 opcode) {
    if (opcode < 0x10) return opcode < 4 || opcode == 0x0d;
    if (opcode >= 0x30 && opcode < 0x38) return false;
    return (opcode & 0xf0) != 0x80 && opcode != 0x77 && (opcode & 0xf8) != 0xc8 && opcode != 0xa2 &&
           (opcode & 0xf6) != 0xa0 && opcode != 0xaa;
}

struct Head {
    unsigned bytes = 0;  ///< 0: not one to remember
    u64 kind = 0;        ///< the same without the numbers of registers
};

Head find_head(const u8* code, size_t bytes) {
    unsigned at = 0;
    u64 kind = 1;
    const auto more = [&] { return at < bytes && at < max_head; };
    const auto note = [&](unsigned b) { kind = kind << 8 | b; };
    for (; more(); ++at) {
        const u8 b = code[at];
        if (b != 0x66 && b != 0xf2 && b != 0xf3 && b != 0xf0 && b != 0x64 && b != 0x65 && b != 0x2e) break;
        note(b);
    }
    if (more() && (code[at] & 0xf0) == 0x40) note(code[at++] & 0x48);
    if (!more()) return {};
    u8 opcode = code[at++];
    note(opcode);
    bool modrm = false;
    if (opcode != 0x0f) {
        const bool prefix = opcode == 0x67 || opcode == 0x26 || opcode == 0x36 || opcode == 0x3e ||
                            opcode == 0x62 || opcode == 0xc4 || opcode == 0xc5 || (opcode & 0xf0) == 0x40;
        if (prefix) return {};
        modrm = one_byte_has_modrm(opcode);
    } else {
        if (!more()) return {};
        opcode = code[at++];
        if (opcode == 0x38 || opcode == 0x3a || opcode == 0x0f) return {};
        note(opcode);
        modrm = two_byte_has_modrm(opcode);
    }
    if (!modrm) return {at, kind};
    if (!more()) return {};
    const u8 m = code[at++];
    // ModRM.reg may be part of the opcode.
    note(m >= 0xc0 ? m & 0xf8 : m & 0x38);
    if (m < 0xc0 && (m & 7) == 4) {
        if (!more()) return {};
        ++at;
    }
    return {at, kind};
}

u64 head_key(const u8* code, unsigned length) {
    u64 key = 0;
    std::memcpy(&key, code, length);
    return key | u64{length} << 56;
}

i64 extended(const u8* at, unsigned bits, bool is_signed) {
    u64 v = 0;
    std::memcpy(&v, at, bits / 8);
    const unsigned unused = 64 - bits;
    return is_signed ? static_cast<i64>(v << unused) >> unused : static_cast<i64>(v);
}

}  // namespace

DecodeCache::Entry DecodeCache::make_entry(u64 head, const Insn& i) {
    Entry e;
    e.head = head;
    e.length = i.length;
    e.disp_offset = i.disp_offset, e.disp_bits = i.disp_bits;
    e.imm_offset = i.imm_offset, e.imm_bits = i.imm_bits;
    for (u8 n = 0; n < i.operand_count; ++n) {
        const Operand& o = i.op[n];
        if (!o.is_explicit) continue;
        if (o.kind == OperandKind::mem && i.disp_bits) e.memory = static_cast<i8>(n);
        if (o.kind == OperandKind::imm && i.imm_bits) e.imm = static_cast<i8>(n);
    }
    std::memcpy(e.insn.data(), &i, sizeof e.insn);
    return e;
}

/// out = the instruction at `code`, which has entry's head.
void DecodeCache::patch(const Entry& e, const u8* code, Insn& out) {
    static constexpr Insn blank{};
    // Volatile: no "rep movs" (decode.cpp).
    static const volatile size_t known = sizeof e.insn, rest = sizeof out - sizeof e.insn;
    std::memcpy(static_cast<void*>(&out), e.insn.data(), known);
    std::memcpy(&out.op[max_operands], &blank.op[max_operands], rest);
    std::copy_n(code, e.length, out.bytes.begin());
    if (e.memory >= 0)
        out.op[static_cast<u8>(e.memory)].disp = extended(code + e.disp_offset, e.disp_bits, true);
    if (e.imm >= 0)
        out.op[static_cast<u8>(e.imm)].disp = extended(code + e.imm_offset, e.imm_bits, e.imm_signed);
}

/// Whether patch() does what decode() does to instructions with the head at `code`.
void DecodeCache::learn(Kind& kind, Entry& e, unsigned head_bytes, const u8* code, const InsnSet& set) {
    std::array<u8, max_length> variant{};
    std::copy_n(code, head_bytes, variant.begin());
    // The first one's highest bit alone tells whether the immediate is extended with its sign.
    constexpr std::array<u8, 6> low{0x00, 0x00, 0x01, 0xff, 0x7f, 0x55}, high{0x80, 0, 0, 0xff, 0x7f, 0xaa};
    for (size_t v = 0; v < low.size(); ++v) {
        for (const auto& [offset, bits] :
             {std::pair{e.disp_offset, e.disp_bits}, {e.imm_offset, e.imm_bits}}) {
            if (!bits) continue;
            for (unsigned k = 0; k < bits / 8u; ++k) variant[offset + k] = low[v];
            u8& last = variant[offset + bits / 8u - 1];
            last = bits == 8 ? static_cast<u8>(low[v] | high[v]) : high[v];
        }
        Insn wanted, got;
        if (x86::decode(std::span(variant.data(), e.length), CodeSize::bits64, wanted, set) !=
            DecodeStatus::ok)
            return;
        if (v == 0 && e.imm >= 0) kind.imm_signed = e.imm_signed = wanted.op[static_cast<u8>(e.imm)].disp < 0;
        patch(e, variant.data(), got);
        if (std::memcmp(&wanted, &got, sizeof got) != 0) return;
    }
    kind.usable = true;
}

DecodeStatus DecodeCache::decode(std::span<const u8> code, Insn& out, const InsnSet& set) {
    const size_t bytes = std::min(code.size(), max_length);
    const Head head = find_head(code.data(), bytes);
    if (head.bytes == 0) return x86::decode(code, CodeSize::bits64, out, set);
    if (&set != set_) {
        for (Entry& e : entries_) e.head = 0;
        for (Kind& k : kinds_) k.key = 0;
        set_ = &set;
    }
    const u64 key = head_key(code.data(), head.bytes);
    constexpr u64 spread = 0x9e3779b97f4a7c15;
    Entry& entry = entries_[(key * spread) >> 32 & (heads - 1)];
    if (entry.head == key && entry.length <= bytes) {
        patch(entry, code.data(), out);
        return DecodeStatus::ok;
    }
    const DecodeStatus status = x86::decode(code, CodeSize::bits64, out, set);
    // Every byte must lie in the head or in one of the two values.
    if (status != DecodeStatus::ok || out.operand_count > max_operands ||
        out.length != head.bytes + (out.disp_bits + out.imm_bits) / 8u)
        return status;
    Kind& kind = kinds_[(head.kind * spread) >> 32 & (kinds - 1)];
    Entry learned = make_entry(key, out);
    if (kind.key != head.kind) {
        kind = {head.kind};
        learn(kind, learned, head.bytes, code.data(), set);
    }
    learned.imm_signed = kind.imm_signed;
    if (kind.usable) entry = learned;
    return status;
}

}  // namespace triune::x86
