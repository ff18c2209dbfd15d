// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <functional>
#include <memory>

#include "base/event_loop.h"
#include "base/mutex.h"
#include "hypervisor/chip_state.h"

namespace triune::hypervisor::soft::irqchip {

/// One counter of an 8254 (Intel 8254 datasheet). Time is given in ticks of its input clock
/// since an arbitrary origin.
class PitCounter {
public:
    static constexpr u64 never = ~u64{0};

    void control(u8 word, u64 now);
    void latch_count(u64 now);
    void latch_status(u64 now);
    u8 read(u64 now);
    void write(u8 value, u64 now);
    void set_gate(bool level, u64 now);
    [[nodiscard]] bool gate() const { return gate_; }
    [[nodiscard]] bool output(u64 now);
    /// First tick after `now` at which the output rises, or never.
    [[nodiscard]] u64 next_rise(u64 now);
    [[nodiscard]] PitCounterState state() const;
    void set_state(const PitCounterState& s);

private:
    [[nodiscard]] u16 count(u64 now) const;
    [[nodiscard]] u64 elapsed(u64 now) const;
    [[nodiscard]] u32 modulus() const { return bcd_ ? 10'000 : 0x10000; }
    [[nodiscard]] u16 to_register(u64 n) const;
    [[nodiscard]] bool counts() const;
    void load(u16 raw, u64 now);
    void settle(u64 now);

    u8 mode_ = 0, access_ = 3;
    bool bcd_ = false;
    bool gate_ = true;
    bool loaded_ = false;     ///< the counting element has a count
    bool triggered_ = false;  ///< modes 1 and 5: a gate edge has started it
    u32 reload_ = 0x10000;    ///< in ticks, 1..0x10000 (10000 in BCD)
    u32 next_reload_ = 0;     ///< modes 2 and 3: takes effect at switch_at_; 0 for none
    u64 switch_at_ = 0;       ///< tick at which the current period ends
    u64 start_ = 0;           ///< tick at which counting from reload_ began
    u64 frozen_ = never;      ///< tick at which the gate stopped it
    u8 low_byte_ = 0;
    bool write_high_ = false, read_high_ = false;
    bool status_latched_ = false;
    u8 status_ = 0;
    u8 latched_bytes_ = 0;  ///< bytes of latch_ still to be read
    u16 latch_ = 0;
};

/// The 8254 of a PC: counter 0 makes IRQ 0, counter 1 does nothing a guest sees, counter 2 is
/// gated and read through port 0x61 (PIIX3 datasheet 2.5.4).
///
/// Threads: any. `irq0` is called with the lock held, on the event loop's or a vCPU's thread.
class Pit {
public:
    static constexpr u64 hz = 1'193'182;

    Pit(base::EventLoop& loop, std::function<void(bool level)> irq0);

    /// Ports 0x40-0x43 and 0x61.
    u8 read(u16 port);
    void write(u16 port, u8 value);
    /// Calls `others` meanwhile: no edge of IRQ 0 comes between its look at the other chips and this.
    [[nodiscard]] PitState state(const std::function<void()>& others);
    void set_state(const PitState& s);

private:
    [[nodiscard]] u64 now_ticks() const;
    [[nodiscard]] u64 ticks_to_ns(u64 ticks) const;
    void expired();
    void update_irq0(u64 now) REQUIRES(mutex_);

    std::function<void(bool)> irq0_;
    base::Mutex mutex_;
    std::array<PitCounter, 3> counter_ GUARDED_BY(mutex_);
    u64 origin_ns_;
    u64 next_rise_ GUARDED_BY(mutex_) = PitCounter::never;
    bool line_ GUARDED_BY(mutex_) = false;
    bool speaker_ GUARDED_BY(mutex_) = false;
    std::unique_ptr<base::EventLoop::Timer> timer_;  ///< last: its handler may run until it is gone
};

}  // namespace triune::hypervisor::soft::irqchip
