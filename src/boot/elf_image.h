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

/// The loadable parts of an ELF kernel (vmlinux) and its PVH entry point.
struct ElfImage {
    struct Segment {
        std::span<const u8> bytes;  ///< from the file
        Gpa gpa = 0;
        u64 size = 0;  ///< in memory, at least bytes.size(); the rest is zero
    };
    std::vector<Segment> segments;  ///< at least one; ends do not overflow; the entry lies in one
    Gpa pvh_entry = 0;              ///< 32-bit entry (Xen: include/public/elfnote.h, PHYS32_ENTRY)
    u64 end = 0;                    ///< highest address of any segment
};

bool looks_like_elf(std::span<const u8> file);
/// 32- and 64-bit little-endian x86 executables with a PVH note. `name` starts the message of an
/// error. The result points into `file`.
Result<ElfImage> parse_elf(std::span<const u8> file, const std::string& name);

}  // namespace triune::boot
