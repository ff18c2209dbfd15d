// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "differential/cpu/program.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "differential/cpu/exclusions.h"

namespace triune::differential::cpu {

using x86::CodeSize;
using x86::Insn;
using x86::Operand;
using x86::OperandKind;

namespace {

constexpr std::array<u8, 4> mandatory = {0, 0x66, 0xf3, 0xf2};
constexpr size_t code_limit = slot_bytes - 40;

void put_escape(std::vector<u8>& b, u8 map) {
    if (map >= 1) b.push_back(0x0f);
    if (map == 2) b.push_back(0x38);
    if (map == 3) b.push_back(0x3a);
}

}  // namespace

std::string Program::text() const {
    std::string s;
    u64 at = start;
    for (const Insn& i : insns) {
        s += fmt::format("  {:#x}  ", at);
        for (u8 n = 0; n < i.length; ++n) s += fmt::format("{:02x}", code[at - start + n]);
        s += fmt::format("  {}\n",
                         x86::disassemble(std::span(code).subspan(at - start, i.length), size(), at));
        at += i.length;
    }
    return s + fmt::format("  {:#x}  0f0b  ud2\n", at);
}

size_t Program::index_of(u64 rip) const {
    u64 at = start;
    for (size_t n = 0; n < insns.size(); ++n) {
        if (rip == at) return n;
        at += insns[n].length;
    }
    return insns.size();
}

ProgramMaker::Forms ProgramMaker::find_forms(CodeSize size) const {
    std::vector<std::vector<Form>> all(ZYDIS_MNEMONIC_MAX_VALUE + 1);
    const bool wide = size == CodeSize::bits64;
    const auto consider = [&](const std::vector<u8>& head, const Form& f) {
        std::vector<u8> b = head;
        b.push_back(static_cast<u8>(f.register_rm ? 0xc0 | f.reg << 3 | (f.register_rm - 1)
                                                  : (f.vsib ? 0x04 : 0x03) | f.reg << 3));
        if (f.vsib) b.push_back(0x33);
        b.resize(15);
        Insn i;
        if (x86::decode(b, size, i, set_) != x86::DecodeStatus::ok || excluded(i)) return;
        if (f.vsib && !(i.memory() && i.memory()->vsib)) return;
        // VEX.vvvv matters: some must be 1111b.
        all[i.mnemonic].push_back(f);
    };
    for (unsigned map = 0; map < 4; ++map)
        for (unsigned opcode = 0; opcode < 256; ++opcode)
            for (u8 prefix = 0; prefix < 4; ++prefix)
                for (u8 reg = 0; reg < 8; ++reg)
                    for (u8 rm = 0; rm < 9; ++rm) {
                        if (rm > 1 && !(map == 0 && (opcode & 0xf8) == 0xd8) && !(map == 1 && opcode == 1))
                            continue;
                        for (u8 w = 0; w < (wide ? 2 : 1); ++w) {
                            std::vector<u8> head;
                            if (prefix) head.push_back(mandatory[prefix]);
                            if (w) head.push_back(0x48);
                            put_escape(head, static_cast<u8>(map));
                            head.push_back(static_cast<u8>(opcode));
                            consider(head, {static_cast<u8>(map), static_cast<u8>(opcode), prefix, 0, w, 0,
                                            reg, rm, false});
                        }
                        if (map == 0 || rm > 1) continue;
                        for (u8 wl = 0; wl < 4; ++wl)
                            for (u8 vvvv = 0; vvvv < 2; ++vvvv) {
                                const u8 w = wl & 1, l = wl >> 1;
                                const std::vector<u8> head = {
                                    0xc4, static_cast<u8>(0xe0 | map),
                                    static_cast<u8>(w << 7 | (vvvv ? 0x70 : 0x78) | l << 2 |
                                                    (prefix == 0   ? 0
                                                     : prefix == 1 ? 1
                                                     : prefix == 2 ? 2
                                                                   : 3)),
                                    static_cast<u8>(opcode)};
                                for (const bool vsib : {false, true})
                                    if (!vsib || rm == 0)
                                        consider(head, {static_cast<u8>(map), static_cast<u8>(opcode), prefix,
                                                        static_cast<u8>(1 + vvvv), w, l, reg, rm, vsib});
                            }
                    }
    Forms f;
    for (auto& list : all)
        if (!list.empty()) f.by_mnemonic.push_back(std::move(list));
    return f;
}

const ProgramMaker::Forms& ProgramMaker::forms(CodeSize size) {
    auto& f = forms_[static_cast<size_t>(size)];
    if (!f) f = find_forms(size);
    return *f;
}

std::optional<Insn> ProgramMaker::encode(const Form& f, CodeSize size) {
    const bool wide = size == CodeSize::bits64;
    std::vector<u8> b;
    if (one_in(24) && !f.vex) b.push_back(0xf0);
    if (one_in(24)) b.push_back(0x67);
    if (one_in(24)) b.push_back(std::array<u8, 5>{0x26, 0x2e, 0x36, 0x3e, 0x65}[number() % 5]);
    if (!f.vex) {
        if (f.prefix) b.push_back(mandatory[f.prefix]);
        if (wide && (f.w || one_in(2))) b.push_back(static_cast<u8>(0x40 | f.w << 3 | (number() & 7)));
        put_escape(b, f.map);
    } else {
        const u8 r = wide ? static_cast<u8>(number()) : 0xff;
        const u8 vvvv = f.vex == 1 ? 15 : static_cast<u8>(number() & (wide ? 15 : 7)) | (wide ? 0 : 8);
        const u8 last = static_cast<u8>(vvvv << 3 | f.l << 2 | f.prefix);
        if (f.map == 1 && !f.w && one_in(2)) {
            b.push_back(0xc5);
            b.push_back(static_cast<u8>((r & 0x80) | last));
        } else {
            b.push_back(0xc4);
            b.push_back(static_cast<u8>((r & 0xe0) | f.map));
            b.push_back(static_cast<u8>(f.w << 7 | last));
        }
    }
    b.push_back(f.opcode);
    if (f.register_rm) {
        const bool fixed_rm = (f.map == 0 && (f.opcode & 0xf8) == 0xd8) || (f.map == 1 && f.opcode == 1);
        const u64 rm = fixed_rm ? f.register_rm - 1u : number() & 7;
        b.push_back(static_cast<u8>(0xc0 | f.reg << 3 | rm));
    } else {
        const u64 rm = f.vsib ? 4 : number() & 7;
        b.push_back(static_cast<u8>((number() % 3) << 6 | f.reg << 3 | rm));
    }
    // The opcode may have no ModRM, or its reg field may name a register: vary that, too.
    if (one_in(2)) b.back() = static_cast<u8>((b.back() & 0xc7) | (number() & 0x38));
    while (b.size() < 15) b.push_back(static_cast<u8>(number()));
    b.resize(15);
    Insn i;
    if (x86::decode(b, size, i, set_) != x86::DecodeStatus::ok || excluded(i)) return std::nullopt;
    return i;
}

bool ProgramMaker::append(Program& p, const Insn& i) {
    if (i.flags_read & p.undefined_flags) return false;
    if (p.code.size() + i.length > code_limit) return false;
    p.undefined_before.push_back(p.undefined_flags);
    const u32 killed = i.flags_written & ~i.flags_maybe_written;
    p.undefined_flags = (p.undefined_flags & ~killed) | i.flags_undefined;
    p.insns.push_back(i);
    p.code.insert(p.code.end(), i.bytes.begin(), i.bytes.begin() + i.length);
    return true;
}

bool ProgramMaker::append_bytes(Program& p, std::initializer_list<u64> bytes) {
    std::vector<u8> b;
    for (const u64 v : bytes) b.push_back(static_cast<u8>(v));
    b.resize(15);
    Insn i;
    return x86::decode(b, p.size(), i, set_) == x86::DecodeStatus::ok && append(p, i);
}

bool ProgramMaker::move_immediate(Program& p, u8 reg, u64 v) {
    const auto byte = [v](unsigned n) { return (v >> (8 * n)) & 0xff; };
    const u64 op = 0xb8u | (reg & 7);
    if (p.compat || (v >> 32 == 0 && reg < 8))
        return append_bytes(p, {op, byte(0), byte(1), byte(2), byte(3)});
    if (v >> 32 == 0) return append_bytes(p, {0x41, op, byte(0), byte(1), byte(2), byte(3)});
    return append_bytes(
        p, {0x48u | reg >> 3, op, byte(0), byte(1), byte(2), byte(3), byte(4), byte(5), byte(6), byte(7)});
}

/// An address for an operand: mostly fine, sometimes unaligned, across pages, read-only or not there.
u64 ProgramMaker::target(unsigned bytes) {
    const u64 align = std::max(bytes, 1u);
    switch (number() % 16) {
        case 0:  // across two pages
            return data_at + 0x1000 * (1 + number() % 2) - 1 - number() % std::max(align, u64{2});
        case 1:  // into the read-only page, or just before it
            return data_at + data_writable - number() % (2 * align);
        case 2:  // off the end
            return data_at + data_size - number() % (2 * align);
        case 3: return data_at - number() % (2 * align);
        case 4:
            return one_in(4) ? (number() | u64{1} << 63) >> (number() % 2) : stack_at + number() % stack_size;
        case 5:
        case 6:
        case 7: return data_at + number() % (data_writable - 256);
        default: return data_at + (number() % (data_writable - 256) & ~u64{63});
    }
}

/// A gather's vector of indices becomes one of bytes: VPSRLD or VPSRLQ.
bool ProgramMaker::small_indices(Program& p, const Insn& i, const Operand& m) {
    const bool quad = i.mnemonic == ZYDIS_MNEMONIC_VGATHERQPS || i.mnemonic == ZYDIS_MNEMONIC_VGATHERQPD ||
                      i.mnemonic == ZYDIS_MNEMONIC_VPGATHERQD || i.mnemonic == ZYDIS_MNEMONIC_VPGATHERQQ;
    const u64 index = static_cast<u64>(m.index);
    return append_bytes(p, {0xc4, index >= 8 ? 0xc1u : 0xe1u, (~index & 15) << 3 | 5, quad ? 0x73u : 0x72u,
                            0xd0 | (index & 7), quad ? 56u : 24u});
}

/// Loads registers so that the memory operands of `i` lie where they are meant to.
bool ProgramMaker::aim(Program& p, Insn& i) {
    for (u8 n = 0; n < i.operand_count; ++n) {
        const Operand& m = i.op[n];
        if (m.kind != OperandKind::mem) continue;
        if (m.segment == x86::fs) return false;
        if (m.segment == x86::gs && p.compat) continue;  // null there: #GP
        unsigned bytes = m.bits / 8u;
        u64 to = target(bytes);
        if (p.compat || i.address_bits == 32) to &= 0xffffffff;
        if (m.segment == x86::gs && !m.agen) to -= gs_base;
        if (!m.is_explicit) {
            // String instructions, XLAT, MASKMOV: by their registers. The stack is where it is.
            if (m.base >= 0 && m.base != x86::rsp && m.base != x86::rbp && m.base != x86::base_rip)
                if (!move_immediate(p, static_cast<u8>(m.base), to)) return false;
            continue;
        }
        if (m.base == x86::base_rip || (m.base < 0 && i.disp_offset)) {
            if (i.disp_bits < 32) continue;
            u64 disp = to;
            if (m.base == x86::base_rip) disp = to - (p.start + p.code.size() + i.length);
            std::memcpy(&i.bytes[i.disp_offset], &disp, i.disp_bits / 8u);
            Insn again;
            if (x86::decode(i.bytes, p.size(), again, set_) != x86::DecodeStatus::ok) return false;
            i = again;
            return true;
        }
        u64 scaled = 0;
        if (m.vsib && !one_in(8) && !small_indices(p, i, m)) return false;
        if (m.index >= 0 && !m.vsib) {
            if (m.index == m.base) continue;
            const u64 index = number() % 256;
            if (!move_immediate(p, static_cast<u8>(m.index), index)) return false;
            scaled = index * m.scale;
        }
        if (m.base >= 0 &&
            !move_immediate(p, static_cast<u8>(m.base), to - static_cast<u64>(m.disp) - scaled))
            return false;
    }
    if ((i.rep || i.repne) && !one_in(8))
        return move_immediate(p, x86::rcx, number() % (one_in(4) ? 600 : 12));
    // A bit offset that stays near.
    const bool bits = i.mnemonic == ZYDIS_MNEMONIC_BT || i.mnemonic == ZYDIS_MNEMONIC_BTS ||
                      i.mnemonic == ZYDIS_MNEMONIC_BTR || i.mnemonic == ZYDIS_MNEMONIC_BTC;
    if (bits && i.memory() && i.op[1].kind == OperandKind::gpr && i.op[1].reg != i.op[0].base &&
        i.op[1].reg != i.op[0].index)
        return move_immediate(p, i.op[1].reg, one_in(8) ? value() : number() % 4096);
    const bool divides = i.mnemonic == ZYDIS_MNEMONIC_DIV || i.mnemonic == ZYDIS_MNEMONIC_IDIV;
    if (divides && !one_in(4)) return move_immediate(p, x86::rdx, number() % 3);
    return true;
}

bool ProgramMaker::add_random(Program& p) {
    const Forms& f = forms(p.size());
    const auto& list = f.by_mnemonic[number() % f.by_mnemonic.size()];
    auto i = encode(list[number() % list.size()], p.size());
    if (!i) return false;
    const Program before = p;
    const bool mxcsr = i->mnemonic == ZYDIS_MNEMONIC_LDMXCSR || i->mnemonic == ZYDIS_MNEMONIC_VLDMXCSR;
    const bool flags = i->mnemonic == ZYDIS_MNEMONIC_POPFQ || i->mnemonic == ZYDIS_MNEMONIC_POPFD;
    if (mxcsr ? add_load_mxcsr(p, i->vex) : flags ? add_load_flags(p) : aim(p, *i) && append(p, *i))
        return true;
    p = before;
    return false;
}

/// Of a value that registers() would give it.
bool ProgramMaker::add_load_mxcsr(Program& p, bool vex) {
    const u64 at = data_at + number() % (data_writable - 4), v = mxcsr();
    const u64 a[] = {at & 0xff, at >> 8 & 0xff, at >> 16 & 0xff, at >> 24};
    const u64 b[] = {v & 0xff, v >> 8 & 0xff, v >> 16 & 0xff, v >> 24};
    if (p.compat)
        return append_bytes(p, {0xc7, 0x05, a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3]}) &&
               (vex ? append_bytes(p, {0xc5, 0xf8, 0xae, 0x15, a[0], a[1], a[2], a[3]})
                    : append_bytes(p, {0x0f, 0xae, 0x15, a[0], a[1], a[2], a[3]}));
    return append_bytes(p, {0xc7, 0x04, 0x25, a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3]}) &&
           (vex ? append_bytes(p, {0xc5, 0xf8, 0xae, 0x14, 0x25, a[0], a[1], a[2], a[3]})
                : append_bytes(p, {0x0f, 0xae, 0x14, 0x25, a[0], a[1], a[2], a[3]}));
}

