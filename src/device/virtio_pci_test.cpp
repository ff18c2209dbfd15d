// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "device/virtio_pci.h"

#include <gtest/gtest.h>

#include <map>
#include <thread>

#include "device/virtio_test_driver.h"

namespace triune::device {
namespace {

using test::TestDriver;
using test::TestMachine;

constexpr u64 feature_a = 1 << 3;

/// Answers each request at once with the byte 'x', on the caller's thread.
class Echo final : public VirtioPci {
public:
    explicit Echo(memory::GuestMemory& m)
        : VirtioPci(m, {.type = 42,
                        .class_code = 0x00ff00,
                        .features = feature_a,
                        .queue_sizes = {16, 8},
                        .config = {0x11, 0x22, 0x33, 0x44, 0x55}}) {}
    ~Echo() override { shut_down(); }

    void activated() override { activations++; }
    void notified(unsigned q) override {
        notifications++;
        VirtioChain c;
        for (;;) {
            switch (queue(q).pop(c)) {
                case VirtioQueue::Pop::empty: return;
                case VirtioQueue::Pop::broken: return needs_reset();
                case VirtioQueue::Pop::chain: break;
            }
            queue(q).push(c, c.write(0, "x", 1));
            interrupt_if_needed(q);
        }
    }
    void quiesce() override { quiesces++; }
    using VirtioPci::features;

    int activations = 0, notifications = 0, quiesces = 0;
};

class VirtioPciTest : public testing::Test {
protected:
    static constexpr unsigned slot = 5;
    static constexpr u64 all = TestDriver::version_1 | virtio_feature::event_idx;
    bool level() { return m.intx[slot % bus::pci_gsi_count].level(); }

