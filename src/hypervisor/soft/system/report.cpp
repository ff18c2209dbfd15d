// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <iterator>

#include "hypervisor/soft/system/detail.h"

namespace triune::hypervisor::soft::system {
namespace {

constexpr std::array<std::string_view, 20> vector_names = {
    "#DE", "#DB", "NMI", "#BP", "#OF", "#BR",       "#UD", "#NM", "#DF", "vector 9",
    "#TS", "#NP", "#SS", "#GP", "#PF", "vector 15", "#MF", "#AC", "#MC", "#XM"};

std::string name_of(u8 vector) {
    return vector < vector_names.size() ? std::string(vector_names[vector])
                                        : fmt::format("vector {}", vector);
}

std::string_view mode_of(const VcpuState& st) {
    if (!st.protected_mode()) return "real mode";
    if (st.v8086()) return "virtual-8086 mode";
    if (st.code64()) return "64-bit mode";
    if (st.long_mode_active()) return "compatibility mode";
    return st.seg[Seg::cs].db() ? "32-bit protected mode" : "16-bit protected mode";
}

}  // namespace

std::string System::report() const {
    const auto& st = vcpu_.state;
    std::string out;
    auto to = std::back_inserter(out);
    fmt::format_to(to, "vCPU {}: {}, CPL {}{}{}\n", vcpu_.index, mode_of(st), st.cpl(),
                   st.halted ? ", halted" : "", st.interrupt_shadow ? ", interrupt shadow" : "");
    constexpr std::array<std::string_view, 16> names = {"RAX", "RCX", "RDX", "RBX", "RSP", "RBP",
                                                        "RSI", "RDI", "R8 ", "R9 ", "R10", "R11",
                                                        "R12", "R13", "R14", "R15"};
    for (unsigned i = 0; i < 16; ++i)
        fmt::format_to(to, "{}={:016x}{}", names[i], st.gpr[i], i % 4 == 3 ? '\n' : ' ');
    fmt::format_to(to, "RIP={:016x} RFLAGS={:08x}\n", st.rip, st.rflags);
    constexpr std::array<std::string_view, 6> segments = {"ES", "CS", "SS", "DS", "FS", "GS"};
    const auto segment = [&to](std::string_view name, const Segment& s) {
        fmt::format_to(to, "{:<4} {:04x} base {:016x} limit {:08x} attr {:05x}{}\n", name, s.selector, s.base,
                       s.limit, s.attr, s.unusable() ? " unusable" : "");
    };
    for (unsigned i = 0; i < 6; ++i) segment(segments[i], st.seg[i]);
    segment("LDTR", st.ldtr);
    segment("TR", st.tr);
    fmt::format_to(to, "GDTR base {:016x} limit {:04x}   IDTR base {:016x} limit {:04x}\n", st.gdtr.base,
                   st.gdtr.limit, st.idtr.base, st.idtr.limit);
    fmt::format_to(to, "CR0={:08x} CR2={:016x} CR3={:016x} CR4={:08x} EFER={:04x} XCR0={:x}\n", st.cr0,
                   st.cr2, st.cr3, st.cr4, st.efer, st.xcr0);
    fmt::format_to(to, "DR6={:08x} DR7={:08x} KERNEL_GS_BASE={:016x}\n", st.dr[6], st.dr[7],
                   st.kernel_gs_base);
    const unsigned kept =
        recent_count_ < recent_.size() ? recent_count_ : static_cast<unsigned>(recent_.size());
    if (kept) fmt::format_to(to, "last exceptions, oldest first:\n");
    for (unsigned i = recent_count_ - kept; i != recent_count_; ++i) {
        const Recent& r = recent_[i % recent_.size()];
        fmt::format_to(to, "  {:<4} error {:04x} at RIP {:016x}", name_of(r.vector), r.error, r.rip);
        if (r.vector == x86::vec::pf) fmt::format_to(to, ", address {:016x}", r.cr2);
        out += '\n';
    }
    return out;
}

}  // namespace triune::hypervisor::soft::system