/// x87 state saved, the part of the image that is the host's own made 0, and perhaps restored from there.
/// FCS and FDS are: engines have them 0, as processors that deprecate them.
bool ProgramMaker::add_x87_image(Program& p) {
    const u64 at = data_at + (number() % (data_writable - 1024) & ~u64{15});
    const auto with_address = [&](std::initializer_list<u64> opcode, u64 modrm, u64 to,
                                  std::initializer_list<u64> tail) {
        std::vector<u64> b(opcode);
        b.push_back(modrm | (p.compat ? 5 : 4));
        if (!p.compat) b.push_back(0x25);
        for (unsigned n = 0; n < 4; ++n) b.push_back(to >> (8 * n) & 0xff);
        b.insert(b.end(), tail);
        b.resize(15);
        std::vector<u8> bytes(b.begin(), b.end());
        Insn i;
        return x86::decode(bytes, p.size(), i, set_) == x86::DecodeStatus::ok && append(p, i);
    };
    const auto clear = [&](u64 to) { return with_address({0xc7}, 0, to, {0, 0, 0, 0}); };
    const auto clear_word = [&](u64 to) { return with_address({0x66, 0xc7}, 0, to, {0, 0}); };
    const bool restore = one_in(2);
    switch (number() % 3) {
        case 0:  // FNSTENV, FLDENV
            return with_address({0xd9}, 6 << 3, at, {}) && clear_word(at + 16) && clear(at + 24) &&
                   (!restore || with_address({0xd9}, 4 << 3, at, {}));
        case 1:  // FNSAVE, FRSTOR
            return with_address({0xdd}, 6 << 3, at, {}) && clear_word(at + 16) && clear(at + 24) &&
                   (!restore || with_address({0xdd}, 4 << 3, at, {}));
        default:  // FXSAVE64, FXRSTOR64; MXCSR_MASK is the model's
            if (p.compat) return false;
            return with_address({0x48, 0x0f, 0xae}, 0, at, {}) && clear(at + 28) &&
                   (!restore || with_address({0x48, 0x0f, 0xae}, 1 << 3, at, {}));
    }
}

