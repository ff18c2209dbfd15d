// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/irqchip/pit.h"

#include <algorithm>

namespace triune::hypervisor::soft::irqchip {
namespace {

__extension__ typedef unsigned __int128 u128;
/// A counter loaded with a few ticks must not keep the host's event loop busy.
constexpr u64 min_period_ns = 50'000;
constexpr u64 second = 1'000'000'000;
/// DRAM refresh requests toggle bit 4 of port 0x61 every 15.085 us: 18 ticks.
constexpr u64 refresh_ticks = 18;

}  // namespace

Pit::Pit(base::EventLoop& loop, std::function<void(bool)> irq0)
    : irq0_(std::move(irq0)),
      origin_ns_(base::monotonic_ns()),
      timer_(loop.make_timer([this] { expired(); })) {
    counter_[2].set_gate(false, 0);
}

u64 Pit::now_ticks() const { return static_cast<u64>(u128{base::monotonic_ns() - origin_ns_} * hz / second); }

/// Rounded up: at that time now_ticks() has reached `ticks`.
u64 Pit::ticks_to_ns(u64 ticks) const {
    return origin_ns_ + static_cast<u64>((u128{ticks} * second + hz - 1) / hz);
}

/// Locked. Brings the line to the output's level and arms the timer for the next rising edge.
void Pit::update_irq0(u64 now) {
    const bool level = counter_[0].output(now);
    if (level != line_) irq0_(line_ = level);
    next_rise_ = counter_[0].next_rise(now);
    if (next_rise_ == PitCounter::never)
        timer_->disarm();
    else
        timer_->arm(ticks_to_ns(next_rise_));
}

void Pit::expired() {
    const base::MutexLock lock(mutex_);
    if (next_rise_ == PitCounter::never) return;
    const u64 now = now_ticks();
    if (now < next_rise_) return timer_->arm(ticks_to_ns(next_rise_));
    // The low phase is over before anyone could have seen it. Edges missed by a late host are one.
    if (line_) irq0_(false);
    irq0_(line_ = true);
    next_rise_ = counter_[0].next_rise(now);
    if (next_rise_ != PitCounter::never)
        timer_->arm(std::max(ticks_to_ns(next_rise_), base::monotonic_ns() + min_period_ns));
}

u8 Pit::read(u16 port) {
    const base::MutexLock lock(mutex_);
    const u64 now = now_ticks();
    if (port == 0x61)
        return static_cast<u8>(counter_[2].gate() | speaker_ << 1 | (now / refresh_ticks & 1) << 4 |
                               counter_[2].output(now) << 5);
    const unsigned n = port & 3;
    return n == 3 ? 0xff : counter_[n].read(now);
}

void Pit::write(u16 port, u8 value) {
    const base::MutexLock lock(mutex_);
    const u64 now = now_ticks();
    if (port == 0x61) {
        speaker_ = value & 2;
        counter_[2].set_gate(value & 1, now);
        return;
    }
    const unsigned n = port & 3;
    if (n < 3) {
        counter_[n].write(value, now);
        if (n == 0) update_irq0(now);
        return;
    }
    const unsigned select = value >> 6;
    if (select == 3) {  // read-back
        for (unsigned i = 0; i < 3; ++i) {
            if (!(value & (2u << i))) continue;
            if (!(value & 0x20)) counter_[i].latch_count(now);
            if (!(value & 0x10)) counter_[i].latch_status(now);
        }
        return;
    }
    if (!(value & 0x30)) return counter_[select].latch_count(now);
    counter_[select].control(value, now);
    if (select == 0) update_irq0(now);
}

}  // namespace triune::hypervisor::soft::irqchip
