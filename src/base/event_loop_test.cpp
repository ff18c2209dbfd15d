// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "base/event_loop.h"

#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <thread>

#include "base/fd.h"

namespace triune::base {
namespace {

constexpr u64 ms = 1'000'000;

struct Pipe {
    Fd read, write;
    Pipe() {
        std::array<int, 2> p{};
        if (::pipe(p.data()) == 0) {
            read = Fd(p[0]);
            write = Fd(p[1]);
        }
    }
    void put() const { ASSERT_EQ(::write(write.get(), "x", 1), 1); }
    void get() const {
        char c = 0;
        ASSERT_EQ(::read(read.get(), &c, 1), 1);
    }
};

class EventLoopTest : public ::testing::Test {
protected:
    std::unique_ptr<EventLoop> loop = std::move(*EventLoop::create());
};

TEST_F(EventLoopTest, PostedFunctionsRunInOrderAndMayPost) {
    std::string order;
    loop->post([&] {
        order += 'a';
        loop->post([&] {
            order += 'c';
            loop->stop();
        });
    });
    loop->post([&] { order += 'b'; });
    loop->run();
    EXPECT_EQ(order, "abc");
}

TEST_F(EventLoopTest, StopBeforeRunIsNotLost) {
    loop->stop();
    loop->run();
    SUCCEED();
}

TEST_F(EventLoopTest, WatchedDescriptorCallsItsHandler) {
    const Pipe p;
    u32 seen = 0;
    loop->watch(p.read.get(), EPOLLIN, [&](u32 e) {
        seen = e;
        loop->stop();
    });
    p.put();
    loop->run();
    EXPECT_TRUE(seen & EPOLLIN);
    loop->unwatch(p.read.get());
}

TEST_F(EventLoopTest, WatchReplacesInterestAndHandler) {
    const Pipe p;
    int first = 0, second = 0;
    loop->watch(p.read.get(), EPOLLIN, [&](u32) { ++first; });
    loop->watch(p.read.get(), EPOLLIN, [&](u32) {
        ++second;
        p.get();
        loop->stop();
    });
    p.put();
    loop->run();
    EXPECT_EQ(first, 0);
    EXPECT_EQ(second, 1);
    loop->unwatch(p.read.get());
}

TEST_F(EventLoopTest, UnwatchedFromAnotherHandlerIsNotCalledInTheSameTurn) {
    const Pipe a, b;
    int calls = 0;
    const auto handler = [&](const Pipe& other) {
        return [&](u32) {
            ++calls;
            loop->unwatch(other.read.get());
            loop->post([&] { loop->stop(); });
        };
    };
    loop->watch(a.read.get(), EPOLLIN, handler(b));
    loop->watch(b.read.get(), EPOLLIN, handler(a));
    a.put();
    b.put();
    loop->run();
    EXPECT_EQ(calls, 1);
}

TEST_F(EventLoopTest, UnwatchFromAnotherThreadWaitsForTheCallUnderWay) {
    const Pipe p;
    std::atomic<bool> in_handler{false}, left_handler{false};
    loop->watch(p.read.get(), EPOLLIN, [&](u32) {
        in_handler = true;
        std::this_thread::sleep_for(std::chrono::milliseconds(30));
        left_handler = true;
    });
    std::thread t([&] { loop->run(); });
    p.put();
    while (!in_handler) std::this_thread::yield();
    loop->unwatch(p.read.get());
    EXPECT_TRUE(left_handler);
    loop->stop();
    t.join();
}

TEST_F(EventLoopTest, UnpollableDescriptorReportsAnError) {
    u32 seen = 0;
    loop->watch(-1, EPOLLIN, [&](u32 e) {
        seen = e;
        loop->stop();
    });
    loop->run();
    EXPECT_EQ(seen, static_cast<u32>(EPOLLERR));
}

TEST_F(EventLoopTest, TimersFireInOrderOfDeadlineAndNotEarly) {
    std::string order;
    const u64 start = monotonic_ns();
    u64 at_b = 0;
    auto b = loop->make_timer([&] {
        at_b = monotonic_ns();
        order += 'b';
        loop->stop();
    });
    auto a = loop->make_timer([&] { order += 'a'; });
    b->arm(start + 20 * ms);
    a->arm(start + 5 * ms);
    loop->run();
    EXPECT_EQ(order, "ab");
    EXPECT_GE(at_b, start + 20 * ms);
}

TEST_F(EventLoopTest, PassedDeadlineFiresAtOnce) {
    auto t = loop->make_timer([&] { loop->stop(); });
    t->arm(0);
    loop->run();
    t->arm(monotonic_ns() - 1);
    loop->run();
    SUCCEED();
}

TEST_F(EventLoopTest, ArmedLaterFiresOnceAtTheLaterTime) {
    int fired = 0;
    const u64 start = monotonic_ns();
    auto t = loop->make_timer([&] {
        ++fired;
        EXPECT_GE(monotonic_ns(), start + 30 * ms);
    });
    auto end = loop->make_timer([&] { loop->stop(); });
    t->arm(start + 5 * ms);
    t->arm(start + 30 * ms);
    end->arm(start + 50 * ms);
    loop->run();
    EXPECT_EQ(fired, 1);
}

TEST_F(EventLoopTest, ArmedEarlierFromAnotherThreadFiresEarlier) {
    u64 fired_at = 0;
    auto t = loop->make_timer([&] {
        fired_at = monotonic_ns();
        loop->stop();
    });
    const u64 start = monotonic_ns();
    t->arm(start + 10'000 * ms);
    std::thread runner([&] { loop->run(); });
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    t->arm(start + 20 * ms);
    runner.join();
    EXPECT_GE(fired_at, start + 20 * ms);
    EXPECT_LT(fired_at, start + 5'000 * ms);
}

TEST_F(EventLoopTest, DisarmedTimerStaysSilentAndCanBeArmedAgain) {
    int fired = 0;
    auto t = loop->make_timer([&] { ++fired; });
    auto end = loop->make_timer([&] { loop->stop(); });
    const u64 start = monotonic_ns();
    t->arm(start + 5 * ms);
    t->disarm();
    end->arm(start + 20 * ms);
    loop->run();
    EXPECT_EQ(fired, 0);
    t->arm(start);
    end->arm(monotonic_ns() + 5 * ms);
    loop->run();
    EXPECT_EQ(fired, 1);
}

TEST_F(EventLoopTest, TimerMayRearmAndDestroyItselfInItsHandler) {
    int fired = 0;
    std::unique_ptr<EventLoop::Timer> t;
    t = loop->make_timer([&] {
        if (++fired < 3) return t->arm(monotonic_ns() + ms);
        t.reset();
        loop->stop();
    });
    t->arm(0);
    loop->run();
    EXPECT_EQ(fired, 3);
    EXPECT_FALSE(t);
}

TEST_F(EventLoopTest, ManyThreadsArmAndPost) {
    std::atomic<int> posts{0}, fires{0};
    auto t = loop->make_timer([&] { ++fires; });
    std::thread runner([&] { loop->run(); });
    std::vector<std::thread> threads;
    for (int k = 0; k < 4; ++k)
        threads.emplace_back([&] {
            for (int n = 0; n < 500; ++n) {
                loop->post([&] { ++posts; });
                t->arm(monotonic_ns() + static_cast<u64>(n % 7) * 10'000);
            }
        });
    for (auto& th : threads) th.join();
    const u64 limit = monotonic_ns() + 2'000 * ms;
    while ((posts < 2000 || fires == 0) && monotonic_ns() < limit) std::this_thread::yield();
    loop->stop();
    runner.join();
    EXPECT_EQ(posts, 2000);
    EXPECT_GT(fires, 0);
}

}  // namespace
}  // namespace triune::base
