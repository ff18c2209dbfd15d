// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "device/virtio_queue.h"

#include <gtest/gtest.h>

#include "device/virtio_test_driver.h"

namespace triune::device {
namespace {

using test::Piece;
using test::TestMachine;
using test::TestRing;
using Pop = VirtioQueue::Pop;

constexpr u16 next = 1, writable = 2, indirect = 4;

class VirtioQueueTest : public testing::Test {
protected:
    void configure(u64 features = 0, u16 size = 8) {
        ring.emplace(*m.memory, 0x10000, size);
        ASSERT_TRUE(q.configure({size, ring->descriptors(), ring->avail(), ring->used()}, features));
    }
    void put(Gpa at, const std::string& s) { ASSERT_TRUE(m.memory->write(at, s.data(), s.size())); }
    std::string get(Gpa at, size_t n) {
        std::string s(n, 0);
        EXPECT_TRUE(m.memory->read(at, s.data(), n));
        return s;
    }
    void expect_broken() {
        EXPECT_EQ(q.pop(c), Pop::broken);
        EXPECT_TRUE(q.broken());
        EXPECT_EQ(q.pop(c), Pop::broken) << "broken is final";
        EXPECT_EQ(ring->used_index(), 0);
    }

    TestMachine m;
    VirtioQueue q{*m.memory};
    std::optional<TestRing> ring;
    VirtioChain c;
};

TEST_F(VirtioQueueTest, ChainOfThree) {
    configure();
    EXPECT_EQ(q.pop(c), Pop::empty);
    put(0x1000, "head");
    put(0x2000, "body");
    ring->add(3, {{0x1000, 4}, {0x2000, 4}, {0x3000, 16, true}});
    ASSERT_EQ(q.pop(c), Pop::chain);
    EXPECT_EQ(c.head, 3);
    EXPECT_EQ(c.readable_size, 8U);
    EXPECT_EQ(c.writable_size, 16U);
    char text[9] = {};
    EXPECT_EQ(c.read(0, text, 8), 8U);
    EXPECT_STREQ(text, "headbody");
    EXPECT_EQ(c.read(2, text, 100), 6U);
    EXPECT_EQ(c.write(1, "xyz", 3), 3U);
    EXPECT_EQ(c.write(14, "xyz", 3), 2U) << "cut at the end";
    q.stage(c, 16);
    EXPECT_EQ(ring->used_index(), 0) << "not seen before publish()";
    q.publish();
    EXPECT_EQ(ring->used_index(), 1);
    EXPECT_EQ(ring->used_entry(0), (std::pair<u32, u32>{3, 16}));
    EXPECT_EQ(get(0x3001, 3), "xyz");
    EXPECT_EQ(q.pop(c), Pop::empty);
}

TEST_F(VirtioQueueTest, IndirectAfterDirect) {
    configure(virtio_feature::indirect_desc);
    put(0x1000, "ab");
    put(0x2000, "cd");
    ring->put_descriptor(0x4000, 0, 0x2000, 2, next, 2);
    ring->put_descriptor(0x4000, 2, 0x3000, 1, writable, 0);
    ring->put_descriptor(ring->descriptors(), 0, 0x1000, 2, next, 1);
    ring->put_descriptor(ring->descriptors(), 1, 0x4000, 3 * 16, indirect, 0);
    ring->offer(0);
    ASSERT_EQ(q.pop(c), Pop::chain);
    char text[5] = {};
    EXPECT_EQ(c.read(0, text, 4), 4U);
    EXPECT_STREQ(text, "abcd");
    EXPECT_EQ(c.writable_size, 1U);
}

TEST_F(VirtioQueueTest, BufferAcrossSlotsIsOneBuffer) {
    configure();
    const Gpa edge = TestMachine::ram_bytes / 2;
    ring->add(0, {{edge - 3, 8, true}});
    ASSERT_EQ(q.pop(c), Pop::chain);
    EXPECT_EQ(c.writable_size, 8U);
    EXPECT_EQ(c.write(0, "12345678", 8), 8U);
    EXPECT_EQ(get(edge - 3, 8), "12345678");
}

TEST_F(VirtioQueueTest, PushReportsDmaToCodeWatchers) {
    struct Watcher : memory::CodeWatcher {
        void code_written(Gpa gpa, u64 size) override { ranges.emplace_back(gpa, size); }
        std::vector<std::pair<Gpa, u64>> ranges;
    } watcher;
    m.memory->add_code_watcher(&watcher);
    configure();
    m.memory->page_flags(0x6000) |= memory::page_has_code;
    m.memory->page_flags(0x7000) |= memory::page_has_code;
    for (const Gpa page : {Gpa{0x5000}, Gpa{0x6000}, Gpa{0x7000}, ring->used()})
        m.memory->page_flags(page) |= memory::page_clean;
    ring->add(0, {{0x5ff0, 0x20, true}, {0x7000, 0x10, true}});
    ASSERT_EQ(q.pop(c), Pop::chain);
    q.push(c, 0x20);
    ASSERT_EQ(watcher.ranges.size(), 1U) << "only what was written: the second buffer was not";
    EXPECT_EQ(watcher.ranges[0].first & ~page_mask, 0x6000U);
    EXPECT_FALSE(m.memory->page_flags(0x5000) & memory::page_clean);
    EXPECT_FALSE(m.memory->page_flags(0x6000) & memory::page_clean);
    EXPECT_TRUE(m.memory->page_flags(0x7000) & memory::page_clean);
    EXPECT_FALSE(m.memory->page_flags(ring->used()) & memory::page_clean);
    m.memory->remove_code_watcher(&watcher);
}

TEST_F(VirtioQueueTest, UnpopGivesTheSameChainsAgain) {
    configure();
    ring->add(0, {{0x1000, 1, true}});
    ring->add(1, {{0x2000, 1, true}});
    ASSERT_EQ(q.pop(c), Pop::chain);
    ASSERT_EQ(q.pop(c), Pop::chain);
    q.unpop(2);
    ASSERT_EQ(q.pop(c), Pop::chain);
    EXPECT_EQ(c.head, 0);
}

TEST_F(VirtioQueueTest, IndexWrapsAround) {
    configure(virtio_feature::event_idx);
    u16 interrupts = 0;
    for (u32 i = 0; i < 70'000; i++) {
        ring->set_used_event(static_cast<u16>(i));
        ring->add(0, {{0x1000, 4, true}});
        ASSERT_EQ(q.pop(c), Pop::chain) << i;
        q.push(c, 4);
        interrupts = static_cast<u16>(interrupts + q.interrupt_needed());
    }
    EXPECT_EQ(interrupts, static_cast<u16>(70'000));
}

TEST_F(VirtioQueueTest, EventIndexSuppressesInterrupts) {
    configure(virtio_feature::event_idx);
    ring->set_used_event(2);  // wake me when the third is used
    for (int i = 0; i < 4; i++) {
        ring->add(0, {{0x1000, 4, true}});
        ASSERT_EQ(q.pop(c), Pop::chain);
        q.push(c, 4);
        EXPECT_EQ(q.interrupt_needed(), i == 2) << i;
    }
    EXPECT_FALSE(q.interrupt_needed()) << "nothing new";
}

TEST_F(VirtioQueueTest, FlagsSuppressWithoutEventIndex) {
    configure();
    ring->poke<u16>(ring->avail(), 1);
    ring->add(0, {{0x1000, 4, true}});
    ASSERT_EQ(q.pop(c), Pop::chain);
    q.push(c, 4);
    EXPECT_FALSE(q.interrupt_needed());
    ring->poke<u16>(ring->avail(), 0);
    ring->add(0, {{0x1000, 4, true}});
    ASSERT_EQ(q.pop(c), Pop::chain);
    q.push(c, 4);
    EXPECT_TRUE(q.interrupt_needed());

    q.disable_notifications();
    EXPECT_EQ(ring->used_flags(), 1);
    ring->add(0, {{0x1000, 4, true}});
    EXPECT_TRUE(q.enable_notifications()) << "it came before the driver could know";
    EXPECT_EQ(ring->used_flags(), 0);
}

TEST_F(VirtioQueueTest, EventIndexAsksForTheNextNotification) {
    configure(virtio_feature::event_idx);
    ring->add(0, {{0x1000, 4, true}});
    ASSERT_EQ(q.pop(c), Pop::chain);
    EXPECT_FALSE(q.enable_notifications());
    EXPECT_EQ(ring->avail_event(), 1);
}

TEST_F(VirtioQueueTest, RejectsBadRings) {
    const Gpa b = 0x10000;
    const auto refused = [&](u32 size, Gpa d, Gpa a, Gpa u) {
        const bool ok = q.configure({size, d, a, u}, 0);
        return !ok && q.pop(c) == Pop::broken;
    };
    EXPECT_TRUE(refused(0, b, b + 0x4000, b + 0x5000));
    EXPECT_TRUE(refused(6, b, b + 0x4000, b + 0x5000)) << "not a power of two";
    EXPECT_TRUE(refused(2048, b, b + 0x8000, b + 0xa000));
    EXPECT_TRUE(refused(8, b + 8, b + 0x4000, b + 0x5000)) << "alignment";
    EXPECT_TRUE(refused(8, b, b + 0x4001, b + 0x5000));
    EXPECT_TRUE(refused(8, b, b + 0x4000, b + 0x5002));
    EXPECT_TRUE(refused(8, TestMachine::ram_bytes - 64, b, b + 0x5000)) << "beyond RAM";
    EXPECT_TRUE(refused(8, ~u64{0} - 15, b, b + 0x5000));
    EXPECT_TRUE(refused(8, b, b + 0x4000, TestMachine::rom)) << "used ring in ROM";
    EXPECT_FALSE(refused(8, b, b + 0x4000, b + 0x5000));
}

TEST_F(VirtioQueueTest, CycleBreaks) {
    configure();
    ring->put_descriptor(ring->descriptors(), 0, 0x1000, 1, next, 1);
    ring->put_descriptor(ring->descriptors(), 1, 0x1000, 1, next, 0);
    ring->offer(0);
    expect_broken();
}

TEST_F(VirtioQueueTest, CycleOfEmptyDescriptorsBreaks) {
    configure(virtio_feature::indirect_desc);
    ring->put_descriptor(0x4000, 0, 0, 0, next, 0);
    ring->put_descriptor(ring->descriptors(), 0, 0x4000, 16 * 1024, indirect, 0);
    ring->offer(0);
    expect_broken();
}

TEST_F(VirtioQueueTest, BadHeadBreaks) {
    configure();
    ring->offer(8);
    expect_broken();
}

TEST_F(VirtioQueueTest, BadNextBreaks) {
    configure();
    ring->put_descriptor(ring->descriptors(), 0, 0x1000, 1, next, 0xffff);
    ring->offer(0);
    expect_broken();
}

TEST_F(VirtioQueueTest, JumpingIndexBreaks) {
    configure();
    ring->set_avail_index(9);
    expect_broken();
}

TEST_F(VirtioQueueTest, IndexGoingBackBreaks) {
    configure();
    ring->set_avail_index(0xffff);
    expect_broken();
}

TEST_F(VirtioQueueTest, BuffersOutsideRamBreak) {
    struct Case {
        u64 gpa;
        u32 size;
        bool write;
    };
    for (const Case& x :
         {Case{TestMachine::ram_bytes - 4, 8, false}, Case{~u64{0} - 3, 8, true},
          Case{~u64{0}, 0xffff'ffff, false}, Case{TestMachine::rom, 8, true}, Case{u64{1} << 63, 1, true},
          Case{TestMachine::rom + TestMachine::rom_bytes - 1, 2, false}}) {
        configure();
        ring->add(0, {{x.gpa, x.size, x.write}});
        EXPECT_EQ(q.pop(c), Pop::broken) << std::hex << x.gpa;
    }
    configure();
    ring->add(0, {{TestMachine::rom, 8, false}});
    EXPECT_EQ(q.pop(c), Pop::chain) << "ROM may be read";
}

TEST_F(VirtioQueueTest, ReadableAfterWritableBreaks) {
    configure();
    ring->add(0, {{0x1000, 1, true}, {0x2000, 1, false}});
    expect_broken();
}

TEST_F(VirtioQueueTest, ChainBeyondFourGigabytesBreaks) {
    configure(virtio_feature::indirect_desc);
    const u32 whole = TestMachine::ram_bytes;
    for (u16 i = 0; i < 1024; i++)
        ring->put_descriptor(0x40000, i, 0, whole, static_cast<u16>(i < 1023 ? next : 0),
                             static_cast<u16>(i + 1));
    ring->put_descriptor(ring->descriptors(), 0, 0x40000, 16 * 1024, indirect, 0);
    ring->offer(0);
    expect_broken();
}

TEST_F(VirtioQueueTest, BadIndirectTablesBreak) {
    const auto broken = [&](u64 features, u64 address, u32 length, u16 flags) {
        configure(features);
        ring->put_descriptor(ring->descriptors(), 0, address, length, flags, 1);
        ring->put_descriptor(ring->descriptors(), 1, 0x1000, 1, 0, 0);
        ring->offer(0);
        return q.pop(c) == Pop::broken;
    };
    constexpr u64 f = virtio_feature::indirect_desc;
    configure();
    ring->poke(0x4008, u32{1});
    ring->poke(0x4000, u64{0x1000});
    EXPECT_FALSE(broken(f, 0x4000, 16, indirect)) << "the good one";
    EXPECT_TRUE(broken(0, 0x4000, 16, indirect)) << "not negotiated";
    EXPECT_TRUE(broken(f, 0x4000, 16, indirect | next));
    EXPECT_TRUE(broken(f, 0x4000, 0, indirect));
    EXPECT_TRUE(broken(f, 0x4000, 17, indirect));
    EXPECT_TRUE(broken(f, 0x4000, 16 * 1025, indirect)) << "too long";
    EXPECT_TRUE(broken(f, TestMachine::ram_bytes - 16, 32, indirect));
    EXPECT_TRUE(broken(f, ~u64{0} - 15, 32, indirect));
    ring->poke<u16>(0x400c, indirect);
    ring->poke(0x4008, u32{16});
    EXPECT_TRUE(broken(f, 0x4000, 16, indirect)) << "nested";
}

}  // namespace
}  // namespace triune::device
