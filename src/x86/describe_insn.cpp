// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "x86/describe_insn.h"

#include <Zydis/Zydis.h>
#include <fmt/format.h>

#include "base/bits.h"

namespace triune::x86 {
namespace {

constexpr std::array segment_names{"es", "cs", "ss", "ds", "fs", "gs"};

std::string address(const Operand& o) {
    std::string s = fmt::format("{}{}:[", o.agen ? "agen " : "", segment_names[o.segment % 6]);
    if (o.base == base_rip)
        s += "rip";
    else if (o.base >= 0)
        s += fmt::format("r{}", o.base);
    if (o.index >= 0) s += fmt::format("+{}{}*{}", o.vsib ? "v" : "r", o.index, o.scale);
    if (o.disp || (o.base < 0 && o.index < 0))
        s += fmt::format("{}{:#x}", o.disp < 0 ? "-" : "+", o.disp < 0 ? -o.disp : o.disp);
    return s + "]";
}

std::string operand(const Operand& o) {
    switch (o.kind) {
        case OperandKind::none: return "none";
        case OperandKind::gpr: return fmt::format("r{}{}", o.reg, o.high8 ? "h" : "");
        case OperandKind::segment: return segment_names[o.reg % 6];
        case OperandKind::control: return fmt::format("cr{}", o.reg);
        case OperandKind::debug: return fmt::format("dr{}", o.reg);
        case OperandKind::mmx: return fmt::format("mm{}", o.reg);
        case OperandKind::x87: return fmt::format("st{}", o.reg);
        case OperandKind::vector: return fmt::format("v{}", o.reg);
        case OperandKind::imm: return fmt::format("{}{}", o.immediate_is_relative ? "rel " : "", o.disp);
        case OperandKind::mem: return address(o);
        case OperandKind::far_ptr: return fmt::format("{:#x}:{:#x}", o.far_selector, o.disp);
        case OperandKind::other: break;
    }
    return "other";
}

std::string flags(u32 f) {
    constexpr std::string_view names = "C.P.A.ZS..DO";
    std::string s;
    for (unsigned n = 0; n < names.size(); ++n)
        if (base::bit(f, n)) s += names[n];
    return s;
}

}  // namespace

std::string describe(const Insn& i) {
    std::string s = fmt::format("{} len={} o{} a{}", ZydisMnemonicGetString(i.mnemonic), i.length,
                                i.operand_bits, i.address_bits);
    const auto mark = [&s](bool on, const char* text) {
        if (on) s += text;
    };
    mark(i.lock, " lock");
    mark(i.rep, " rep");
    mark(i.repne, " repne");
    mark(i.vex, " vex");
    mark(i.uses_vector_state, " vector");
    mark(i.is_branch, " branch");
    mark(i.privileged, " cpl0");
    const char* separator = " | ";
    for (u8 n = 0; n < i.operand_count; ++n) {
        const Operand& o = i.op[n];
        if (o.kind == OperandKind::other) continue;
        s += fmt::format("{}{}{}{}{}{}:{}", separator, o.read ? "r" : "", o.written ? "w" : "",
                         o.conditional_write ? "?" : "", o.is_explicit ? "*" : " ", operand(o), o.bits);
        separator = ", ";
    }
    separator = " | ";
    const auto mask = [&](const char* name, u32 f) {
        if (!f) return;
        s += fmt::format("{}{}{}", separator, name, flags(f));
        separator = " ";
    };
    mask("R=", i.flags_read);
    mask("W=", i.flags_written);
    mask("~", i.flags_maybe_written);
    mask("!", i.flags_undefined);
    return s;
}

}  // namespace triune::x86
