// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "device/virtio_console.h"

#include <gtest/gtest.h>

#include "device/virtio_test_driver.h"

namespace triune::device {
namespace {

using test::TestDriver;

class FakeChars final : public backend::CharBackend {
public:
    void write(std::span<const u8> bytes) override {
        const std::lock_guard lock(mutex_);
        output_.append(bytes.begin(), bytes.end());
    }
    void on_input(Input receiver) override { receiver_ = std::move(receiver); }
    void resume_input() override { resumed++; }

    size_t type(const std::string& s) { return receiver_({reinterpret_cast<const u8*>(s.data()), s.size()}); }
    std::string output() {
        const std::lock_guard lock(mutex_);
        return output_;
    }
    std::atomic<int> resumed{0};

private:
    std::mutex mutex_;
    std::string output_;
    Input receiver_;
};

struct Rig {
    Rig() : console(*m.memory, chars), d(m, console, 7) {
        ready = d.negotiate(TestDriver::version_1 | virtio_feature::event_idx);
        d.enable_msix();
        rx.emplace(d.make_queue(0, 0x10000, 8));
        tx.emplace(d.make_queue(1, 0x20000, 8));
        d.start();
    }
    std::string get(Gpa at, size_t n) {
        std::string s(n, 0);
        ready = ready && m.memory->read(at, s.data(), n);
        return s;
    }
    test::TestMachine m;
    FakeChars chars;
    VirtioConsole console;
    TestDriver d;
    std::optional<test::TestRing> rx, tx;
    bool ready = false;
};

TEST(VirtioConsole, Output) {
    Rig r;
    ASSERT_TRUE(r.ready);
    ASSERT_TRUE(r.m.memory->write(0x1000, "hello, world", 12));
    r.tx->add(0, {{0x1000, 7, false}, {0x1007, 5, false}});
    r.d.kick(1);
    ASSERT_TRUE(r.tx->wait_used(1));
    EXPECT_EQ(r.chars.output(), "hello, world");
    EXPECT_TRUE(r.m.msi.wait(0x42, 1));
}

TEST(VirtioConsole, InputFillsBuffersAndWaitsForMore) {
    Rig r;
    EXPECT_EQ(r.chars.type("early"), 0U) << "no buffers yet";
    r.rx->add(0, {{0x1000, 4, true}});
    r.rx->add(1, {{0x2000, 4, true}});
    const int before = r.chars.resumed;
    r.d.kick(0);
    EXPECT_EQ(r.chars.resumed, before + 1);
    EXPECT_EQ(r.chars.type("123456789"), 8U);
    EXPECT_EQ(r.rx->avail_event(), 2) << "asks to be told of the next buffer";
    EXPECT_EQ(r.get(0x1000, 4) + r.get(0x2000, 4), "12345678");
    EXPECT_EQ(r.rx->used_entry(1), (std::pair<u32, u32>{1, 4}));
    EXPECT_EQ(r.m.msi.count(0x41), 1U);
}

TEST(VirtioConsole, InputWithoutADriverIsLost) {
    Rig r;
    r.d.set_status(0);
    EXPECT_EQ(r.chars.type("abc"), 3U);
}

TEST(VirtioConsole, HostileRingsNeedReset) {
    Rig r;
    r.rx->offer(77);
    EXPECT_EQ(r.chars.type("abc"), 3U);
    EXPECT_TRUE(r.d.status() & TestDriver::needs_reset);
    Rig e;
    e.rx->add(0, {{0x1000, 4, false}});
    EXPECT_EQ(e.chars.type("abc"), 3U);
    EXPECT_TRUE(e.d.status() & TestDriver::needs_reset) << "nothing to write to";
    Rig s;
    s.tx->add(0, {{u64{1} << 60, 10, false}});
    s.d.kick(1);
    EXPECT_TRUE(s.d.wait_status(TestDriver::needs_reset));
    EXPECT_EQ(s.chars.output(), "");
}

}  // namespace
}  // namespace triune::device
