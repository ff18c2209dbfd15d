// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <optional>

#include "base/event_loop.h"
#include "base/mutex.h"
#include "device/byte_registers.h"

namespace triune::device {

/// CLOCK_REALTIME in nanoseconds since 1970, UTC.
i64 host_utc_ns();

/// MC146818 real-time clock with its CMOS memory: ports 0x70 (index; bit 7, the NMI mask, has no
/// effect) and 0x71 (data). Runs in UTC with the host's clock; a guest that sets it moves it by
/// whole seconds against the host.
///
/// The clock is computed, not stepped: flags that no interrupt is enabled for are found out when
/// register C is read, and a host timer runs only while an interrupt is enabled.
///
/// Threads: any; one lock, under which the interrupt line is set.
class Rtc final : public ByteRegisters {
public:
    using Clock = std::function<i64()>;
    Rtc(bus::IrqLine& irq, base::EventLoop& loop, Clock utc_ns = host_utc_ns);
    ~Rtc() override;

    /// Tells firmware's places for memory size: all RAM below 4 GB, and above.
    void set_memory_size(u64 low_bytes, u64 high_bytes);
    /// Tells firmware how many processors will come up (SeaBIOS and Bochs: CMOS byte 0x5f).
    void set_cpu_count(unsigned cpus);
    /// The reset pin: interrupt enables and flags go, time and memory stay.
    void reset();

private:
    u8 read8(u64 offset) override;
    void write8(u64 offset, u8 value) override;

    /// Time of day in seconds since 1970 as the guest has set it, and nanoseconds within it.
    struct Now {
        i64 seconds;
        u32 nanoseconds;
    };
    [[nodiscard]] Now now_locked() const REQUIRES(mutex_);
    void sync_locked() REQUIRES(mutex_);
    void latch_time_locked() REQUIRES(mutex_);
    void set_time_locked() REQUIRES(mutex_);
    [[nodiscard]] u8 read_register_locked(u8 index) REQUIRES(mutex_);
    void write_register_locked(u8 index, u8 value) REQUIRES(mutex_);
    [[nodiscard]] std::optional<i64> next_alarm_locked(i64 after) const REQUIRES(mutex_);
    [[nodiscard]] u64 period_ns_locked() const REQUIRES(mutex_);
    [[nodiscard]] u8 encode_locked(int v) const REQUIRES(mutex_);
    [[nodiscard]] int decode_locked(u8 v) const REQUIRES(mutex_);
    [[nodiscard]] u8 encode_hour_locked(int hour) const REQUIRES(mutex_);
    [[nodiscard]] int decode_hour_locked(u8 v) const REQUIRES(mutex_);
    void update_irq_locked() REQUIRES(mutex_);
    void arm_locked() REQUIRES(mutex_);
    void expired();

    base::Mutex mutex_;
    bus::IrqLine& irq_;
    Clock utc_ns_;
    std::unique_ptr<base::EventLoop::Timer> timer_;
    std::array<u8, 128> cmos_ GUARDED_BY(mutex_){};
    u8 index_ GUARDED_BY(mutex_) = 0;
    i64 offset_seconds_ GUARDED_BY(mutex_) = 0;  ///< guest's clock less the host's
    i64 synced_ns_ GUARDED_BY(mutex_) = 0;       ///< host time (UTC) up to which flags are known
    bool irq_level_ GUARDED_BY(mutex_) = false;
};

}  // namespace triune::device
