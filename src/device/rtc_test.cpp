// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "device/rtc.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

namespace triune::device {
namespace {

using namespace std::chrono_literals;
constexpr i64 second = 1'000'000'000;

struct Line : bus::IrqLine {
    void set(bool l) override {
        level = l;
        if (l) ++edges;
    }
    std::atomic<bool> level = false;
    std::atomic<int> edges = 0;
};

struct RtcTest : testing::Test {
    static i64 at(int y, unsigned m, unsigned d, int hh, int mm, int ss) {
        using namespace std::chrono;
        const sys_days days{year{y} / month{m} / day{d}};
        return (i64{days.time_since_epoch().count()} * 86400 + hh * 3600 + mm * 60 + ss) * second;
    }
    u8 get(u8 index) {
        bus::RegisterBlock& r = rtc;
        r.write(0, index, 1);
        return static_cast<u8>(r.read(1, 1));
    }
    void put(u8 index, u8 v) {
        bus::RegisterBlock& r = rtc;
        r.write(0, index, 1);
        r.write(1, v, 1);
    }
    void expect_time(int y, int mo, int d, int wd, int h, int mi, int s) {
        const auto bcd = [](int v) { return v / 10 << 4 | v % 10; };
        EXPECT_EQ(get(0), bcd(s));
        EXPECT_EQ(get(2), bcd(mi));
        EXPECT_EQ(get(4), bcd(h));
        EXPECT_EQ(get(6), wd);
        EXPECT_EQ(get(7), bcd(d));
        EXPECT_EQ(get(8), bcd(mo));
        EXPECT_EQ(get(9), bcd(y % 100));
        EXPECT_EQ(get(0x32), bcd(y / 100));
    }
    std::unique_ptr<base::EventLoop> loop = base::EventLoop::create().value();
    Line irq;
    std::atomic<i64> now = at(2024, 2, 29, 23, 59, 58) + second / 2;
    Rtc rtc{irq, *loop, [this] { return now.load(); }};
};

TEST_F(RtcTest, TellsUtcInBcd) {
    expect_time(2024, 2, 29, 5, 23, 59, 58);
    now += 2 * second;
    expect_time(2024, 3, 1, 6, 0, 0, 0);
    EXPECT_EQ(get(0x0d), 0x80);
    EXPECT_EQ(get(0x8d), 0x80) << "the NMI mask bit is no part of the index";
    EXPECT_EQ(get(0x0b), 0x02);
    EXPECT_EQ(get(0x0a), 0x26);
}

TEST_F(RtcTest, BinaryAndTwelveHourFormats) {
    put(0x0b, 0x06);
    EXPECT_EQ(get(4), 23);
    EXPECT_EQ(get(2), 59);
    put(0x0b, 0x04);
    EXPECT_EQ(get(4), 0x80 | 11);
    put(0x0b, 0x00);
    EXPECT_EQ(get(4), 0x80 | 0x11);
    now += 2 * second;
    EXPECT_EQ(get(4), 0x12) << "midnight is 12 AM";
    now += 12 * 3600 * second;
    EXPECT_EQ(get(4), 0x92) << "noon is 12 PM";
}

TEST_F(RtcTest, GuestSetsTheClock) {
    put(0x0b, 0x82);
    now += 3 * second;
    EXPECT_EQ(get(0), 0x58) << "held while SET";
    put(0, 0x30);
    put(2, 0x20);
    put(4, 0x10);
    put(7, 0x31);
    put(8, 0x12);
    put(9, 0x99);
    put(0x32, 0x19);
    put(0x0b, 0x02);
    expect_time(1999, 12, 31, 6, 10, 20, 30);
    now += second;
    EXPECT_EQ(get(0), 0x31);
    // And byte by byte without SET.
    put(2, 0x55);
    EXPECT_EQ(get(2), 0x55);
    EXPECT_EQ(get(0), 0x31);
    now += 5 * 60 * second;
    expect_time(1999, 12, 31, 6, 11, 0, 31);
}

TEST_F(RtcTest, GarbageTimesAreSurvived) {
    for (const int v : {0x00, 0x0f, 0x99, 0xff, 0x7f, 0x80}) {
        put(0x0b, 0x82);
        for (const int r : {0, 2, 4, 6, 7, 8, 9, 0x32}) put(static_cast<u8>(r), static_cast<u8>(v));
        put(0x0b, 0x02);
        for (int r = 0; r < 128; ++r) (void)get(static_cast<u8>(r));
        now += second;
        EXPECT_LE(get(0), 0x59);
        EXPECT_LE(get(7), 0x31);
        EXPECT_LE(get(8), 0x12);
    }
}

// Years that 64 bits of nanoseconds since 1970 do not reach.
TEST_F(RtcTest, ClockAndAlarmInEveryYear) {
    for (const int y : {0, 1600, 2300, 9999}) {
        put(0xb, 0x82);
        put(9, static_cast<u8>(y / 10 % 10 << 4 | y % 10));
        put(0x32, static_cast<u8>(y / 1000 << 4 | y / 100 % 10));
        put(8, 1), put(7, 1), put(4, 0x12), put(2, 0), put(0, 0);
        put(1, 2), put(3, 0), put(5, 0x12);  // the alarm: 12:00:02
        put(0xb, 2);
        get(0xc);
        now += second;
        EXPECT_EQ(get(0xc) & 0x20, 0) << y;
        now += second;
        EXPECT_EQ(get(0xc) & 0x20, 0x20) << y;
        EXPECT_EQ(get(0), 2) << y;
        EXPECT_EQ(get(9), y / 10 % 10 << 4 | y % 10);
        EXPECT_EQ(get(0x32), y / 1000 << 4 | y / 100 % 10);
    }
}

TEST_F(RtcTest, UpdateInProgress) {
    now = at(2024, 1, 1, 0, 0, 0);
    EXPECT_FALSE(get(0x0a) & 0x80);
    now += second - 1'000'000;
    EXPECT_TRUE(get(0x0a) & 0x80);
    put(0x0b, 0x82);
    EXPECT_FALSE(get(0x0a) & 0x80) << "no updates while SET";
}

TEST_F(RtcTest, FlagsWithoutInterrupts) {
    EXPECT_EQ(get(0x0c), 0);
    now += second;
    EXPECT_EQ(get(0x0c) & 0x50, 0x50) << "update and periodic";
    EXPECT_EQ(get(0x0c), 0) << "reading clears";
    EXPECT_EQ(irq.edges, 0);
    now += 300'000;
    EXPECT_EQ(get(0x0c), 0);
    now += 700'000;
    EXPECT_EQ(get(0x0c), 0x40) << "1024 Hz";
}

TEST_F(RtcTest, AlarmMatchesWithWildcards) {
    put(1, 0x05);
    put(3, 0x30);
    put(5, 0x07);
    now = at(2024, 3, 1, 7, 30, 4);
    (void)get(0x0c);
    now += second;
    EXPECT_TRUE(get(0x0c) & 0x20);
    now += second;
    EXPECT_FALSE(get(0x0c) & 0x20);
    now += 86399 * second - 1;
    EXPECT_FALSE(get(0x0c) & 0x20);
    now += 1;
    EXPECT_TRUE(get(0x0c) & 0x20) << "a day later";
    put(1, 0xff);
    put(3, 0xc0);
    put(5, 0xff);
    now += second;
    EXPECT_TRUE(get(0x0c) & 0x20) << "every second";
    put(5, 0x77);  // no such hour
    (void)get(0x0c);
    now += 3 * 86400 * second;
    EXPECT_FALSE(get(0x0c) & 0x20);
}

TEST_F(RtcTest, LineFollowsEnabledFlags) {
    put(0x0b, 0x12);
    now += second;
    put(0x0b, 0x12);  // any access finds out; here no loop is running
    EXPECT_TRUE(irq.level);
    EXPECT_EQ(get(0x0c) & 0x90, 0x90);
    EXPECT_FALSE(irq.level);
    rtc.reset();
    now += second;
    put(0x0e, 0);
    EXPECT_FALSE(irq.level) << "reset disables";
    put(0x0b, 0x92);
    EXPECT_EQ(get(0x0b), 0x82) << "SET clears the update interrupt enable";
}

TEST_F(RtcTest, CmosMemory) {
    put(0x40, 0xa5);
    put(0x7f, 0x5a);
    EXPECT_EQ(get(0x40), 0xa5);
    EXPECT_EQ(get(0x7f), 0x5a);
    rtc.set_memory_size(u64{3} << 30, u64{1} << 30);
    EXPECT_EQ(get(0x15) | get(0x16) << 8, 640);
    EXPECT_EQ(get(0x17) | get(0x18) << 8, 0xffff);
    EXPECT_EQ(get(0x34) | get(0x35) << 8, 0xbf00);
    EXPECT_EQ(get(0x5b) | get(0x5c) << 8 | get(0x5d) << 16, 0x4000);
    rtc.set_memory_size(8 << 20, 0);
    EXPECT_EQ(get(0x30) | get(0x31) << 8, 7 << 10);
    EXPECT_EQ(get(0x34) | get(0x35) << 8, 0);
}

TEST(RtcOnTheLoop, PeriodicAndUpdateInterruptsArrive) {
    auto loop = base::EventLoop::create().value();
    Line irq;
    Rtc rtc(irq, *loop);
    std::thread thread([&] { loop->run(); });
    bus::RegisterBlock& r = rtc;
    r.write(0, 0x0b, 1);
    r.write(1, 0x42, 1);  // 1024 Hz
    int seen = 0;
    const auto end = std::chrono::steady_clock::now() + 5s;
    while (seen < 20 && std::chrono::steady_clock::now() < end) {
        if (!irq.level) continue;
        r.write(0, 0x0c, 1);
        EXPECT_EQ(r.read(1, 1) & 0xc0, 0xc0u);
        ++seen;
    }
    EXPECT_EQ(seen, 20);
    r.write(0, 0x0b, 1);
    r.write(1, 0x12, 1);
    r.write(0, 0x0c, 1);
    (void)r.read(1, 1);
    while (!irq.level && std::chrono::steady_clock::now() < end) std::this_thread::sleep_for(1ms);
    EXPECT_TRUE(irq.level);
    EXPECT_EQ(r.read(1, 1) & 0x90, 0x90u);
    loop->stop();
    thread.join();
}

}  // namespace
}  // namespace triune::device
