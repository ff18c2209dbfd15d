// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "boot/entry_state.h"

#include <array>

#include "boot/layout.h"

namespace triune::boot {

namespace {

// Selectors that Linux asks for: __BOOT_CS 0x10, __BOOT_DS 0x18. The TSS is what VT-x wants to
// see in TR and PVH prescribes.
constexpr u16 code_selector = 0x10, data_selector = 0x18, tss_selector = 0x20;
// Access rights (Intel SDM 3C 25.4.1): accessed code or data, present, 4 KB granularity.
constexpr u32 code64_attr = 0xa09b, code32_attr = 0xc09b, data_attr = 0xc093, tss_attr = 0x8b;
constexpr u32 flat_limit = 0xffff'ffff, tss_limit = 0x67;

/// The descriptor of a segment (Intel SDM 3A 3.4.5).
u64 descriptor(u32 attr, u32 limit) {
    const u64 units = attr & 0x8000 ? limit >> 12 : limit;
    return (units & 0xffff) | u64{attr & 0xff} << 40 | (units >> 16 & 15) << 48 | u64{attr >> 12 & 15} << 52;
}

x86::Segment segment(u16 selector, u32 attr, u32 limit) {
    return {.selector = selector, .attr = attr, .base = 0, .limit = limit};
}

bool flat_segments(memory::GuestMemory& memory, x86::VcpuState& s, u32 code_attr) {
    const std::array<u64, 5> gdt = {0, 0, descriptor(code_attr, flat_limit),
                                    descriptor(data_attr, flat_limit), descriptor(tss_attr, tss_limit)};
    s.seg.fill(segment(data_selector, data_attr, flat_limit));
    s.seg[x86::cs] = segment(code_selector, code_attr, flat_limit);
    s.tr = segment(tss_selector, tss_attr, tss_limit);
    s.gdtr = {.base = gdt_gpa, .limit = sizeof gdt - 1};
    s.idtr = {.base = 0, .limit = 0};
    s.rflags = x86::flag::fixed;
    s.gpr = {};
    return memory.write_value(gdt_gpa, gdt);
}

bool identity_map(memory::GuestMemory& memory) {
    constexpr u64 present_writable = 3, large = 1 << 7;
    using Table = std::array<u64, 512>;
    Table pml4{}, pdpt{}, pd{};
    pml4[0] = (page_tables_gpa + page_size) | present_writable;
    for (u64 i = 0; i < 4; ++i) {
        const Gpa pd_gpa = page_tables_gpa + (2 + i) * page_size;
        pdpt[i] = pd_gpa | present_writable;
        for (u64 j = 0; j < pd.size(); ++j) pd[j] = i << 30 | j << 21 | large | present_writable;
        if (!memory.write_value(pd_gpa, pd)) return false;
    }
    return memory.write_value(page_tables_gpa, pml4) && memory.write_value(page_tables_gpa + page_size, pdpt);
}

}  // namespace

std::optional<x86::VcpuState> enter_long_mode(memory::GuestMemory& memory, Gpa rip) {
    x86::VcpuState s;
    x86::reset_state(s, false);
    if (!flat_segments(memory, s, code64_attr) || !identity_map(memory)) return std::nullopt;
    s.cr0 = x86::cr0::pe | x86::cr0::et | x86::cr0::pg;
    s.cr3 = page_tables_gpa;
    s.cr4 = x86::cr4::pae;
    s.efer = x86::efer::lme | x86::efer::lma;
    s.rip = rip;
    return s;
}

std::optional<x86::VcpuState> enter_protected_mode(memory::GuestMemory& memory, Gpa eip) {
    x86::VcpuState s;
    x86::reset_state(s, false);
    if (!flat_segments(memory, s, code32_attr)) return std::nullopt;
    s.cr0 = x86::cr0::pe | x86::cr0::et;
    s.cr4 = 0;
    s.rip = eip;
    return s;
}

}  // namespace triune::boot
