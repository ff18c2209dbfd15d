// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/irqchip/lapic_timer.h"

#include <algorithm>

#include "x86/cpu_model.h"

namespace triune::hypervisor::soft::irqchip {
namespace {

/// A guest that asks for a period of a few nanoseconds must not keep the host's event loop busy.
constexpr u64 min_period_ns = 50'000;

__extension__ typedef unsigned __int128 u128;

}  // namespace

LapicTimer::LapicTimer(cpu::VcpuContext& vcpu, base::EventLoop& loop, std::function<void(u8)> fire)
    : vcpu_(vcpu), fire_(std::move(fire)), host_(loop.make_timer([this] { poll(); })) {}

LapicTimer::Mode LapicTimer::mode() const {
    switch ((lvt_ >> 17) & 3) {
        case 0: return Mode::one_shot;
        case 1: return Mode::periodic;
        default: return Mode::tsc_deadline;
    }
}

// Bits 0, 1 and 3: 000 divides by 2, 110 by 128, 111 by 1 (Intel SDM 3A figure 11-10).
u64 LapicTimer::divider() const {
    const unsigned code = (divide_ & 3) | ((divide_ >> 1) & 4);
    return u64{1} << ((code + 1) & 7);
}

void LapicTimer::reset() {
    const base::MutexLock lock(mutex_);
    lvt_ = 1u << 16;
    divide_ = initial_ = 0;
    tsc_deadline_ = 0;
    next_ns_ = never;
    publish();
}

/// Locked. What the outside sees, and the host timer. A masked timer counts but wakes nobody.
void LapicTimer::publish() {
    const u64 next = masked() ? never : next_ns_;
    published_.store(next, std::memory_order_relaxed);
    if (next == never)
        host_->disarm();
    else
        host_->arm(next);
}

/// Locked. monotonic_ns() at which the guest's TSC reaches the deadline, rounded up.
u64 LapicTimer::deadline_to_ns(u64 now) const {
    const u64 tsc = vcpu_.guest_tsc();
    if (tsc >= tsc_deadline_) return now;
    // What the model states may be another rate (x86::state_tsc_rate).
    const u128 ns = u128{tsc_deadline_ - tsc} * 1'000'000'000 / x86::host_tsc_hz() + 1;
    // Beyond a century nobody waits, and the sum must not wrap.
    constexpr u64 longest = u64{3'200'000'000} * 1'000'000'000;
    return now + (ns > longest ? longest : static_cast<u64>(ns));
}

/// Locked. Fires what is due.
void LapicTimer::expire(u64 now) {
    if (next_ns_ > now) return;
    switch (mode()) {
        case Mode::one_shot: next_ns_ = never; break;
        case Mode::periodic: {
            const u64 period = std::max<u64>(period_ns(), 1);
            next_ns_ += ((now - next_ns_) / period + 1) * period;
            next_ns_ = std::max(next_ns_, now + min_period_ns);
            break;
        }
        case Mode::tsc_deadline:
            // The two clocks are converted with a measured rate: not before the guest's own says so.
            if (const u64 again = deadline_to_ns(now); again > now) {
                next_ns_ = again;
                publish();
                return;
            }
            tsc_deadline_ = 0;
            next_ns_ = never;
            break;
    }
    publish();
    if (!masked()) fire_(static_cast<u8>(lvt_));
}

void LapicTimer::poll() {
    const base::MutexLock lock(mutex_);
    expire(base::monotonic_ns());
}

void LapicTimer::start(u64 now) {
    start_ns_ = now;
    next_ns_ = initial_ ? now + period_ns() : never;
}

void LapicTimer::set_lvt(u32 value) {
    const base::MutexLock lock(mutex_);
    expire(base::monotonic_ns());  // what came due did so under the old entry
    const bool was_deadline = mode() == Mode::tsc_deadline;
    lvt_ = value;
    // Entering or leaving TSC-deadline mode disarms the timer (11.5.4.1).
    if (was_deadline != (mode() == Mode::tsc_deadline)) {
        tsc_deadline_ = 0;
        initial_ = 0;
        next_ns_ = never;
    }
    publish();
}

void LapicTimer::set_divide(u32 value) {
    const base::MutexLock lock(mutex_);
    const u64 now = base::monotonic_ns();
    expire(now);
    const u64 before = divider();
    divide_ = value & 0xb;
    if (mode() == Mode::tsc_deadline || next_ns_ == never || divider() == before) return;
    // The count goes on from where it is, at the new rate.
    const u64 left = next_ns_ > now ? (next_ns_ - now + before - 1) / before : 0;
    next_ns_ = now + left * divider();
    start_ns_ = next_ns_ - std::min(next_ns_, period_ns());
    publish();
}

void LapicTimer::set_initial(u32 value) {
    const base::MutexLock lock(mutex_);
    if (mode() == Mode::tsc_deadline) return;
    initial_ = value;
    start(base::monotonic_ns());
    publish();
}

u32 LapicTimer::current() const {
    const base::MutexLock lock(mutex_);
    return current_locked(base::monotonic_ns());
}

u32 LapicTimer::current_locked(u64 now) const {
    // A one-shot timer that has expired stays at zero, also when it becomes a periodic one.
    if (mode() == Mode::tsc_deadline || initial_ == 0 || next_ns_ == never) return 0;
    const u64 period = period_ns();
    if (mode() == Mode::one_shot) {
        if (next_ns_ == never || next_ns_ <= now) return 0;
        return static_cast<u32>(std::min<u64>((next_ns_ - now + divider() - 1) / divider(), initial_));
    }
    const u64 gone = now > start_ns_ ? (now - start_ns_) % period : 0;
    return initial_ - static_cast<u32>(gone / divider());
}

void LapicTimer::set_tsc_deadline(u64 guest_tsc) {
    const base::MutexLock lock(mutex_);
    if (mode() != Mode::tsc_deadline) return;
    const u64 now = base::monotonic_ns();
    expire(now);
    tsc_deadline_ = guest_tsc;
    next_ns_ = guest_tsc ? deadline_to_ns(now) : never;
    if (next_ns_ <= now)
        expire(now);
    else
        publish();
}

u64 LapicTimer::tsc_deadline() const {
    const base::MutexLock lock(mutex_);
    if (mode() != Mode::tsc_deadline || !tsc_deadline_) return 0;
    return vcpu_.guest_tsc() >= tsc_deadline_ ? 0 : tsc_deadline_;
}

}  // namespace triune::hypervisor::soft::irqchip
