// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "device/chipset.h"

#include <utility>

namespace triune::device {

namespace {

constexpr unsigned pam0 = 0x59, pam6 = 0x5f;
constexpr u8 read_enable = 1, write_enable = 2, both = read_enable | write_enable;

/// PAM0's high nibble is the last segment, the nibbles of PAM1 to PAM6 are the others in order.
struct Nibble {
    unsigned offset, shift;
};
constexpr Nibble nibble_of(unsigned segment) {
    if (segment == pam_segments - 1) return {pam0, 4};
    return {pam0 + 1 + segment / 2, segment % 2 * 4};
}

}  // namespace

// Its subsystem is the mark by which SeaBIOS knows that fw_cfg is there.
HostBridge::HostBridge(std::function<void(unsigned, const PamSegment&)> changed)
    : PciFunction({.vendor = 0x8086,
                   .device = 0x1237,
                   .class_code = 0x060000,
                   .revision = 2,
                   .subsystem_vendor = 0x1af4,
                   .subsystem = 0x1100}),
      changed_(std::move(changed)) {
    for (unsigned at = pam0; at <= pam6; ++at) make_writable(at, at == pam0 ? 0x30 : 0x33, 1);
    if (changed_) return;
    for (unsigned i = 0; i < pam_segments; ++i) {
        const Nibble n = nibble_of(i);
        config_set(n.offset, config_get(n.offset, 1) | u32{both} << n.shift, 1);
    }
}

PamSegment HostBridge::segment(unsigned index) const {
    const Nibble n = nibble_of(index);
    const u32 bits = config_get(n.offset, 1) >> n.shift;
    constexpr Gpa area = 0xc0000;
    constexpr u64 small = 0x4000, large = 0x10000;
    return {.gpa = area + index * small,
            .size = index == pam_segments - 1 ? large : small,
            .read_ram = (bits & read_enable) != 0,
            .write_ram = (bits & write_enable) != 0};
}

void HostBridge::after_config_write(unsigned offset, unsigned size) {
    if (offset <= pam6 && offset + size > pam0) tell();
}

void HostBridge::tell() {
    if (!changed_) return;
    const base::MutexLock lock(mutex_);
    for (unsigned i = 0; i < pam_segments; ++i) {
        const PamSegment s = segment(i);
        const u8 now = static_cast<u8>((s.read_ram ? read_enable : 0) | (s.write_ram ? write_enable : 0));
        if (std::exchange(known_[i], now) != now) changed_(i, s);
    }
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
