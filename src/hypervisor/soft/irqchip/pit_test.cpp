// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/irqchip/pit.h"

#include <gtest/gtest.h>

#include <thread>

namespace triune::hypervisor::soft::irqchip {
namespace {

/// A counter in read/write mode "low, then high", with `word` bits for mode and BCD.
struct Counter : PitCounter {
    Counter(unsigned mode, u16 n, bool bcd = false) {
        control(static_cast<u8>(0x30 | mode << 1 | bcd), 0);
        put(n, 0);
    }
    void put(u16 n, u64 now) {
        write(static_cast<u8>(n), now);
        write(static_cast<u8>(n >> 8), now);
    }
    u16 get(u64 now) {
        const u8 low = read(now);
        return static_cast<u16>(low | read(now) << 8);
    }
};

TEST(PitCounterTest, Mode0RaisesItsOutputAtTerminalCountAndWraps) {
    Counter c(0, 100);
    EXPECT_FALSE(c.output(99));
    EXPECT_TRUE(c.output(100));
    EXPECT_EQ(c.get(40), 60);
    EXPECT_EQ(c.get(100), 0);
    EXPECT_EQ(c.get(101), 0xffff);
    EXPECT_EQ(c.next_rise(0), 100u);
    EXPECT_EQ(c.next_rise(100), PitCounter::never);
    c.write(50, 200);
    EXPECT_FALSE(c.output(1000)) << "the first byte stops it";
    c.write(0, 300);
    EXPECT_EQ(c.next_rise(300), 350u);
}

TEST(PitCounterTest, Mode0GateFreezesTheCount) {
    Counter c(0, 100);
    c.set_gate(false, 30);
    EXPECT_EQ(c.get(90), 70);
    EXPECT_EQ(c.next_rise(90), PitCounter::never);
    c.set_gate(true, 100);
    EXPECT_EQ(c.get(110), 60);
    EXPECT_EQ(c.next_rise(110), 170u);
}

TEST(PitCounterTest, Mode1IsTriggeredByTheGateAgainAndAgain) {
    Counter c(1, 10);
    EXPECT_TRUE(c.output(50));
    EXPECT_EQ(c.next_rise(50), PitCounter::never);
    c.set_gate(false, 60);
    c.set_gate(true, 70);
    EXPECT_FALSE(c.output(75));
    EXPECT_EQ(c.next_rise(75), 80u);
    c.set_gate(false, 76);
    c.set_gate(true, 77);
    EXPECT_EQ(c.next_rise(78), 87u);
    EXPECT_TRUE(c.output(87));
}

TEST(PitCounterTest, Mode2IsLowForTheLastTickOfEachPeriod) {
    Counter c(2, 5);
    for (u64 t = 0; t < 20; ++t) EXPECT_EQ(c.output(t), t % 5 != 4) << t;
    EXPECT_EQ(c.get(0), 5);
    EXPECT_EQ(c.get(4), 1);
    EXPECT_EQ(c.next_rise(0), 5u);
    EXPECT_EQ(c.next_rise(5), 10u);
    c.put(7, 11);
    EXPECT_EQ(c.next_rise(11), 15u) << "the period under way is not cut";
    EXPECT_EQ(c.next_rise(15), 22u);
    c.set_gate(false, 30);
    EXPECT_TRUE(c.output(1000));
    EXPECT_EQ(c.next_rise(1000), PitCounter::never);
    c.set_gate(true, 1000);
    EXPECT_EQ(c.next_rise(1000), 1007u);
}

TEST(PitCounterTest, Mode3IsASquareWaveCountingByTwo) {
    Counter c(3, 10);
    EXPECT_TRUE(c.output(4));
    EXPECT_FALSE(c.output(5));
    EXPECT_EQ(c.get(1), 8);
    EXPECT_EQ(c.get(6), 8);
    EXPECT_EQ(c.next_rise(0), 10u);
    Counter odd(3, 5);
    EXPECT_TRUE(odd.output(2));
    EXPECT_FALSE(odd.output(3));
}

TEST(PitCounterTest, Modes4And5StrobeOneTick) {
    Counter c(4, 10);
    EXPECT_TRUE(c.output(9));
    EXPECT_FALSE(c.output(10));
    EXPECT_TRUE(c.output(11));
    EXPECT_EQ(c.next_rise(0), 11u);
    Counter d(5, 10);
    EXPECT_EQ(d.next_rise(0), PitCounter::never);
    d.set_gate(false, 1);
    d.set_gate(true, 2);
    EXPECT_EQ(d.next_rise(2), 13u);
}

TEST(PitCounterTest, ZeroIsTheLargestCountAndModes6And7Are2And3) {
    Counter c(0, 0);
    EXPECT_EQ(c.next_rise(0), 0x10000u);
    Counter b(0, 0, true);
    EXPECT_EQ(b.next_rise(0), 10'000u);
    Counter m6(6, 5);
    EXPECT_EQ(m6.next_rise(5), 10u);
}

TEST(PitCounterTest, Bcd) {
    Counter c(0, 0x1234, true);
    EXPECT_EQ(c.next_rise(0), 1234u);
    EXPECT_EQ(c.get(235), 0x0999);
    EXPECT_EQ(c.get(1235), 0x9999);
}

TEST(PitCounterTest, LatchHoldsUntilReadAndStatusComesFirst) {
    Counter c(0, 1000);
    c.latch_count(100);
    c.latch_count(200);
    EXPECT_EQ(c.get(300), 900);
    EXPECT_EQ(c.get(300), 700);
    c.latch_count(400);
    c.latch_status(400);
    EXPECT_EQ(c.read(500), 0x30);
    EXPECT_EQ(c.get(500), 600);
    c.latch_status(1000);
    EXPECT_EQ(c.read(1000), 0xb0);
    c.control(0x34, 2000);
    c.latch_status(2000);
    EXPECT_EQ(c.read(2000), 0x80 | 0x40 | 0x34) << "null count";
}

TEST(PitCounterTest, SingleByteAccess) {
    PitCounter c;
    c.control(0x10, 0);
    c.write(0x80, 0);
    EXPECT_EQ(c.next_rise(0), 0x80u);
    EXPECT_EQ(c.read(0x10), 0x70);
    EXPECT_EQ(c.read(0x10), 0x70);
    c.control(0x20, 0);
    c.write(0x12, 0);
    EXPECT_EQ(c.next_rise(0), 0x1200u);
    EXPECT_EQ(c.read(0x100), 0x11);
    c.latch_count(0x200);
    EXPECT_EQ(c.read(0x900), 0x10);
}

class PitTest : public ::testing::Test {
protected:
    std::unique_ptr<base::EventLoop> loop = std::move(*base::EventLoop::create());
    std::atomic<int> rises{0};
    int after = 3;
    Pit pit{*loop, [this](bool level) {
                if (level && ++rises == after) loop->stop();
            }};
    void rate(u8 mode, u16 n) {
        pit.write(0x43, static_cast<u8>(0x30 | mode << 1));
        pit.write(0x40, static_cast<u8>(n));
        pit.write(0x40, static_cast<u8>(n >> 8));
    }
};

TEST_F(PitTest, Counter0InterruptsPeriodically) {
    after = 4;  // in mode 2 the output is high from the start
    rate(2, 1193);
    const u64 start = base::monotonic_ns();
    loop->run();
    EXPECT_GE(base::monotonic_ns() - start, 2'900'000u);
    EXPECT_EQ(rises, 4);
}

TEST_F(PitTest, Mode0InterruptsOnce) {
    after = 1;
    rate(0, 1193);
    loop->run();
    EXPECT_EQ(rises, 1);
    rate(0, 2386);
    after = 2;
    loop->run();
    EXPECT_EQ(rises, 2);
}

TEST_F(PitTest, CalibrationThroughPort61) {
    pit.write(0x61, 1);
    EXPECT_EQ(pit.read(0x61) & 3, 1);
    pit.write(0x43, 0xb0);
    const u64 start = base::monotonic_ns();
    pit.write(0x42, 0xa9);  // 11945 ticks: 10.01 ms
    pit.write(0x42, 0x2e);
    unsigned refreshes = 0;
    u8 last = pit.read(0x61);
    while (!(last & 0x20) && base::monotonic_ns() - start < 5'000'000'000) {
        const u8 now = pit.read(0x61);
        refreshes += (now ^ last) >> 4 & 1;
        last = now;
    }
    const u64 took = base::monotonic_ns() - start;
    EXPECT_GE(took, 10'009'000u);
    EXPECT_GT(refreshes, 50u);
    EXPECT_LT(refreshes, 700u);
    EXPECT_EQ(rises, 0);
}

TEST_F(PitTest, ReadBackOfSeveralCounters) {
    pit.write(0x43, 0x34);
    pit.write(0x40, 0x00);
    pit.write(0x40, 0x80);
    pit.write(0x43, 0xb6);
    pit.write(0x43, 0xea);  // status only (bit 4 clear, bit 5 set), counters 0 and 2
    EXPECT_EQ(pit.read(0x40) & 0x3f, 0x34);
    EXPECT_EQ(pit.read(0x42) & 0x7f, 0x76);
    pit.write(0x43, 0xd2);  // count only, counter 0
    const u8 low = pit.read(0x40);
    const u16 n = static_cast<u16>(low | pit.read(0x40) << 8);
    EXPECT_LE(n, 0x8000);
}

}  // namespace
}  // namespace triune::hypervisor::soft::irqchip
