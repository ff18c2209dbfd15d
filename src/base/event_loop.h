// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>

#include "base/result.h"
#include "base/types.h"

namespace triune::base {

/// Monotonic host time in nanoseconds (CLOCK_MONOTONIC).
u64 monotonic_ns();

/// One epoll loop: file descriptors, one-shot timers and posted functions.
///
/// Threads: `run()` belongs to one thread; handlers run on it. Every other member may be called
/// from any thread, also from a handler. A handler that is removed from the loop's own thread is
/// not called afterwards; removed from another thread, a call under way is waited for.
class EventLoop {
public:
    using FdHandler = std::function<void(u32 epoll_events)>;

    static Result<std::unique_ptr<EventLoop>> create();
    ~EventLoop();
    EventLoop(const EventLoop&) = delete;
    EventLoop& operator=(const EventLoop&) = delete;

    /// Watches `fd` for `epoll_events` (EPOLLIN…); replaces the interest if already watched.
    /// The caller keeps the descriptor and removes it before closing it.
    void watch(int fd, u32 epoll_events, FdHandler handler);
    void unwatch(int fd);

    /// Runs `f` on the loop's thread soon.
    void post(std::function<void()> f);

    /// A one-shot timer that can be re-armed from any thread. Arming to a later time than the
    /// one already armed costs no host call: the loop finds out when it wakes.
    class Timer {
    public:
        virtual ~Timer() = default;
        /// Fires at `deadline_ns` of monotonic_ns() or as soon as possible when it has passed.
        virtual void arm(u64 deadline_ns) = 0;
        virtual void disarm() = 0;
    };
    /// `expired` runs on the loop's thread. The timer must be destroyed before the loop.
    std::unique_ptr<Timer> make_timer(std::function<void()> expired);

    /// Until stop().
    void run();
    void stop();

private:
    EventLoop();
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace triune::base
