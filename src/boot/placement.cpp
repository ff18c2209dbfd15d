// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "boot/placement.h"

#include <algorithm>
#include <array>

#include "base/bits.h"

namespace triune::boot {

namespace {

bool overlap(const Placement::Range& r, Gpa base, u64 size) {
    return base < r.base + r.size && r.base < base + size;
}

}  // namespace

Placement::Placement(const memory::GuestMemory& memory) {
    for (const MapEntry& e : make_memory_map(memory))
        if (e.type == MapEntry::Type::ram && e.base < low_ram_limit) ram_.push_back({e.base, e.size});
}

bool Placement::is_ram(Gpa base, u64 size) const {
    return std::ranges::any_of(ram_, [&](const Range& r) {
        return base >= r.base && base - r.base < r.size && size <= r.size - (base - r.base);
    });
}

bool Placement::is_free(Gpa base, u64 size) const {
    return std::ranges::none_of(taken_, [&](const Range& r) { return overlap(r, base, size); });
}

std::optional<Gpa> Placement::place(u64 size, u64 alignment, Gpa floor, Gpa ceiling) {
    size = std::max<u64>(size, 1);
    // The lowest place begins at the floor, at the start of some RAM, or behind something taken.
    std::vector<Gpa> starts = {floor};
    for (const Range& r : ram_) starts.push_back(r.base);
    for (const Range& r : taken_) starts.push_back(r.base + r.size);
    std::optional<Gpa> best;
    for (const Gpa start : starts) {
        const Gpa at = base::align_up(start, alignment);
        if (at < floor || at >= ceiling || size > ceiling - at || (best && *best <= at)) continue;
        if (is_ram(at, size) && is_free(at, size)) best = at;
    }
    if (best) take(*best, size);
    return best;
}

std::span<const Placement::Range> entry_tables(bool long_mode) {
    static constexpr std::array<Placement::Range, 2> tables = {{
        {gdt_gpa, 5 * sizeof(u64)},
        {page_tables_gpa, 6 * page_size},
    }};
    return std::span(tables).first(long_mode ? 2 : 1);
}

}  // namespace triune::boot