    TestMachine m;
    Echo echo{*m.memory};
    TestDriver d{m, echo, slot};
};

TEST_F(VirtioPciTest, IsFoundAsAModernDevice) {
    ASSERT_TRUE(m.ok && d.attached);
    EXPECT_EQ(d.config_read(0, 4), (0x1040U + 42) << 16 | 0x1af4U);
    EXPECT_GE(d.config_read(8, 1), 1U);
    EXPECT_TRUE(d.common && d.notify && d.isr && d.device && d.window && d.msix_capability);
    EXPECT_EQ(d.read(d.common + 18, 2), 2U);
    EXPECT_EQ(d.device_features(), feature_a | virtio_feature::version_1 | virtio_feature::event_idx |
                                       virtio_feature::indirect_desc);
    EXPECT_EQ(d.read(d.device, 4), 0x44332211U);
    EXPECT_EQ(d.read(d.device + 3, 2), 0x5544U);
    EXPECT_EQ(d.read(d.device + 4, 4), 0x55U) << "beyond the end: zeros";
    d.write(d.device, 0xff, 1);
    EXPECT_EQ(d.read(d.device, 1), 0x11U);
}

TEST_F(VirtioPciTest, FeatureNegotiation) {
    EXPECT_TRUE(d.negotiate(all | feature_a));
    EXPECT_FALSE(d.negotiate(feature_a)) << "VERSION_1 is a must";
    EXPECT_FALSE(d.negotiate(all | 1 << 4)) << "never offered";
    d.start();
    EXPECT_FALSE(d.status() & TestDriver::driver_ok) << "no DRIVER_OK without FEATURES_OK";
    EXPECT_EQ(echo.activations, 0);
}

TEST_F(VirtioPciTest, QueueRegisters) {
    ASSERT_TRUE(d.negotiate(all));
    d.write(d.common + 22, 1, 2);
    EXPECT_EQ(d.read(d.common + 24, 2), 8U);
    d.write(d.common + 24, 9, 2);
    EXPECT_EQ(d.read(d.common + 24, 2), 8U) << "larger than offered";
    d.write(d.common + 24, 4, 2);
    EXPECT_EQ(d.read(d.common + 24, 2), 4U);
    d.write(d.common + 32, 0x1122'3344'5566'7780, 8);
    EXPECT_EQ(d.read(d.common + 36, 4), 0x11223344U);
    EXPECT_EQ(d.read(d.common + 32, 4), 0x55667780U);
    d.write(d.common + 26, 2, 2);
    EXPECT_EQ(d.read(d.common + 26, 2), 2U);
    d.write(d.common + 26, 3, 2);
    EXPECT_EQ(d.read(d.common + 26, 2), 0xffffU) << "no such vector";
    d.write(d.common + 22, 2, 2);
    EXPECT_EQ(d.read(d.common + 24, 2), 0U) << "no such queue";
    d.write(d.common + 28, 1, 2);
    EXPECT_EQ(d.read(d.common + 28, 2), 0U);
    d.set_status(0);
    d.write(d.common + 22, 1, 2);
    EXPECT_EQ(d.read(d.common + 24, 2), 8U) << "reset";
    EXPECT_EQ(d.read(d.common + 36, 4), 0U);
}

TEST_F(VirtioPciTest, ServesRequestsWithMsix) {
    ASSERT_TRUE(d.negotiate(all));
    d.enable_msix();
    auto r0 = d.make_queue(0, 0x10000, 16);
    auto r1 = d.make_queue(1, 0x20000, 8);
    r0.add(0, {{0x1000, 1, true}});
    d.kick(0);
    EXPECT_EQ(r0.used_index(), 0) << "not before DRIVER_OK";
    d.start();
    EXPECT_EQ(r0.used_index(), 1) << "what was queued before DRIVER_OK";
    EXPECT_EQ(m.msi.count(0x41), 1U);
    r1.add(2, {{0x2000, 1, true}});
    d.kick(1);
    EXPECT_EQ(r1.used_index(), 1);
    EXPECT_EQ(m.msi.count(0x42), 1U);
    EXPECT_EQ(r1.peek<char>(0x2000), 'x');
    EXPECT_FALSE(level());
    EXPECT_EQ(d.read(d.isr, 1), 0U);
}

TEST(VirtioPciDoorbells, SignalsAreNotifications) {
    struct Signals final : bus::WriteSignals {
        void add(u64 address, unsigned size, int fd) override {
            EXPECT_EQ(size, 2U);
            fds[address] = fd;
        }
        void remove(u64 address, unsigned, int) override { fds.erase(address); }
        void ring(u64 address) {
            const u64 one = 1;
            ASSERT_TRUE(fds.contains(address));
            ASSERT_EQ(::write(fds[address], &one, sizeof one), static_cast<ssize_t>(sizeof one));
        }
        std::map<u64, int> fds;
    } signals;
    auto loop = std::move(base::EventLoop::create().value());
    std::thread thread([&] { loop->run(); });
    {
        TestMachine m;
        m.pci->set_write_signals(&signals);
        Echo echo{*m.memory};
        echo.use_doorbells(*loop);
        TestDriver d{m, echo, 5};
        ASSERT_EQ(signals.fds.size(), 2U);
        ASSERT_TRUE(d.negotiate(TestDriver::version_1));
        auto r0 = d.make_queue(0, 0x10000, 16);
        auto r1 = d.make_queue(1, 0x20000, 8);
        signals.ring(d.notify);  // before DRIVER_OK: nobody listens
        d.start();
        r1.add(2, {{0x2000, 1, true}});
        signals.ring(d.notify + d.notify_multiplier);
        EXPECT_TRUE(r1.wait_used(1));
        r0.add(0, {{0x1000, 1, true}});
        signals.ring(d.notify);
        EXPECT_TRUE(r0.wait_used(1));
        signals.ring(d.notify);  // and the device goes at once
    }
    EXPECT_TRUE(signals.fds.empty());
    loop->stop();
    thread.join();
}

TEST_F(VirtioPciTest, FallsBackToIntx) {
    ASSERT_TRUE(d.negotiate(all));
    auto ring = d.make_queue(0, 0x10000, 16);
    d.start();
    ring.add(0, {{0x1000, 1, true}});
    d.kick(0);
    EXPECT_TRUE(level());
    EXPECT_EQ(d.read(d.isr, 1), 1U);
    EXPECT_FALSE(level()) << "reading ISR acknowledges";
    EXPECT_EQ(d.read(d.isr, 1), 0U);
}

TEST_F(VirtioPciTest, NoBusMasterNoDma) {
    ASSERT_TRUE(d.negotiate(all));
    auto ring = d.make_queue(0, 0x10000, 16);
    d.config_write(4, 2, 2);
    d.start();
    ring.add(0, {{0x1000, 1, true}});
    d.kick(0);
    EXPECT_EQ(ring.used_index(), 0);
}

TEST_F(VirtioPciTest, BrokenRingNeedsReset) {
    ASSERT_TRUE(d.negotiate(all));
    d.write(d.common + 16, 0, 2);  // configuration changes on vector 0
    d.enable_msix();
    auto ring = d.make_queue(0, 0x10000, 16);
    d.start();
    ring.offer(99);
    d.kick(0);
    EXPECT_TRUE(d.status() & TestDriver::needs_reset);
    EXPECT_EQ(m.msi.count(0x40), 1U);
    const int before = echo.notifications;
    d.kick(0);
    EXPECT_EQ(echo.notifications, before) << "deaf until reset";

    ASSERT_TRUE(d.negotiate(all));
    EXPECT_EQ(echo.quiesces, 1);
    auto again = d.make_queue(0, 0x10000, 16);
    d.start();
    again.add(0, {{0x1000, 1, true}});
    d.kick(0);
    EXPECT_EQ(again.used_index(), 1) << "works after reset";
}

TEST_F(VirtioPciTest, QueueOutsideRamNeedsReset) {
    ASSERT_TRUE(d.negotiate(all));
    d.set_queue(0, 16, u64{1} << 40, 0x4000, 0x5000);
    d.start();
    EXPECT_TRUE(d.status() & TestDriver::needs_reset);
}

TEST_F(VirtioPciTest, QueuesCannotMoveUnderARunningDevice) {
    ASSERT_TRUE(d.negotiate(all));
    d.make_queue(0, 0x10000, 16);
    d.start();
    d.write(d.common + 22, 0, 2);
    d.write(d.common + 32, 0xdead0000, 4);
    d.write(d.common + 24, 2, 2);
    EXPECT_EQ(d.read(d.common + 32, 4), 0x10000U);
    EXPECT_EQ(d.read(d.common + 24, 2), 16U);
}

TEST_F(VirtioPciTest, WindowInConfigurationSpace) {
    const auto point = [&](u64 address, unsigned size) {
        d.config_write(d.window + 4, VirtioPci::register_bar, 1);
        d.config_write(d.window + 8, static_cast<u32>(address - d.bar(VirtioPci::register_bar)), 4);
        d.config_write(d.window + 12, size, 4);
    };
    point(d.common + 20, 1);
    d.config_write(d.window + 16, TestDriver::acknowledge, 1);
    EXPECT_EQ(d.status(), TestDriver::acknowledge);
    EXPECT_EQ(d.config_read(d.window + 16, 1), TestDriver::acknowledge);
    point(d.device, 4);
    EXPECT_EQ(d.config_read(d.window + 16, 4), 0x44332211U);
    // Hostile settings do nothing.
    d.config_write(d.window + 8, 0xffff'fffe, 4);
    d.config_write(d.window + 12, 2, 4);
    d.config_read(d.window + 16, 4);
    d.config_write(d.window + 12, 0xffff'ffff, 4);
    d.config_read(d.window + 16, 4);
    d.config_write(d.window + 4, 1, 1);
    d.config_write(d.window + 16, 0, 4);
    EXPECT_EQ(d.status(), TestDriver::acknowledge);
}

TEST_F(VirtioPciTest, EveryRegisterSurvivesEveryAccess) {
    ASSERT_TRUE(d.negotiate(all));
    d.start();
    const u64 base = d.bar(VirtioPci::register_bar);
    u64 x = 88172645463325252;
    for (int i = 0; i < 200'000; i++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        const unsigned size = 1U << (x & 3);
        const u64 offset = (x >> 8 & 0x3fff) & ~u64{size - 1};
        const u64 folded = x & 4 ? offset & 0x3f : offset;
        if (x & 8)
            d.read(base + folded, size);
        else
            d.write(base + folded, x >> 20, size);
    }
    EXPECT_TRUE(d.negotiate(all)) << "still alive";
}

}  // namespace
}  // namespace triune::device
