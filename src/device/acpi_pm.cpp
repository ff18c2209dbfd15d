// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "device/acpi_pm.h"

#include <utility>

#include "bus/pc_ports.h"

namespace triune::device {

namespace {

namespace pc = bus::pc;

constexpr u64 timer_hz = 3'579'545, second_ns = 1'000'000'000;
constexpr u16 timer_bit = 1 << 0, global_bit = 1 << 5, power_button_bit = 1 << 8;
// Enables of events that never come (sleep button, RTC wake) stick too: guests read them back.
constexpr u16 enable_bits = timer_bit | global_bit | power_button_bit | 1 << 9 | 1 << 10;
constexpr u16 sci_enable = 1 << 0, sleep_enable = 1 << 13;
constexpr u16 control_bits = 0x1c02;  // SLP_TYP, BM_RLD

constexpr u8 byte_of(u64 v, u64 i) { return static_cast<u8>(v >> (8 * i)); }
u16 with_byte(u16 v, u64 i, u8 b) { return static_cast<u16>((v & ~(0xff << (8 * i))) | b << (8 * i)); }

}  // namespace

AcpiPm::AcpiPm(bus::IrqLine& sci, base::EventLoop& loop, std::function<void()> power_off, Clock monotonic_ns)
    : sci_(sci), power_off_(std::move(power_off)), clock_(std::move(monotonic_ns)), start_ns_(clock_()) {
    timer_ = loop.make_timer([this] {
        const base::MutexLock lock(mutex_);
        sync_locked();
        update_sci_locked();
    });
}

AcpiPm::~AcpiPm() { timer_.reset(); }

u64 AcpiPm::ticks_locked() const {
    const u64 ns = clock_() - start_ns_;
    // Seconds and the rest apart: the product would overflow after 90 minutes.
    return ns / second_ns * timer_hz + ns % second_ns * timer_hz / second_ns;
}

/// TMR_STS is set whenever bit 31 of the timer changes.
void AcpiPm::sync_locked() {
    const u64 ticks = ticks_locked();
    if (ticks >> 31 != synced_ticks_ >> 31) status_ |= timer_bit;
    synced_ticks_ = ticks;
}

void AcpiPm::update_sci_locked() {
    const bool level = status_ & enable_;
    if (std::exchange(level_, level) != level) sci_.set(level);
    if ((enable_ & timer_bit) && !(status_ & timer_bit)) {
        const u64 next = ((synced_ticks_ >> 31) + 1) << 31;
        timer_->arm(start_ns_ + next / timer_hz * second_ns + next % timer_hz * second_ns / timer_hz + 1000);
    } else {
        timer_->disarm();
    }
}

void AcpiPm::press_power_button() {
    const base::MutexLock lock(mutex_);
    status_ |= power_button_bit;
    update_sci_locked();
}

void AcpiPm::reset() {
    const base::MutexLock lock(mutex_);
    sync_locked();
    status_ = enable_ = control_ = 0;
    update_sci_locked();
}

u64 AcpiPm::read(u64 offset, unsigned size) {
    // The timer is read whole, of one moment.
    if (offset != pc::pm_timer_offset || size != 4) return ByteRegisters::read(offset, size);
    const base::MutexLock lock(mutex_);
    return static_cast<u32>(ticks_locked());
}

u8 AcpiPm::read8(u64 offset) {
    const base::MutexLock lock(mutex_);
    switch (offset) {
        case pc::pm1_event_offset: sync_locked(); [[fallthrough]];
        case pc::pm1_event_offset + 1: return byte_of(status_, offset & 1);
        case pc::pm1_event_offset + 2:
        case pc::pm1_event_offset + 3: return byte_of(enable_, offset & 1);
        case pc::pm1_control_offset:
        case pc::pm1_control_offset + 1: return byte_of(control_ | sci_enable, offset & 1);
        case pc::pm_timer_offset:
        case pc::pm_timer_offset + 1:
        case pc::pm_timer_offset + 2:
        case pc::pm_timer_offset + 3: return byte_of(ticks_locked(), offset & 3);
        default: return 0;
    }
}

void AcpiPm::write8(u64 offset, u8 value) {
    bool off = false;
    {
        const base::MutexLock lock(mutex_);
        sync_locked();
        switch (offset) {
            case pc::pm1_event_offset:
            case pc::pm1_event_offset + 1:  // write one to clear
                status_ &= static_cast<u16>(~(value << (8 * (offset & 1))));
                break;
            case pc::pm1_event_offset + 2:
            case pc::pm1_event_offset + 3:
                enable_ = with_byte(enable_, offset & 1, value) & enable_bits;
                break;
            case pc::pm1_control_offset:
            case pc::pm1_control_offset + 1: {
                const u16 written = with_byte(control_, offset & 1, value);
                control_ = written & control_bits;  // SLP_EN is write-only, SCI_EN read-only here
                off = (offset & 1) && (written & sleep_enable) && (control_ >> 10 & 7) == pc::sleep_type_s5;
                break;
            }
            default: break;
        }
        update_sci_locked();
    }
    if (off && power_off_) power_off_();
}

}  // namespace triune::device