/// Status flags and DF; TF, AC and NT stay clear. In half of the cases IF and IOPL are asked for in vain.
bool ProgramMaker::add_load_flags(Program& p) {
    const u64 v = number() & (x86::flag::arithmetic | x86::flag::df | (one_in(2) ? 0x3200u : 0));
    return append_bytes(p, {0x68, v & 0xff, v >> 8, 0, 0}) && append_bytes(p, {0x9d});
}

/// Underflow stays masked: whether it comes with "inexact" when it is not is not modelled.
u32 ProgramMaker::mxcsr() {
    return static_cast<u32>((one_in(16) ? (number() & 0x1780) | 0x800 : 0x1f80) | (number() & 0xe07f));
}

u64 ProgramMaker::value() {
    switch (number() % 10) {
        case 0: return 0;
        case 1: return ~u64{0};
        case 2: return u64{1} << (number() % 64);
        case 3: return (u64{1} << (number() % 64)) - 1;
        case 4: return static_cast<u64>(static_cast<i64>(static_cast<i8>(number())));
        case 5: {  // two floats
            const float f[2] = {static_cast<float>(static_cast<i32>(number())) / 1024.0f,
                                static_cast<float>(static_cast<i16>(number()))};
            u64 v;
            std::memcpy(&v, f, 8);
            return v;
        }
        case 6: {
            const double d = static_cast<double>(static_cast<i64>(number())) / 65536.0;
            u64 v;
            std::memcpy(&v, &d, 8);
            return v;
        }
        case 7: {  // infinities, NaNs, denormals, the largest
            constexpr u64 odd[] = {0x7ff0000000000000, 0xfff0000000000000, 0x7ff8000000000000,
                                   0x7ff0000000000001, 0x0000000000000001, 0x800fffffffffffff,
                                   0x7fefffffffffffff, 0x7f8000007fc00000, 0xff80000000000001,
                                   0x7f7fffff00800000, 0x7f80000180000000, 0x0010000000000000};
            return odd[number() % std::size(odd)];
        }
        case 8: return data_at + number() % data_writable;
        default: return number();
    }
}

