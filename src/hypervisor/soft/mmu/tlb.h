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
    u64 gpa_and_flags;  ///< page's gpa | bit 0: global | bit 1: part of a large page
};

struct Tlb {
    static constexpr unsigned entries = 256;
    std::array<std::array<TlbEntry, entries>, tlb_modes> set;
    /// Range that covers all large-page mappings with entries: INVLPG inside it flushes the set.
    u64 large_low = ~u64{0}, large_high = 0;

    static unsigned index(Gva gva) { return (gva >> 12) & (entries - 1); }
    static u64 invalid_tag(unsigned index) { return static_cast<u64>(index ^ 1) << 12; }
    void clear();
};

}  // namespace triune::hypervisor::soft::mmu
