// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "boot/acpi.h"
#include "boot/acpi_table.h"
#include "boot/aml.h"
#include "bus/pc_ports.h"
#include "bus/pci.h"

namespace triune::boot {

namespace {

namespace pc = bus::pc;
using aml::Bytes;

/// _PRT: {slot and any function, pin from 0, no link device, GSI} (ACPI 6.4, 6.2.13).
Bytes interrupt_routing() {
    std::vector<Bytes> routes;
    for (u32 slot = 0; slot < bus::pci_slots; ++slot)
        for (unsigned pin = 1; pin <= 4; ++pin)
            routes.push_back(aml::package({aml::integer(slot << 16 | 0xffff), aml::integer(pin - 1),
                                           aml::integer(0), aml::integer(bus::pci_gsi(slot, pin))}));
    return aml::package(routes);
}

Bytes isa_devices(const AcpiConfig& config) {
    Bytes all = aml::device(
        "RTC_", aml::join({
                    aml::name("_HID", aml::eisa_id("PNP0B00")),
                    aml::name("_CRS", aml::resources({aml::io_ports(pc::rtc_ports, pc::rtc_port_count),
                                                      aml::isa_irq(pc::rtc_irq)})),
                }));
    if (config.com1)
        all = aml::join(
            {all, aml::device(
                      "COM1",
                      aml::join({
                          aml::name("_HID", aml::eisa_id("PNP0501")),
                          aml::name("_UID", aml::integer(1)),
                          aml::name("_CRS", aml::resources({aml::io_ports(pc::com1_ports, pc::com_port_count),
                                                            aml::isa_irq(pc::com1_irq)})),
                      }))});
    return all;
}

}  // namespace

std::vector<u8> make_dsdt(const AcpiConfig& config) {
    const Bytes pci0 = aml::device(
        "PCI0",
        aml::join({
            aml::name("_HID", aml::eisa_id("PNP0A03")),
            aml::name("_UID", aml::integer(0)),
            aml::name("_CRS", aml::resources({
                                  aml::bus_numbers(0, 0),
                                  aml::io_ports(0xcf8, 8),  // the configuration ports are the bridge's own
                                  aml::io_window(0, 0xcf7),
                                  aml::io_window(0xd00, 0xffff),
                                  aml::memory_window(bus::pci_mmio_base, bus::pci_mmio_end - 1),
                              })),
            aml::name("_PRT", interrupt_routing()),
            aml::device("ISA_", aml::join({
                                    aml::name("_ADR", aml::integer(pc::isa_bridge_slot << 16)),
                                    isa_devices(config),
                                })),
        }));
    AcpiTable t("DSDT", 2);
    t.append(
        aml::name("\\_S5_", aml::package({aml::integer(pc::sleep_type_s5), aml::integer(pc::sleep_type_s5),
                                          aml::integer(0), aml::integer(0)})));
    t.append(aml::scope("\\_SB_", pci0));
    return t.finish();
}

}  // namespace triune::boot
