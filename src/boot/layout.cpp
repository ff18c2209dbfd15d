// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "boot/layout.h"

#include <algorithm>

namespace triune::boot {

namespace {

constexpr Gpa vga_gpa = 0xa0000;
constexpr Gpa rom_gpa = 0xc0000;

struct Hole {
    Gpa base, end;
    bool reserved;  ///< told as reserved; else not told at all
};

// What firmware keeps of the first megabyte: the EBDA, the display window (no memory there as far
// as the map is concerned), option ROMs (none), the BIOS area with the ACPI tables.
constexpr Hole holes[] = {
    {ebda_gpa, vga_gpa, true},
    {vga_gpa, rom_gpa, false},
    {rom_gpa, acpi_gpa, false},
    {acpi_gpa, acpi_gpa + acpi_space, true},
};

}  // namespace

Result<void> place_ram(memory::GuestMemory& memory) {
    const u64 low = std::min(memory.bytes(), low_ram_limit);
    if (auto r = memory.add_slot(0, low, 0); !r) return r;
    if (memory.bytes() > low) return memory.add_slot(high_ram_base, memory.bytes() - low, low);
    return {};
}

std::vector<MapEntry> make_memory_map(const memory::GuestMemory& memory) {
    std::vector<MapEntry> map;
    for (const memory::Slot& slot : memory.slots()) {
        if (slot.readonly) continue;
        Gpa at = slot.gpa;
        const Gpa end = slot.gpa + slot.size;
        for (const Hole& h : holes) {
            if (h.end <= at || h.base >= end) continue;
            if (h.base > at) map.push_back({at, h.base - at, MapEntry::Type::ram});
            at = std::min(h.end, end);
        }
        if (at < end) map.push_back({at, end - at, MapEntry::Type::ram});
    }
    for (const Hole& h : holes)
        if (h.reserved) map.push_back({h.base, h.end - h.base, MapEntry::Type::reserved});
    std::ranges::sort(map, {}, &MapEntry::base);
    return map;
}

u64 low_ram_end(const memory::GuestMemory& memory) {
    for (const memory::Slot& slot : memory.slots())
        if (!slot.readonly && slot.gpa <= kernel_floor && slot.gpa + slot.size > kernel_floor)
            return std::min(slot.gpa + slot.size, low_ram_limit);
    return kernel_floor;
}

}  // namespace triune::boot