void ProgramMaker::fill(std::span<u8> data) {
    for (size_t n = 0; n + 8 <= data.size(); n += 8) {
        const u64 v = value();
        std::memcpy(&data[n], &v, 8);
    }
}

Registers ProgramMaker::registers() {
    Registers r;
    for (u64& g : r.gpr) g = value();
    r.gpr[x86::rsp] = stack_at + (one_in(16) ? number() % stack_size : 0x1000 + number() % 0x800 / 8 * 8);
    r.flags = number() & (x86::flag::arithmetic | (one_in(4) ? x86::flag::df : 0));
    fill({r.xsave.data() + 160, 256});
    fill({r.xsave.data() + 576, 256});
    const u16 fcw = static_cast<u16>(0x340 | (one_in(16) ? number() & 0x3f : 0x3f) | (number() & 0xc00) |
                                     (one_in(8) ? 0 : 0x300));
    const u16 fsw = static_cast<u16>((number() & 0x3800) | (number() & 0x4700));
    const u8 tags = static_cast<u8>(one_in(4) ? 0xff : one_in(2) ? 0 : number());
    std::memcpy(&r.xsave[0], &fcw, 2);
    std::memcpy(&r.xsave[2], &fsw, 2);
    r.xsave[4] = tags;
    for (unsigned n = 0; n < 8; ++n) {
        const u64 mantissa = value() | (one_in(8) ? 0 : u64{1} << 63);
        const u16 exponent = static_cast<u16>(one_in(4) ? number() : 0x3fff + number() % 64 - 32);
        std::memcpy(&r.xsave[32 + n * 16], &mantissa, 8);
        std::memcpy(&r.xsave[40 + n * 16], &exponent, 2);
    }
    const u32 control = mxcsr(), mask = 0xffff;
    std::memcpy(&r.xsave[24], &control, 4);
    std::memcpy(&r.xsave[28], &mask, 4);
    const u64 components = 7;
    std::memcpy(&r.xsave[512], &components, 8);
    return r;
}

