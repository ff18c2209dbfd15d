// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

/// soft/irqchip: what a PC has between its interrupt lines and its processors: local APICs, IOAPIC,
/// a pair of 8259A, an 8254, and message-signalled interrupts.
///
/// Threads: lines and messages may come from any thread while vCPUs run; a local APIC's registers
/// belong to its vCPU's thread. Lock order: Pit, then Pic or IoApic; a local APIC's timer lock is
/// taken last and calls nothing but its own IRR and EventLoop::Timer.
#include "base/types.h"

namespace triune::hypervisor::soft::irqchip {

/// Delivery modes as ICR, LVT, redirection entries and MSI data encode them (Intel SDM 3A 11.6.1).
enum class DeliveryMode : u8 { fixed, lowest_priority, smi, reserved, nmi, init, startup, extint };

/// An interrupt message on its way to local APICs.
struct Message {
    u32 destination = 0;
    bool logical = false;  ///< destination mode
    bool wide = false;     ///< destination has 32 bits (x2APIC ICR), else 8
    DeliveryMode mode = DeliveryMode::fixed;
    u8 vector = 0;
    bool level = false;  ///< trigger mode

    [[nodiscard]] bool broadcast() const { return destination == (wide ? 0xffff'ffffu : 0xffu); }
    [[nodiscard]] bool lowest_priority() const { return mode == DeliveryMode::lowest_priority; }
};

/// Decodes an MSI write (Intel SDM 3A 11.11). False when `address` is none.
constexpr bool decode_msi(u64 address, u32 data, Message& out) {
    if ((address & ~u64{0xfffff}) != 0xfee00000) return false;
    out = {};
    out.destination = (address >> 12) & 0xff;
    out.logical = address & 4;
    out.mode = static_cast<DeliveryMode>((data >> 8) & 7);
    // The redirection hint asks for one of several logical destinations.
    if ((address & 8) && out.logical && out.mode == DeliveryMode::fixed)
        out.mode = DeliveryMode::lowest_priority;
    out.vector = static_cast<u8>(data);
    out.level = data & (1u << 15);
    return true;
}

}  // namespace triune::hypervisor::soft::irqchip
