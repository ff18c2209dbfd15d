// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>

#include "base/event_loop.h"
#include "base/mutex.h"
#include "device/byte_registers.h"

namespace triune::device {

/// ACPI fixed hardware (ACPI 6.4, 4.8.3): PM1 event and control registers, the 32-bit PM timer,
/// the power button. bus::pc says where the registers lie. Always in ACPI mode.
///
/// Threads: any; one lock, under which the interrupt line is set. The callbacks are called on the
/// vCPU's thread without it.
class AcpiPm final : public ByteRegisters {
public:
    using Clock = std::function<u64()>;
    /// `sci` is level-triggered. `power_off` is called when the guest enters S5.
    AcpiPm(bus::IrqLine& sci, base::EventLoop& loop, std::function<void()> power_off,
           Clock monotonic_ns = base::monotonic_ns);
    ~AcpiPm() override;

    /// As if a person pressed the power button: asks the guest to shut down.
    void press_power_button();
    void reset();

    u64 read(u64 offset, unsigned size) override;

private:
    u8 read8(u64 offset) override;
    void write8(u64 offset, u8 value) override;
    [[nodiscard]] u64 ticks_locked() const REQUIRES(mutex_);
    void sync_locked() REQUIRES(mutex_);
    void update_sci_locked() REQUIRES(mutex_);

    base::Mutex mutex_;
    bus::IrqLine& sci_;
    std::function<void()> power_off_;
    Clock clock_;
    std::unique_ptr<base::EventLoop::Timer> timer_;
    u64 start_ns_;
    u64 synced_ticks_ GUARDED_BY(mutex_) = 0;
    u16 status_ GUARDED_BY(mutex_) = 0, enable_ GUARDED_BY(mutex_) = 0, control_ GUARDED_BY(mutex_) = 0;
    bool level_ GUARDED_BY(mutex_) = false;
};

}  // namespace triune::device
