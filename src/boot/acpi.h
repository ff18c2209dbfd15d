// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>
#include <vector>

#include "base/result.h"
#include "boot/layout.h"
#include "bus/pc_ports.h"
#include "memory/guest_memory.h"

namespace triune::boot {

struct AcpiConfig {
    unsigned cpus = 1;  ///< APIC ids 0 … cpus-1
    bool com1 = true;
    u16 pm_ports = bus::pc::pm_ports;  ///< where the PM registers are
};

/// The tables of this PC as they stand at acpi_gpa: RSDP first, then FACS, DSDT, FADT, MADT, XSDT.
Result<std::vector<u8>> make_acpi(const AcpiConfig& config);
/// Writes them to guest memory; returns the address of the RSDP.
Result<Gpa> install_acpi(memory::GuestMemory& memory, const AcpiConfig& config);

/// The same tables for firmware, which gets them through fw_cfg and puts them where it likes: the
/// pointers between them are offsets, and `loader` is the list of what to do with them
/// ("etc/table-loader").
struct AcpiFiles {
    std::vector<u8> tables, rsdp, loader;
};
inline constexpr std::string_view acpi_tables_file = "etc/acpi/tables", acpi_rsdp_file = "etc/acpi/rsdp",
                                  acpi_loader_file = "etc/table-loader";
Result<AcpiFiles> make_acpi_files(const AcpiConfig& config);

/// The DSDT alone, with its header.
std::vector<u8> make_dsdt(const AcpiConfig& config);

}  // namespace triune::boot
