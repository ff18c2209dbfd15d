// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/page_walk.h"

#include "base/bits.h"

namespace triune::hypervisor {
namespace {

using base::field;
using base::low_mask;

constexpr u64 present = 1, page_size_bit = 0x80;
/// Bits 51:12: what an 8-byte entry may hold of an address.
constexpr u64 address_bits = low_mask(52) & ~u64{0xfff};

struct Format {
    const char* name;
    unsigned levels, index_bits, entry_bytes;
    std::array<const char*, 5> entries;  ///< by level, 1 first
};
constexpr Format two_levels{"32-bit paging", 2, 10, 4, {"PTE", "PDE"}};
constexpr Format pae{"PAE paging", 3, 9, 8, {"PTE", "PDE", "PDPTE"}};
constexpr Format four_levels{"4-level paging", 4, 9, 8, {"PTE", "PDE", "PDPTE", "PML4E"}};
constexpr Format five_levels{"5-level paging", 5, 9, 8, {"PTE", "PDE", "PDPTE", "PML4E", "PML5E"}};

const Format& format_of(const x86::VcpuState& s) {
    if (s.long_mode_active()) return s.cr4 & x86::cr4::la57 ? five_levels : four_levels;
    return s.cr4 & x86::cr4::pae ? pae : two_levels;
}

bool is_large(const x86::VcpuState& s, const Format& f, unsigned level, u64 value) {
    if (!(value & page_size_bit) || level == 1) return false;
    if (f.levels == 2) return s.cr4 & x86::cr4::pse;
    return level == 2 || (level == 3 && f.levels > 3);
}

Gpa frame_of(const Format& f, unsigned level, u64 value, u64 bytes) {
    if (f.entry_bytes == 8) return value & address_bits & ~(bytes - 1);
    const Gpa low = value & 0xfffff000 & ~(bytes - 1);
    return level == 2 ? low | field(value, 13, 8) << 32 : low;  // PSE-36
}

}  // namespace

PageWalk walk_pages(const x86::VcpuState& s, const memory::GuestMemory& memory, Gva gva) {
    PageWalk w;
    if (!s.long_mode_active()) gva &= low_mask(32);
    w.paging = s.cr0 & x86::cr0::pg;
    if (!w.paging) {
        w.format = "no paging";
        w.gpa = gva;
        return w;
    }
    const Format& f = format_of(s);
    w.format = f.name;
    if (f.levels > 3) {
        const unsigned unused = 64 - (12 + 9 * f.levels);
        w.canonical = static_cast<u64>(static_cast<i64>(gva << unused) >> unused) == gva;
        if (!w.canonical) return w;
    }
    Gpa table = f.levels == 2   ? s.cr3 & 0xfffff000
                : f.levels == 3 ? s.cr3 & 0xffffffe0
                                : s.cr3 & address_bits;
    for (unsigned level = f.levels; level >= 1; --level) {
        const unsigned shift = 12 + (level - 1) * f.index_bits;
        const bool pdpte_of_pae = f.levels == 3 && level == 3;
        PageWalk::Level& l = w.levels[w.count++];
        l.name = f.entries[level - 1];
        l.at = table + field(gva, shift, pdpte_of_pae ? 2 : f.index_bits) * f.entry_bytes;
        l.ram = memory.read(l.at, &l.value, f.entry_bytes);
        if (!l.ram || !(l.value & present)) return w;
        if (level == 1 || is_large(s, f, level, l.value)) {
            l.leaf = true;
            w.page_bytes = u64{1} << shift;
            w.gpa = frame_of(f, level, l.value, w.page_bytes) | (gva & (w.page_bytes - 1));
            return w;
        }
        table = f.entry_bytes == 4 ? l.value & 0xfffff000 : l.value & address_bits;
    }
    return w;
}

std::optional<Gpa> translate(const x86::VcpuState& s, const memory::GuestMemory& memory, Gva gva) {
    return walk_pages(s, memory, gva).gpa;
}

}  // namespace triune::hypervisor
