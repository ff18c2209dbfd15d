// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <span>
#include <string>

#include "base/result.h"
#include "base/types.h"

namespace triune::boot {

/// What a kernel's multiboot header asks for (Multiboot Specification 0.6.96, 3.1; Multiboot2
/// Specification 2.0, 3.1), checked for what this loader can honour.
struct MultibootHeader {
    /// Where the bytes of the file go, for kernels that are not ELF or do not want its headers used.
    struct Addresses {
        u64 file_offset = 0;  ///< of the first byte to load, in the file
        Gpa load = 0;
        u64 file_size = 0;    ///< bytes to load, all in the file
        u64 memory_size = 0;  ///< at least file_size; the rest is zero
    };
    /// The image may be moved (Multiboot2 3.1.12).
    struct Relocation {
        u64 lowest = 0, highest = 0;  ///< of the image's first and last byte
        u32 alignment = 1;            ///< a power of two
        bool prefers_highest = false;
    };
    unsigned version = 1;  ///< 1 or 2
    u64 offset = 0;        ///< in the file
    std::optional<Addresses> addresses;
    std::optional<u32> entry;  ///< overrides the ELF header's
    std::optional<Relocation> relocation;
};

/// The header in `file`, nothing if there is none, or why it cannot be honoured. A kernel with
/// headers of both versions is taken by version 2. `name` starts the message of an error.
Result<std::optional<MultibootHeader>> find_multiboot_header(std::span<const u8> file,
                                                             const std::string& name);

/// True when the magic number of a multiboot header stands where a header may be, but its checksum is
/// wrong: the header of a damaged file, or a coincidence.
bool has_damaged_multiboot_header(std::span<const u8> file);

}  // namespace triune::boot
