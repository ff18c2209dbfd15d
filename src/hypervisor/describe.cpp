// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/describe.h"

#include <fmt/format.h>

#include <iterator>
#include <optional>
#include <vector>

#include "base/bits.h"
#include "hypervisor/page_walk.h"
#include "x86/insn.h"

namespace triune::hypervisor {
namespace {

using x86::VcpuState;

std::string_view mode_of(const VcpuState& s) {
    if (!s.protected_mode()) return "real mode";
    if (s.v8086()) return "virtual-8086 mode";
    if (s.code64()) return "64-bit mode";
    if (s.long_mode_active()) return "compatibility mode";
    return s.seg[x86::cs].db() ? "32-bit protected mode" : "16-bit protected mode";
}

x86::CodeSize code_size(const VcpuState& s) {
    if (s.code64()) return x86::CodeSize::bits64;
    return s.seg[x86::cs].db() ? x86::CodeSize::bits32 : x86::CodeSize::bits16;
}

/// Rights and state of a present entry, in words.
std::string entry_flags(u64 value, bool leaf, bool wide) {
    constexpr std::pair<u64, std::string_view> names[] = {
        {2, " writable"}, {4, " user"}, {0x20, " accessed"}};
    std::string out;
    for (const auto& [bit, name] : names)
        if (value & bit) out += name;
    if (leaf && (value & 0x40)) out += " dirty";
    if (leaf && (value & 0x100)) out += " global";
    if (wide && (value >> 63)) out += " no-execute";
    return out;
}

std::optional<u8> byte_at(const VcpuState& s, const memory::GuestMemory& memory, Gva gva) {
    const auto gpa = translate(s, memory, gva);
    u8 byte = 0;
    if (!gpa || !memory.read(*gpa, &byte, 1)) return {};
    return byte;
}

}  // namespace

Gva code_address(const VcpuState& s) {
    return s.code64() ? s.rip : (s.seg[x86::cs].base + s.rip) & base::low_mask(32);
}

std::string describe_registers(const VcpuState& s) {
    std::string out;
    const auto to = std::back_inserter(out);
    fmt::format_to(to, "{}, CPL {}{}{}{}\n", mode_of(s), s.cpl(), s.halted ? ", halted" : "",
                   s.waiting_for_sipi ? ", waits for a start-up message" : "",
                   s.interrupt_shadow ? ", interrupt shadow" : "");
    constexpr std::array<std::string_view, 16> names = {"RAX", "RCX", "RDX", "RBX", "RSP", "RBP",
                                                        "RSI", "RDI", "R8 ", "R9 ", "R10", "R11",
                                                        "R12", "R13", "R14", "R15"};
    for (unsigned i = 0; i < 16; ++i)
        fmt::format_to(to, "{}={:016x}{}", names[i], s.gpr[i], i % 4 == 3 ? '\n' : ' ');
    fmt::format_to(to, "RIP={:016x} RFLAGS={:08x}\n", s.rip, s.rflags);
    const auto segment = [&to](std::string_view name, const x86::Segment& g) {
        fmt::format_to(to, "{:<4} {:04x} base {:016x} limit {:08x} attr {:05x}{}\n", name, g.selector, g.base,
                       g.limit, g.attr, g.unusable() ? " unusable" : "");
    };
    constexpr std::array<std::string_view, 6> segments = {"ES", "CS", "SS", "DS", "FS", "GS"};
    for (unsigned i = 0; i < 6; ++i) segment(segments[i], s.seg[i]);
    segment("LDTR", s.ldtr);
    segment("TR", s.tr);
    fmt::format_to(to, "GDTR base {:016x} limit {:04x}   IDTR base {:016x} limit {:04x}\n", s.gdtr.base,
                   s.gdtr.limit, s.idtr.base, s.idtr.limit);
    fmt::format_to(to, "CR0={:08x} CR2={:016x} CR3={:016x} CR4={:08x} EFER={:04x} XCR0={:x}\n", s.cr0, s.cr2,
                   s.cr3, s.cr4, s.efer, s.xcr0);
    fmt::format_to(to, "DR0={:016x} DR1={:016x} DR2={:016x} DR3={:016x} DR6={:08x} DR7={:08x}\n", s.dr[0],
                   s.dr[1], s.dr[2], s.dr[3], s.dr[6], s.dr[7]);
    fmt::format_to(to, "KERNEL_GS_BASE={:016x}\n", s.kernel_gs_base);
    return out;
}

std::string describe_code(const VcpuState& s, const memory::GuestMemory& memory) {
    constexpr unsigned before = 16, after = 32;
    const Gva at = code_address(s);
    std::vector<u8> insn;
    std::string bytes;
    for (unsigned i = 0; i < before + after; ++i) {
        const auto byte = byte_at(s, memory, at - before + i);
        if (i >= before && byte && insn.size() == i - before) insn.push_back(*byte);
        const std::string text = byte ? fmt::format("{:02x}", *byte) : "--";
        bytes += i == before ? fmt::format(" <{}>", text) : " " + text;
    }
    const std::string text =
        insn.empty() ? "its memory cannot be read" : x86::disassemble(insn, code_size(s), s.rip);
    std::string out = s.code64() ? fmt::format("instruction at {:016x}: {}\n", s.rip, text)
                                 : fmt::format("instruction at {:04x}:{:08x} (linear {:08x}): {}\n",
                                               s.seg[x86::cs].selector, s.rip, at, text);
    out += fmt::format("bytes:{}\n", bytes);
    return out;
}

std::string describe_walk(const VcpuState& s, const memory::GuestMemory& memory, Gva gva) {
    const PageWalk w = walk_pages(s, memory, gva);
    std::string out = fmt::format("page walk of {:016x} ({}", gva, w.format);
    out += w.paging ? fmt::format(", CR3 {:016x}):\n", s.cr3) : "):\n";
    const bool wide = w.format != std::string_view("32-bit paging");
    for (unsigned i = 0; i < w.count; ++i) {
        const PageWalk::Level& l = w.levels[i];
        out += fmt::format("  {:<5} at {:016x}: ", l.name, l.at);
        if (!l.ram)
            out += "no memory there\n";
        else if (!(l.value & 1))
            out += fmt::format("{:0{}x} not present\n", l.value, wide ? 16 : 8);
        else
            out += fmt::format("{:0{}x} present{}\n", l.value, wide ? 16 : 8,
                               entry_flags(l.value, l.leaf, wide));
    }
    if (!w.canonical)
        out += "  the address is not canonical\n";
    else if (!w.gpa)
        out += "  the address is not mapped\n";
    else
        out += fmt::format("  -> guest-physical {:016x}{}\n", *w.gpa,
                           w.page_bytes == 4096       ? ""
                           : w.page_bytes < (1 << 30) ? fmt::format(", a page of {} MB", w.page_bytes >> 20)
                                                      : ", a page of 1 GB");
    return out;
}

}  // namespace triune::hypervisor
