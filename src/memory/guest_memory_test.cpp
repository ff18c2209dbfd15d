// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "memory/guest_memory.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <array>
#include <chrono>
#include <thread>

namespace triune::memory {
namespace {

std::unique_ptr<GuestMemory> make(u64 bytes) {
    auto m = GuestMemory::create(bytes);
    EXPECT_TRUE(m) << m.error().message;
    return std::move(*m);
}

struct Recorder : CodeWatcher {
    struct Range {
        Gpa gpa;
        u64 size;
        bool operator==(const Range&) const = default;
    };
    std::vector<Range> told;
    void code_written(Gpa gpa, u64 size) override { told.push_back({gpa, size}); }
};

TEST(GuestMemory, SizeMustBeWholePages) {
    EXPECT_FALSE(GuestMemory::create(0));
    EXPECT_FALSE(GuestMemory::create(4097));
    EXPECT_FALSE(GuestMemory::create(~u64{0xfff}));
}

TEST(GuestMemory, MemfdHasTheSizeAndIsNotInherited) {
    auto m = make(8 * page_size);
    struct stat st{};
    ASSERT_EQ(fstat(m->memfd(), &st), 0);
    EXPECT_EQ(static_cast<u64>(st.st_size), 8 * page_size);
    EXPECT_TRUE(fcntl(m->memfd(), F_GETFD) & FD_CLOEXEC);
}

TEST(GuestMemory, BytesAreInTheMemfd) {
    auto m = make(4 * page_size);
    ASSERT_TRUE(m->add_slot(0x100000, 2 * page_size, 2 * page_size));
    ASSERT_TRUE(m->write_value(0x100010, u32{0x12345678}));
    u32 v = 0;
    ASSERT_EQ(pread(m->memfd(), &v, sizeof v, 2 * page_size + 0x10), 4);
    EXPECT_EQ(v, 0x12345678u);
}

TEST(GuestMemory, SlotErrors) {
    auto m = make(16 * page_size);
    ASSERT_TRUE(m->add_slot(0x10000, 4 * page_size, 0));
    EXPECT_FALSE(m->add_slot(0x13000, page_size, 4 * page_size)) << "overlap at the end";
    EXPECT_FALSE(m->add_slot(0xf000, 2 * page_size, 4 * page_size)) << "overlap at the start";
    EXPECT_FALSE(m->add_slot(0x8000, 12 * page_size, 0)) << "overlap around";
    EXPECT_FALSE(m->add_slot(0x20001, page_size, 0));
    EXPECT_FALSE(m->add_slot(0x20000, 0, 0));
    EXPECT_FALSE(m->add_slot(0x20000, page_size, 0x10));
    EXPECT_FALSE(m->add_slot(0x20000, page_size, 16 * page_size)) << "beyond the memfd";
    EXPECT_FALSE(m->add_slot(0x20000, page_size, ~page_mask)) << "offset wraps";
    EXPECT_FALSE(m->add_slot(~page_mask, page_size, 0)) << "beyond physical space";
    EXPECT_TRUE(m->add_slot(0x14000, 12 * page_size, 4 * page_size)) << "adjacent";
    EXPECT_EQ(m->slots().size(), 2u);
}

TEST(GuestMemory, HostStaysWithinOneSlot) {
    auto m = make(4 * page_size);
    ASSERT_TRUE(m->add_slot(0x1000, page_size, 0));
    ASSERT_TRUE(m->add_slot(0x2000, page_size, 2 * page_size));
    EXPECT_NE(m->host(0x1000, page_size), nullptr);
    EXPECT_EQ(m->host(0x1fff, 2), nullptr);
    EXPECT_EQ(m->host(0x1001, ~u64{0}), nullptr) << "size wraps";
    EXPECT_EQ(m->host(0xfff, 1), nullptr);
    EXPECT_EQ(m->host(0x3000, 1), nullptr);
    EXPECT_EQ(m->host(~u64{0}, 8), nullptr);
}

TEST(GuestMemory, AccessSpansSlots) {
    auto m = make(4 * page_size);
    ASSERT_TRUE(m->add_slot(0x2000, page_size, 0));
    ASSERT_TRUE(m->add_slot(0x1000, page_size, 2 * page_size));
    const std::array<u8, 4> in{1, 2, 3, 4};
    ASSERT_TRUE(m->write(0x1ffe, in.data(), 4));
    EXPECT_EQ(*m->host(0x1fff, 1), 2);
    EXPECT_EQ(*m->host(0x2000, 1), 3);
    std::array<u8, 4> out{};
    ASSERT_TRUE(m->read(0x1ffe, out.data(), 4));
    EXPECT_EQ(out, in);
}

TEST(GuestMemory, AccessOutsideDoesNothing) {
    auto m = make(2 * page_size);
    ASSERT_TRUE(m->add_slot(0, page_size, 0));
    ASSERT_TRUE(m->add_slot(0x5000, page_size, page_size));
    const std::array<u8, 16> in{0xff, 0xff, 0xff, 0xff};
    EXPECT_FALSE(m->write(page_size - 2, in.data(), 4));
    EXPECT_EQ(*m->host(page_size - 2, 1), 0);
    std::array<u8, 16> out{};
    EXPECT_FALSE(m->read(page_size - 2, out.data(), 4));
    EXPECT_FALSE(m->read(~u64{0} - 3, out.data(), 8)) << "wraps around to RAM at 0";
    EXPECT_FALSE(m->read(0, nullptr, ~u64{0}));
    EXPECT_TRUE(m->read(0, out.data(), 0));
}

TEST(GuestMemory, RomRefusesWrites) {
    auto m = make(2 * page_size);
    ASSERT_TRUE(m->add_slot(0, page_size, 0));
    ASSERT_TRUE(m->add_slot(page_size, page_size, page_size, true));
    EXPECT_FALSE(m->write_value(page_size - 4, u64{~u64{0}}));
    EXPECT_EQ(*m->host(page_size - 4, 1), 0);
    u64 v = 1;
    EXPECT_TRUE(m->read_value(page_size, v));
    EXPECT_EQ(v, 0u);
}

TEST(GuestMemory, WritesClearCleanFlags) {
    auto m = make(4 * page_size);
    ASSERT_TRUE(m->add_slot(0, 4 * page_size, 0));
    for (Gpa page = 0; page < 4 * page_size; page += page_size) m->page_flags(page) = page_clean;
    ASSERT_TRUE(m->write_value(2 * page_size - 2, u32{1}));
    EXPECT_EQ(m->page_flags(0), page_clean);
    EXPECT_EQ(m->page_flags(page_size), 0);
    EXPECT_EQ(m->page_flags(2 * page_size), 0);
    EXPECT_EQ(m->page_flags(3 * page_size), page_clean);
    m->written(3 * page_size + 1, 1);
    EXPECT_EQ(m->page_flags(3 * page_size), 0);
    m->written(~u64{0} - 1, 100);  // nothing there, nothing wraps to 0
    EXPECT_EQ(m->page_flags(0), page_clean);
    m->written(0, ~u64{0});
    EXPECT_EQ(m->page_flags(0), 0);
}

TEST(GuestMemory, PlainPagesDoNotTellWatchers) {
    auto m = make(2 * page_size);
    Recorder r;
    ASSERT_TRUE(m->add_slot(0, 2 * page_size, 0));
    m->add_code_watcher(&r);
    ASSERT_TRUE(m->write_value(0x10, u32{1}));
    EXPECT_TRUE(r.told.empty());
}

TEST(GuestMemory, CodePageLosesItsFlagAtFirst) {
    auto m = make(4 * page_size);
    Recorder r;
    ASSERT_TRUE(m->add_slot(0x10000, 4 * page_size, 0));
    m->add_code_watcher(&r);
    m->page_flags(0x11000) |= page_has_code;
    ASSERT_TRUE(m->write_value(0x11ffe, u32{1}));  // into the next, plain page too
    EXPECT_EQ(r.told, (std::vector<Recorder::Range>{{0x11000, page_size}}));
    EXPECT_EQ(m->page_flags(0x11000), 0);
    ASSERT_TRUE(m->write_value(0x11000, u32{1}));
    EXPECT_EQ(r.told.size(), 1u);
}

TEST(GuestMemory, MixedPageKeepsItsFlagAndTellsTheRange) {
    auto m = make(2 * page_size);
    Recorder r;
    ASSERT_TRUE(m->add_slot(0, 2 * page_size, 0));
    m->add_code_watcher(&r);
    for (int n = 0; n < 8; ++n) {
        m->page_flags(0) |= page_has_code;
        m->notify_code_written(0x20, 4);
        ASSERT_EQ(m->page_flags(0) & page_has_code, 0) << n;
    }
    r.told.clear();
    m->page_flags(0) |= page_has_code;
    m->page_flags(page_size) |= page_has_code;
    m->notify_code_written(0xffe, 4);
    EXPECT_EQ(r.told, (std::vector<Recorder::Range>{{0xffe, 2}, {page_size, page_size}}));
    EXPECT_TRUE(m->page_flags(0) & page_has_code);
    m->notify_code_written(0x30, 1);
    EXPECT_EQ(r.told.back(), (Recorder::Range{0x30, 1}));
    m->remove_code_watcher(&r);
    m->notify_code_written(0x30, 1);
    EXPECT_EQ(r.told.size(), 3u);
}

TEST(GuestMemory, EveryAliasOfACodePageIsTold) {
    auto m = make(4 * page_size);
    Recorder r;
    ASSERT_TRUE(m->add_slot(0xf0000, 2 * page_size, 0));
    ASSERT_TRUE(m->add_slot(0xfffff000, page_size, page_size));
    m->add_code_watcher(&r);
    m->page_flags(0xfffff000) |= page_has_code;
    ASSERT_TRUE(m->write_value(0xf1010, u8{1}));
    EXPECT_EQ(r.told, (std::vector<Recorder::Range>{{0xf1000, page_size}, {0xfffff000, page_size}}));
}

// A writer and a decoder: after the writer's last write either the decoder saw the bytes or the
// watcher was told (store-to-load ordering of write() against "set flag, then read").
TEST(GuestMemory, NoWriteIsLostBetweenFlagAndBytes) {
    auto m = make(page_size);
    ASSERT_TRUE(m->add_slot(0, page_size, 0));
    struct Count : CodeWatcher {
        std::atomic<u32> told{0};
        void code_written(Gpa, u64) override { told.fetch_add(1); }
    } w;
    m->add_code_watcher(&w);
    std::atomic<u32> round{0}, done{0};
    constexpr u32 rounds = 20000, stop = ~0u;
    std::thread writer([&] {
        for (u32 n = 1; n <= rounds; ++n) {
            while (round.load() < n) std::this_thread::yield();
            if (round.load() == stop) return;
            (void)m->write_value(8, n);
            done.store(n);
        }
    });
    u32 lost = 0;
    // Each round is two changes of threads: on a busy machine fewer must do.
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    for (u32 n = 1; n <= rounds && std::chrono::steady_clock::now() < end; ++n) {
        const u32 before = w.told;
        round.store(n);
        m->page_flags(0).fetch_or(page_has_code);
        const u32 seen = *reinterpret_cast<volatile u32*>(m->host(8, 4));
        while (done.load() < n) std::this_thread::yield();
        lost += seen != n && w.told == before;
    }
    round.store(stop);
    writer.join();
    EXPECT_EQ(lost, 0u);
}

}  // namespace
}  // namespace triune::memory
