// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <functional>
#include <memory>

#include "base/event_loop.h"
#include "base/mutex.h"
#include "hypervisor/soft/cpu/context.h"

namespace triune::hypervisor::soft::irqchip {

/// The local APIC's timer (Intel SDM 3A 11.5.4): one-shot, periodic, TSC deadline. Its clock is the
/// APIC bus's: 1 GHz, one count per nanosecond before the divider.
///
/// Threads: any. The event loop fires it, and so may the vCPU's thread when it slept until
/// next_deadline_ns(); an expiry is consumed under the lock, so it fires once.
class LapicTimer {
public:
    /// `fire` is called with the timer's lock held, from whichever thread found it expired.
    LapicTimer(cpu::VcpuContext& vcpu, base::EventLoop& loop, std::function<void(u8 vector)> fire);

    void reset();
    void set_lvt(u32 value);
    void set_divide(u32 value);
    void set_initial(u32 value);
    void set_tsc_deadline(u64 guest_tsc);
    [[nodiscard]] u32 divide() const { return divide_; }
    [[nodiscard]] u32 initial() const { return initial_; }
    [[nodiscard]] u32 current() const;
    [[nodiscard]] u64 tsc_deadline() const;

    [[nodiscard]] u64 next_deadline_ns() const { return published_.load(std::memory_order_relaxed); }
    void poll();

    struct State {
        u32 initial = 0, current = 0, divide = 0;
        u64 tsc_deadline = 0;
    };
    /// Calls `pending` meanwhile: the timer does not fire between its look at IRR and this.
    [[nodiscard]] State state(const std::function<void()>& pending);
    void set_state(u32 lvt, const State& s);

private:
    static constexpr u64 never = ~u64{0};
    enum class Mode : u8 { one_shot, periodic, tsc_deadline };
    [[nodiscard]] Mode mode() const REQUIRES(mutex_);
    [[nodiscard]] bool masked() const REQUIRES(mutex_) { return lvt_ & (1u << 16); }
    [[nodiscard]] u64 divider() const;
    [[nodiscard]] u64 period_ns() const REQUIRES(mutex_) { return u64{initial_} * divider(); }
    void start(u64 now) REQUIRES(mutex_);
    void expire(u64 now) REQUIRES(mutex_);
    void publish() REQUIRES(mutex_);
    [[nodiscard]] u64 deadline_to_ns(u64 now) const REQUIRES(mutex_);
    [[nodiscard]] u32 current_locked(u64 now) const REQUIRES(mutex_);

    cpu::VcpuContext& vcpu_;
    std::function<void(u8)> fire_;
    mutable base::Mutex mutex_;
    u32 lvt_ GUARDED_BY(mutex_) = 1u << 16;
    u32 divide_ = 0, initial_ = 0;
    u64 start_ns_ GUARDED_BY(mutex_) = 0;
    u64 next_ns_ GUARDED_BY(mutex_) = never;
    u64 tsc_deadline_ GUARDED_BY(mutex_) = 0;
    std::atomic<u64> published_{never};
    std::unique_ptr<base::EventLoop::Timer> host_;  ///< last: its handler may run until it is gone
};

}  // namespace triune::hypervisor::soft::irqchip
