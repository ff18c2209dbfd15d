// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "device/chipset.h"

namespace triune::device {

HostBridge::HostBridge()
    : PciFunction({.vendor = 0x8086, .device = 0x1237, .class_code = 0x060000, .revision = 2}) {
    // PAM registers: shadowing of the BIOS area. The area is RAM at all times; the settings stick.
    for (unsigned at = 0x59; at <= 0x5f; ++at) make_writable(at, 0x33, 1);
}

IsaBridge::IsaBridge()
    : PciFunction({.vendor = 0x8086, .device = 0x7000, .class_code = 0x060100, .revision = 0}) {
    // PIRQRC[A:D], reset to "not routed": INTx goes to the IOAPIC.
    for (unsigned at = 0x60; at <= 0x63; ++at) {
        config_set(at, 0x80, 1);
        make_writable(at, 0x8f, 1);
    }
    // DLC: delayed transactions and passive release, which guests turn on.
    make_writable(0x82, 0x0f, 1);
}

namespace {
constexpr u8 reset_cpu = 4, reset_bits = 6;
}

u8 ResetControl::read8(u64) { return value_; }

void ResetControl::write8(u64, u8 value) {
    const u8 old = value_.exchange(value & reset_bits);
    if (!(old & reset_cpu) && (value & reset_cpu) && reset_) reset_();
}

u8 KeyboardReset::read8(u64) { return 0xff; }

void KeyboardReset::write8(u64, u8 value) {
    // 0xf0-0xff pulse the output port's bits that are zero in the command; bit 0 is the reset line.
    if ((value & 0xf1) == 0xf0 && reset_) reset_();
}

u8 PostPort::read8(u64) { return value_; }
void PostPort::write8(u64, u8 value) { value_ = value; }

}  // namespace triune::device
