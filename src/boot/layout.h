// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

/// boot: what a guest finds in memory and registers at its start: memory map, ACPI tables, a
/// loaded kernel. Everything here runs before the first vCPU does, and again when the guest
/// resets. Images come from files that nobody has checked: their every field is hostile.
#include <span>
#include <vector>

#include "base/result.h"
#include "base/types.h"
#include "memory/guest_memory.h"

namespace triune::boot {

/// RAM ends here below 4 GB at the latest; the rest of it is above 4 GB.
inline constexpr u64 low_ram_limit = 0xc000'0000;
inline constexpr u64 high_ram_base = u64{1} << 32;

/// Where start-up structures lie in the first megabyte. The kernel may reuse it all once it runs.
inline constexpr Gpa gdt_gpa = 0x500;
inline constexpr Gpa pvh_info_gpa = 0x6000;  ///< hvm_start_info, modules, memory map: one page
inline constexpr Gpa boot_params_gpa = 0x7000;
inline constexpr Gpa page_tables_gpa = 0x9000;  ///< PML4, PDPT, 4 page directories
inline constexpr Gpa setup_data_gpa = 0xf000;
inline constexpr Gpa cmdline_gpa = 0x20000;
inline constexpr Gpa ebda_gpa = 0x9fc00;
/// ACPI tables, in the area that is searched for the RSDP (ACPI 6.4, 5.2.5.1).
inline constexpr Gpa acpi_gpa = 0xe0000;
inline constexpr u64 acpi_space = 0x20000;
inline constexpr Gpa bios_gpa = 0xff000;       ///< within: a page of code that stands for a BIOS
inline constexpr Gpa kernel_floor = 0x100000;  ///< images do not load below this

/// Gives `memory` its slots: from 0 up to low_ram_limit and, when there is more, from 4 GB.
Result<void> place_ram(memory::GuestMemory& memory);

/// An entry of the memory map as E820 and PVH number them (ACPI 6.4, 15).
struct MapEntry {
    enum class Type : u32 { ram = 1, reserved = 2 };
    Gpa base = 0;
    u64 size = 0;
    Type type = Type::ram;
    bool operator==(const MapEntry&) const = default;
};

/// The memory map of a PC with this RAM: the slots less the areas that belong to firmware. Sorted.
std::vector<MapEntry> make_memory_map(const memory::GuestMemory& memory);

/// End of the RAM that starts at kernel_floor, at most low_ram_limit; kernel_floor if none.
u64 low_ram_end(const memory::GuestMemory& memory);

}  // namespace triune::boot