Program ProgramMaker::make_program(u16 code32, u64 start) {
    const bool compat = code32 != 0;
    Program p;
    p.compat = compat;
    p.cs = compat ? code32 : cs64;
    p.start = start;
    p.in = registers();
    if (compat) {
        for (size_t n = 0; n < 8; ++n) p.in.gpr[n] &= 0xffffffff;
        for (size_t n = 8; n < 16; ++n) p.in.gpr[n] = 0;
        std::memset(&p.in.xsave[160 + 128], 0, 128);
        std::memset(&p.in.xsave[576 + 128], 0, 128);
    }
    const size_t wanted = 1 + number() % 10;
    for (unsigned tries = 0; tries < 200 && p.insns.size() < wanted * 2 && p.code.size() < code_limit - 20;
         ++tries) {
        if (one_in(8))
            add_branch(p);
        else if (one_in(32)) {
            Program rest = p;
            if (add_x87_image(rest)) p = rest;
        } else
            add_random(p);
        if (p.insns.size() >= wanted) break;
    }
    p.code.push_back(0x0f);
    p.code.push_back(0x0b);
    return p;
}

Batch ProgramMaker::make_batch(u16 code32) {
    Batch b;
    fill(b.memory);
    for (size_t n = 0; n < batch; ++n)
        b.programs.push_back(make_program(code32, code_address + n * slot_bytes + number() % 16));
    return b;
}

}  // namespace triune::differential::cpu
