// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "observe/counters.h"

#include <gtest/gtest.h>

namespace triune::observe {
namespace {

void spend(u64 ticks) {
    const u64 begin = __builtin_ia32_rdtsc();
    while (__builtin_ia32_rdtsc() - begin < ticks) {
    }
}

TEST(TimeLedger, EveryMomentBelongsToOneActivity) {
    Counters c;
    const u64 begin = __builtin_ia32_rdtsc();
    c.time.start();
    spend(1000);
    {
        const TimedScope code(c.time, Activity::translated);
        spend(20'000);
        {
            const TimedScope miss(c.time, Activity::tlb_miss);
            spend(50'000);
        }
        spend(20'000);
    }
    const u64 whole = __builtin_ia32_rdtsc() - begin;
    u64 sum = 0;
    for (size_t i = 0; i < activity_names.size(); ++i) sum += c.time.ticks(static_cast<Activity>(i));
    EXPECT_LE(sum, whole);
    EXPECT_GE(c.time.ticks(Activity::tlb_miss), 50'000u);
    EXPECT_GE(c.time.ticks(Activity::translated), 40'000u);
    EXPECT_GE(c.time.ticks(Activity::monitor), 1000u);
    EXPECT_EQ(c.time.ticks(Activity::halted), 0u);
}

TEST(TimeLedger, CostsNothingAndSaysNothingUntilStarted) {
    TimeLedger l;
    EXPECT_EQ(l.enter(Activity::translated), Activity::monitor);
    EXPECT_EQ(l.enter(Activity::monitor), Activity::monitor);
    EXPECT_EQ(l.ticks(Activity::translated), 0u);
}

TEST(Counters, AddUp) {
    Counters sum, one;
    one.add(Counter::halts, 3);
    one.time.start();
    {
        const TimedScope asleep(one.time, Activity::halted);
        spend(1000);
    }
    sum.add(one);
    sum.add(one);
    EXPECT_EQ(sum.get(Counter::halts), 6u);
    EXPECT_EQ(sum.time.ticks(Activity::halted), 2 * one.time.ticks(Activity::halted));
}

}  // namespace
}  // namespace triune::observe
