// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>

#include "base/types.h"

/// Where the fixed devices of this PC are: said once, for the devices and for the ACPI tables.
namespace triune::bus::pc {

inline constexpr u16 com1_ports = 0x3f8, com_port_count = 8;
inline constexpr u16 rtc_ports = 0x70, rtc_port_count = 2;
inline constexpr u16 keyboard_status_port = 0x64;
inline constexpr u16 post_port = 0x80;
inline constexpr u16 debug_exit_port = 0xf4, debug_exit_port_count = 4;
inline constexpr u16 debugcon_port = 0xe9;
/// Ports of the interrupt controllers and the timer, which are the hypervisor's.
constexpr bool is_interrupt_chip_port(u16 port) {
    return (port & 0xff7e) == 0x20 || (port >= 0x40 && port <= 0x43) || port == 0x61 ||
           (port & 0xfffe) == 0x4d0;
}
/// ACPI PM registers: PM1 event (4 bytes), PM1 control (2), gap, PM timer (4), and more that read as zero.
inline constexpr u16 pm_ports = 0x600, pm_port_count = 64, pm1_event_offset = 0, pm1_control_offset = 4,
                     pm_timer_offset = 8;
/// SLP_TYP that means S5 (soft off), as in the PIIX4 (datasheet 7.2.3).
inline constexpr u8 sleep_type_s5 = 0;
inline constexpr u16 reset_port = 0xcf9;
inline constexpr u8 reset_value = 0x06;  ///< hard reset, PIIX3 datasheet 2.5.5

inline constexpr unsigned com1_irq = 4, rtc_irq = 8, sci_irq = 9;
/// Where PCI's interrupts (PIRQA to PIRQD) arrive at the 8259A pair. SeaBIOS chooses the same.
inline constexpr std::array<u8, 4> pirq_irqs = {10, 10, 11, 11};

/// CMOS byte of the century, told in the FADT.
inline constexpr u8 cmos_century = 0x32;

/// PCI slots of the chipset.
inline constexpr unsigned host_bridge_slot = 0, isa_bridge_slot = 1, first_free_slot = 2;
/// Function of the ISA bridge's slot that is power management.
inline constexpr unsigned pm_function = 3;

}  // namespace triune::bus::pc
