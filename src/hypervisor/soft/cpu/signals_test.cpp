// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/cpu/signals.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

namespace triune::hypervisor::soft::cpu {
namespace {

u64 now_ns() {
    return static_cast<u64>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                std::chrono::steady_clock::now().time_since_epoch())
                                .count());
}
constexpr u64 ms = 1'000'000;

TEST(Signals, TakeGivesEachBitOnce) {
    Signals s;
    EXPECT_FALSE(s.any());
    s.raise(Signal::nmi);
    s.raise(Signal::nmi);
    s.raise(Signal::kick);
    EXPECT_TRUE(s.any());
    EXPECT_FALSE(s.take(Signal::interrupt));
    EXPECT_TRUE(s.take(Signal::nmi));
    EXPECT_FALSE(s.take(Signal::nmi));
    EXPECT_TRUE(s.take(Signal::kick));
    EXPECT_FALSE(s.any());
}

TEST(Signals, WaitReturnsAtOnceWhenPending) {
    Signals s;
    s.raise(Signal::interrupt);
    const u64 start = now_ns();
    s.wait(~u64{0});
    EXPECT_LT(now_ns() - start, 1000 * ms);
    EXPECT_TRUE(s.take(Signal::interrupt));
    EXPECT_EQ(s.sleeping.load(), 0u);
}

TEST(Signals, WaitEndsAtDeadlineAndNotBefore) {
    Signals s;
    const u64 deadline = now_ns() + 30 * ms;
    s.wait(deadline);
    EXPECT_GE(now_ns(), deadline);
    EXPECT_LT(now_ns(), deadline + 5000 * ms);
    EXPECT_FALSE(s.any());
}

TEST(Signals, DeadlineInThePastDoesNotSleep) {
    Signals s;
    const u64 start = now_ns();
    s.wait(0);
    s.wait(start);
    EXPECT_LT(now_ns() - start, 1000 * ms);
}

TEST(Signals, RaiseWakesASleeper) {
    Signals s;
    std::thread sleeper([&] { s.wait(~u64{0}); });
    while (!s.sleeping.load()) std::this_thread::yield();
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    s.raise(Signal::kick);
    sleeper.join();
    EXPECT_TRUE(s.take(Signal::kick));
}

TEST(Signals, NoWakeUpIsLost) {
    // A ping-pong in which every hand-over may sleep: a lost wake-up hangs, and the deadline makes
    // that a failure instead.
    Signals a, b;
    constexpr int rounds = 20000;
    std::atomic<bool> late{false};
    std::thread other([&] {
        for (int i = 0; i < rounds && !late; ++i) {
            a.wait(now_ns() + 10000 * ms);
            if (!a.take(Signal::interrupt)) late = true;
            b.raise(Signal::interrupt);
        }
    });
    for (int i = 0; i < rounds && !late; ++i) {
        a.raise(Signal::interrupt);
        b.wait(now_ns() + 10000 * ms);
        if (!b.take(Signal::interrupt)) late = true;
    }
    other.join();
    EXPECT_FALSE(late);
}

}  // namespace
}  // namespace triune::hypervisor::soft::cpu
