// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "base/result.h"
#include "boot/layout.h"
#include "memory/guest_memory.h"

namespace triune::boot {

struct AcpiConfig {
    unsigned cpus = 1;  ///< APIC ids 0 … cpus-1
    bool com1 = true;
};

/// The tables of this PC as they stand at acpi_gpa: RSDP first, then FACS, DSDT, FADT, MADT, XSDT.
Result<std::vector<u8>> make_acpi(const AcpiConfig& config);
/// Writes them to guest memory; returns the address of the RSDP.
Result<Gpa> install_acpi(memory::GuestMemory& memory, const AcpiConfig& config);

/// The DSDT alone, with its header.
std::vector<u8> make_dsdt(const AcpiConfig& config);

}  // namespace triune::boot
