// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "device/virtio_net.h"

#include <gtest/gtest.h>

#include "device/virtio_test_driver.h"

namespace triune::device {
namespace {

using test::TestDriver;
using test::TestMachine;
using test::TestRing;

constexpr u64 checksum = 1 << 0, guest_checksum = 1 << 1, host_tso4 = 1 << 11, mergeable = 1 << 15;
constexpr backend::MacAddress mac = {0x52, 0x54, 0, 1, 2, 3};
constexpr Gpa rx_buffers = 0x100000, tx_buffers = 0x200000;
constexpr u64 header = 12;

/// A network whose thread is the test's: it acts when told to.
class FakeNet final : public backend::NetBackend {
public:
    void attach(backend::NetClient* c) override { client = c; }
    void kick() override { kicks++; }
    void send(std::span<const u8> frame) override { sent.emplace_back(frame.begin(), frame.end()); }
    u32 max_frame() const override { return 1514; }
    bool checksums_hold() const override { return true; }
    bool takes_large_segments() const override { return true; }

    bool deliver(size_t size, u8 fill) {
        const std::vector<u8> frame(size, fill);
        const bool taken = client->receive(frame);
        client->receive_done();
        return taken;
    }
    void run() { client->network_ready(); }

    backend::NetClient* client = nullptr;
    std::atomic<int> kicks{0};
    std::vector<std::vector<u8>> sent;
};

struct Rig {
    explicit Rig(u64 features = 0) : card(*m.memory, net, mac), d(m, card, 6) { restart(features); }
    void restart(u64 features) {
        ready = d.negotiate(TestDriver::version_1 | features);
        d.enable_msix();
        rx.emplace(d.make_queue(0, 0x10000, 16));
        tx.emplace(d.make_queue(1, 0x20000, 16));
        d.start();
    }
    void add_buffer(u16 i, u32 size) { rx->add(i, {{rx_buffers + u64{i} * 0x1000, size, true}}); }

