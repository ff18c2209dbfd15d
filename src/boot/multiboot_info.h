// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "boot/layout.h"

namespace triune::boot {

/// What a multiboot kernel is told about its machine.
struct MultibootFacts {
    struct Module {
        Gpa start = 0;
        u64 size = 0;
        std::string text;
    };
    /// ELF section headers whose addresses point at what was loaded.
    struct Sections {
        std::vector<u8> table;
        u32 count = 0, entry_size = 0, names = 0;
        Gpa gpa = 0;  ///< where the table stands (version 1 points at it)
    };
    std::string command_line;
    std::vector<Module> modules;
    std::vector<MapEntry> map;
    u32 lower_kb = 0, upper_kb = 0;
    std::optional<Sections> sections;
    std::vector<u8> rsdp;          ///< the ACPI RSDP with its extension; empty for none
    std::optional<u32> load_base;  ///< of a relocatable kernel
};

/// The structure of version 1 with all that it points at, as it stands at `gpa` (a multiple of 8).
std::vector<u8> make_multiboot1_info(const MultibootFacts& facts, Gpa gpa);
/// The structure of version 2; it holds no addresses of itself.
std::vector<u8> make_multiboot2_info(const MultibootFacts& facts);

}  // namespace triune::boot
