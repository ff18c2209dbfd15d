// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>

#include "base/types.h"

namespace triune::hypervisor::soft::mmu {

/// Which set of entries an access uses: rights differ, so entries must not mix. `supervisor_ac`
/// is CPL 0-2 with RFLAGS.AC set or CR4.SMAP clear: user pages are accessible.
enum class TlbMode : u8 { user, supervisor, supervisor_ac };
inline constexpr unsigned tlb_modes = 3;

/// One entry. A probe computes `gva ^ tag` and hits when that is below 4096 (less size - 1): the
/// tag is the virtual page address; an entry that must not hit holds a tag whose index bits are
/// those of another slot. `host` is the host address of the page.
struct alignas(32) TlbEntry {
    u64 read_tag, write_tag;
    u64 host;
    u64 gpa;  ///< the page's guest-physical address
};

/// A copy of the entry, with write permission, of the page that the guest's stack was last seen in. It may
/// outlive that entry, whose slot another page takes, but not its right to be there.
struct alignas(16) StackEntry {
    /// Not canonical: what it would make hit faults anyway, at a host address below 4096.
    static constexpr u64 no_tag = u64{1} << 63;
    u64 tag = no_tag;
    u64 host = 0;
};

struct Tlb {
    static constexpr unsigned entries = 4096;
    std::array<std::array<TlbEntry, entries>, tlb_modes> set;
    std::array<StackEntry, tlb_modes> stack;
    /// Bit i of a set: entry i may be valid and is not global. Bounds the work of a CR3 load.
    std::array<std::array<u64, entries / 64>, tlb_modes> not_global;
    /// Bit i of a set: entry i may come from a large page, and so goes with any address in that page.
    std::array<std::array<u64, entries / 64>, tlb_modes> large;
    /// Which gigabytes such entries lie in, hashed: INVLPG elsewhere need not look for them.
    std::array<u64, 4> large_regions;
    /// Bit i of a set: entry i may have rights that depend on PKRU, under a protection key other than 0.
    std::array<std::array<u64, entries / 64>, tlb_modes> keyed;
    /// Bit k: some entry may have rights that depend on protection key k.
    u16 keys;

    static constexpr unsigned index(Gva gva) { return (gva >> 12) & (entries - 1); }
    static constexpr unsigned region_index(Gva gva) {
        const u64 region = gva >> 30;
        return static_cast<unsigned>((region ^ region >> 8) & 255);
    }
    static constexpr u64 invalid_tag(unsigned index) { return static_cast<u64>(index ^ 1) << 12; }

    void clear();
    /// What depends on protection keys other than 0.
    void clear_keyed();
    void drop_stack() { stack.fill({}); }
    /// That of the page of `gva`.
    void drop_stack(Gva gva) {
        for (StackEntry& s : stack)
            if (((s.tag ^ gva) & ~page_mask) == 0) s = {};
    }
    void clear_not_global();
    /// Drops all entries from large pages within a gigabyte around `gva`.
    void clear_large(Gva gva);
    [[nodiscard]] bool may_be_large(Gva gva) const {
        return large_regions[region_index(gva) / 64] >> (region_index(gva) % 64) & 1;
    }
    /// Entry `i` of `mode` was filled for `gva`, from a page of one of the two kinds.
    void note_page_size(TlbMode mode, unsigned i, Gva gva, bool is_large) {
        u64& word = large[static_cast<unsigned>(mode)][i / 64];
        const u64 mask = u64{1} << (i % 64);
        word = is_large ? word | mask : word & ~mask;
        if (is_large) large_regions[region_index(gva) / 64] |= u64{1} << (region_index(gva) % 64);
    }
    /// Entry `i` of `mode` was filled from a page that PKRU guards with `key`; none guards: -1.
    void note_key(TlbMode mode, unsigned i, int key) {
        u64& word = keyed[static_cast<unsigned>(mode)][i / 64];
        const u64 mask = u64{1} << (i % 64);
        word = key > 0 ? word | mask : word & ~mask;
        if (key >= 0) keys = static_cast<u16>(keys | 1u << key);
    }
    void invalidate(TlbMode mode, unsigned i) {
        TlbEntry& e = set[static_cast<unsigned>(mode)][i];
        drop_stack(e.read_tag);
        e.read_tag = e.write_tag = invalid_tag(i);
    }
};

}  // namespace triune::hypervisor::soft::mmu