    TestMachine m;
    FakeNet net;
    VirtioNet card;
    TestDriver d;
    std::optional<TestRing> rx, tx;
    bool ready = false;
};

TEST(VirtioNet, Configuration) {
    Rig r;
    ASSERT_TRUE(r.ready);
    for (unsigned i = 0; i < 6; i++) EXPECT_EQ(r.d.read(r.d.device + i, 1), mac[i]);
    EXPECT_EQ(r.d.read(r.d.device + 6, 2), 1U) << "link up";
}

TEST(VirtioNet, SendsFrames) {
    Rig r;
    std::vector<u8> packet(header + 60, 7);
    std::fill_n(packet.begin(), header, 0);
    ASSERT_TRUE(r.m.memory->write(tx_buffers, packet.data(), packet.size()));
    r.tx->add(0, {{tx_buffers, static_cast<u32>(packet.size()), false}});
    r.tx->add(
        1, {{tx_buffers, header, false}, {tx_buffers + header, 20, false}, {tx_buffers + header, 22, false}});
    r.tx->add(4, {{tx_buffers, 3, false}});  // less than a header: dropped
    const int before = r.net.kicks;
    r.d.kick(1);
    EXPECT_EQ(r.net.kicks, before + 1);
    EXPECT_TRUE(r.net.sent.empty()) << "nothing is sent on the vCPU's thread";
    r.net.run();
    ASSERT_EQ(r.net.sent.size(), 2U);
    EXPECT_EQ(r.net.sent[0], std::vector<u8>(60, 7));
    EXPECT_EQ(r.net.sent[1], std::vector<u8>(42, 7));
    EXPECT_EQ(r.tx->used_index(), 3);
    EXPECT_EQ(r.m.msi.count(0x42), 1U) << "one interrupt for the batch";
}

/// Header, then `size` bytes 1, 2, 3…; gives what the device sends on, or nothing.
std::vector<u8> sent_with(u64 features, u8 flags, u8 gso, u16 start, u16 offset, u32 size) {
    Rig r(features);
    std::vector<u8> packet(header + size);
    packet[0] = flags, packet[1] = gso;
    std::memcpy(&packet[6], &start, 2);
    std::memcpy(&packet[8], &offset, 2);
    for (u32 i = 0; i < size; i++) packet[header + i] = static_cast<u8>(i + 1);
    EXPECT_TRUE(r.ready && r.m.memory->write(tx_buffers, packet.data(), packet.size()));
    r.tx->add(0, {{tx_buffers, static_cast<u32>(packet.size()), false}});
    r.d.kick(1);
    r.net.run();
    EXPECT_EQ(r.tx->used_index(), 1);
    return r.net.sent.empty() ? std::vector<u8>() : r.net.sent[0];
}

TEST(VirtioNet, CompletesChecksums) {
    for (const u32 size : {10U, 11U, 1501U, 60'000U}) {
        const auto frame = sent_with(checksum | host_tso4, 1, size > 1514 ? 1 : 0, 3, 2, size);
        ASSERT_EQ(frame.size(), size);
        // RFC 1071, written down differently: 16-bit words in network order, carries added at once.
        u32 sum = 0;
        for (u32 i = 3; i < size; i++) {
            const u32 byte = static_cast<u8>(i + 1);
            sum += (i - 3) % 2 ? byte : byte << 8;
            sum = (sum & 0xffff) + (sum >> 16);
        }
        EXPECT_EQ(frame[5] << 8 | frame[6], static_cast<u16>(~sum)) << size;
        EXPECT_EQ(frame[4], 5);
        EXPECT_EQ(frame[7], 8);
    }
}

TEST(VirtioNet, DropsImpossibleOffloads) {
    EXPECT_EQ(sent_with(checksum, 1, 0, 8, 0, 10).size(), 10U) << "the last two bytes: possible";
    EXPECT_TRUE(sent_with(checksum, 1, 0, 9, 0, 10).empty());
    EXPECT_TRUE(sent_with(checksum, 1, 0, 0xffff, 0xffff, 10).empty());
    EXPECT_TRUE(sent_with(checksum, 1, 0, 0, 0xffff, 10).empty());
    EXPECT_TRUE(sent_with(checksum, 1, 1, 3, 2, 100).empty()) << "segmentation was not agreed on";
    EXPECT_TRUE(sent_with(checksum | host_tso4, 0, 1, 3, 2, 100).empty()) << "and needs a checksum";
    EXPECT_TRUE(sent_with(checksum | host_tso4, 1, 3, 3, 2, 100).empty()) << "UDP fragmentation";
    const auto plain = sent_with(0, 1, 1, 3, 2, 100);
    ASSERT_EQ(plain.size(), 100U);
    EXPECT_EQ(plain[5], 6) << "nothing agreed on, nothing done";
}

TEST(VirtioNet, VouchesForChecksumsIfAgreed) {
    for (const u64 f : {u64{0}, guest_checksum}) {
        Rig r(f);
        r.add_buffer(0, 1526);
        EXPECT_TRUE(r.net.deliver(100, 9));
        EXPECT_EQ(r.rx->peek<u8>(rx_buffers), f ? 2 : 0);
    }
}

TEST(VirtioNet, ReceivesOneFrameABuffer) {
    Rig r;
    r.add_buffer(0, 1526);
    EXPECT_TRUE(r.net.deliver(100, 9));
    EXPECT_EQ(r.rx->used_entry(0), (std::pair<u32, u32>{0, 112}));
    EXPECT_EQ(r.rx->peek<u16>(rx_buffers + 10), 1) << "num_buffers";
    EXPECT_EQ(r.rx->peek<u8>(rx_buffers + 12), 9);
    EXPECT_EQ(r.rx->peek<u8>(rx_buffers + 111), 9);
    EXPECT_EQ(r.rx->peek<u8>(rx_buffers + 112), 0);
    EXPECT_EQ(r.m.msi.count(0x41), 1U);
}

TEST(VirtioNet, MergesBuffers) {
    Rig r(mergeable);
    for (u16 i = 0; i < 4; i++) r.add_buffer(i, 512);
    EXPECT_TRUE(r.net.deliver(1400, 5));
    ASSERT_EQ(r.rx->used_index(), 3);
    EXPECT_EQ(r.rx->peek<u16>(rx_buffers + 10), 3);
    EXPECT_EQ(r.rx->used_entry(0).second, 512U);
    EXPECT_EQ(r.rx->used_entry(1).second, 512U);
    EXPECT_EQ(r.rx->used_entry(2).second, 1412U - 1024);
}

TEST(VirtioNet, RefusesWithoutRoomAndAsksForANotification) {
    for (const u64 f :
         {u64{0}, mergeable, virtio_feature::event_idx, mergeable | virtio_feature::event_idx}) {
        Rig r(f);
        EXPECT_FALSE(r.net.deliver(100, 1));
        if (f & mergeable) {
            r.add_buffer(0, 64);
            EXPECT_FALSE(r.net.deliver(100, 1)) << "too little for this frame";
            EXPECT_EQ(r.rx->used_index(), 0) << "and the buffer is kept";
        }
        if (f & virtio_feature::event_idx)
            EXPECT_EQ(r.rx->avail_event(), f & mergeable ? 1 : 0);
        else
            EXPECT_EQ(r.rx->used_flags(), 0);
        r.add_buffer(1, 1526);
        const int before = r.net.kicks;
        r.d.kick(0);
        EXPECT_EQ(r.net.kicks, before + 1);
        EXPECT_TRUE(r.net.deliver(100, 1));
    }
}

TEST(VirtioNet, DropsWhatDoesNotFitTheDriver) {
    Rig r;
    r.add_buffer(0, 64);
    EXPECT_TRUE(r.net.deliver(1000, 1));
    EXPECT_EQ(r.rx->used_entry(0).second, 0U);
    EXPECT_TRUE(r.net.deliver(4000, 1)) << "larger than announced";
    EXPECT_EQ(r.rx->used_index(), 1);
}

TEST(VirtioNet, DropsWithoutADriver) {
    Rig r;
    r.d.set_status(0);
    EXPECT_TRUE(r.net.deliver(100, 1));
    r.net.run();
    r.restart(0);
    r.add_buffer(0, 1526);
    EXPECT_TRUE(r.net.deliver(100, 1));
    EXPECT_EQ(r.rx->used_index(), 1);
}

TEST(VirtioNet, HostileRingsNeedReset) {
    {
        Rig r;
        r.rx->offer(200);
        EXPECT_TRUE(r.net.deliver(100, 1));
        EXPECT_TRUE(r.d.status() & TestDriver::needs_reset);
    }
    Rig r;
    r.tx->add(0, {{~u64{0} - 10, 100, false}});
    r.d.kick(1);
    r.net.run();
    EXPECT_TRUE(r.d.status() & TestDriver::needs_reset);
    EXPECT_TRUE(r.net.sent.empty());
}

}  // namespace
}  // namespace triune::device
