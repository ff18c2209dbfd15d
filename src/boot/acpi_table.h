// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "base/types.h"

namespace triune::boot {

/// Builds a table behind the common header (ACPI 6.4, 5.2.6); little-endian.
class AcpiTable {
public:
    AcpiTable(std::string_view signature, u8 revision);
    void put(u64 value, unsigned size);
    void append(std::span<const u8> bytes) { bytes_.insert(bytes_.end(), bytes.begin(), bytes.end()); }
    /// Generic Address Structure in I/O space (ACPI 6.4, 5.2.3.2); all zero for port 0.
    void put_io_address(u16 port, unsigned bits);
    /// Fills in length and checksum.
    std::vector<u8> finish();

private:
    std::vector<u8> bytes_;
};

/// What to add so that all bytes sum up to zero.
u8 acpi_checksum(std::span<const u8> bytes);

}  // namespace triune::boot
