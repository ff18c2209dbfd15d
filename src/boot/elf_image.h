// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/types.h"

namespace triune::boot {

/// The loadable parts of an ELF kernel, and where it can be entered.
struct ElfImage {
    struct Segment {
        std::span<const u8> bytes;  ///< from the file
        Gpa gpa = 0;
        u64 size = 0;  ///< in memory, at least bytes.size(); the rest is zero
    };
    /// The section headers as they stand in the file.
    struct Sections {
        std::span<const u8> table;
        u32 count = 0, entry_size = 0, names = 0;  ///< names: index of the section that holds the names
        bool elf64 = false;
    };
    std::vector<Segment> segments;  ///< at least one; ends do not overflow
    /// 32-bit entry (Xen: include/public/elfnote.h, PHYS32_ENTRY), in a segment.
    std::optional<Gpa> pvh_entry;
    /// The header's entry point as a physical address in a segment. A virtual one is turned into the
    /// physical address at which its segment loads.
    std::optional<Gpa> entry;
    u64 end = 0;  ///< highest address of any segment
    std::optional<Sections> sections;
};

bool looks_like_elf(std::span<const u8> file);
/// 32- and 64-bit little-endian x86 executables. `name` starts the message of an error. The result
/// points into `file`.
Result<ElfImage> parse_elf(std::span<const u8> file, const std::string& name);

}  // namespace triune::boot
