// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "memory/dirty_log.h"

#include <gtest/gtest.h>

#include <bit>
#include <thread>

#include "memory/slot_switch.h"

namespace triune::memory {
namespace {

class DirtyLogTest : public ::testing::Test {
protected:
    static std::unique_ptr<GuestMemory> three_slots() {
        auto m = std::move(GuestMemory::create(100 * page_size).value());
        m->add_slot(0, 70 * page_size, 0).value();
        // The last ten pages of the first slot once more, as firmware is.
        m->add_slot(0x1000'0000, 10 * page_size, 60 * page_size).value();
        m->add_slot(0x2000'0000, 30 * page_size, 70 * page_size).value();
        return m;
    }
    std::vector<u64> taken(unsigned slot) {
        std::vector<u64> pages;
        const auto bitmap = log.take(slot);
        EXPECT_TRUE(bitmap);
        for (u64 word = 0; bitmap && word < bitmap->size(); ++word)
            for (u64 bits = (*bitmap)[word]; bits; bits &= bits - 1)
                pages.push_back(word * 64 + static_cast<u64>(std::countr_zero(bits)));
        return pages;
    }
    using Pages = std::vector<u64>;

    std::unique_ptr<GuestMemory> memory = three_slots();
    DirtyLog log{*memory};
};

TEST_F(DirtyLogTest, TellsEachWriteOnce) {
    ASSERT_TRUE(memory->write_value(0, 1));  // before the start
    ASSERT_TRUE(log.set(0, true));
    EXPECT_EQ(taken(0), Pages{});
    ASSERT_TRUE(memory->write_value(5 * page_size - 2, u32{1}));
    ASSERT_TRUE(memory->write_value(0x2000'0000, u32{1}));
    memory->written(69 * page_size, 1);
    EXPECT_EQ(taken(0), (Pages{4, 5, 69}));
    EXPECT_EQ(taken(0), Pages{});
}

TEST_F(DirtyLogTest, EachSlotHasALogOfItsOwnPages) {
    ASSERT_TRUE(log.set(0, true));
    ASSERT_TRUE(log.set(1, true));
    ASSERT_TRUE(log.set(2, true));
    ASSERT_TRUE(memory->write_value(0x1000'0000 + 3 * page_size, 1));  // both slots show this page
    ASSERT_TRUE(memory->write_value(0x2000'0000 + 29 * page_size, 1));
    EXPECT_EQ(taken(0), Pages{63});
    EXPECT_EQ(taken(1), Pages{3});
    EXPECT_EQ(taken(2), Pages{29});
    EXPECT_EQ(taken(1), Pages{});
}

TEST_F(DirtyLogTest, AStartForgetsNothingOfAnother) {
    ASSERT_TRUE(log.set(0, true));
    ASSERT_TRUE(memory->write_value(61 * page_size, 1));
    ASSERT_TRUE(log.set(1, true));
    EXPECT_EQ(taken(1), Pages{});
    EXPECT_EQ(taken(0), Pages{61});
}

TEST_F(DirtyLogTest, WhatIsSwitchedIsAllNews) {
    ASSERT_TRUE(log.set(1, true));
    ASSERT_TRUE(switch_slot(*memory, 0x1000'0000, 10 * page_size,
                            {.size = 10 * page_size, .host = memory->host(0, 1), .offset = 0}));
    EXPECT_EQ(taken(1), (Pages{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}));
    ASSERT_TRUE(memory->write_value(2 * page_size, 1));
    EXPECT_EQ(taken(1), Pages{2});
    ASSERT_TRUE(switch_slot(*memory, 0x1000'0000, 10 * page_size, {}));
    EXPECT_EQ(taken(1), Pages{});
}

TEST_F(DirtyLogTest, ErrorsAreReported) {
    EXPECT_FALSE(log.set(3, true));
    EXPECT_FALSE(log.take(3));
    EXPECT_FALSE(log.take(0));
    ASSERT_TRUE(log.set(0, true));
    ASSERT_TRUE(log.set(0, false));
    EXPECT_FALSE(log.take(0));
    EXPECT_TRUE(log.set(0, false));
}

TEST_F(DirtyLogTest, NoWriteOfAnotherThreadIsLost) {
    ASSERT_TRUE(log.set(0, true));
    constexpr u64 pages = 16, rounds = 20000;
    std::array<u64, pages> copy{};
    std::atomic<bool> done{false};
    const auto word = [&](u64 page) {
        return std::atomic_ref(*reinterpret_cast<u64*>(memory->host(page * page_size, 8)));
    };
    std::thread writer([&] {
        for (u64 i = 1; i <= rounds; ++i) {
            word(i % pages).store(i, std::memory_order_relaxed);
            memory->written(i % pages * page_size, 8);
        }
        done = true;
    });
    // A copy that only follows the log ends as the memory does.
    for (bool last = false; !last;) {
        last = done;
        for (const u64 page : taken(0)) copy.at(page) = word(page).load(std::memory_order_relaxed);
    }
    writer.join();
    for (u64 page = 0; page < pages; ++page) EXPECT_EQ(copy.at(page), word(page).load()) << page;
}

}  // namespace
}  // namespace triune::memory
