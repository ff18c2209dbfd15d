// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
//
// The dirty log: no page that was written is missing, whoever wrote it, and nothing else is in it.
#include <bit>

#include "contract.h"

namespace triune::contract {
namespace {

using Pages = std::vector<u64>;

Pages pages_of(const memory::PageBitmap& bitmap) {
    Pages pages;
    for (u64 word = 0; word < bitmap.size(); ++word)
        for (u64 bits = bitmap[word]; bits; bits &= bits - 1)
            pages.push_back(word * 64 + static_cast<u64>(std::countr_zero(bits)));
    return pages;
}

class DirtyLog : public Contract {
protected:
    Pages taken() {
        const auto bitmap = bench.vm().take_dirty_log(0);
        EXPECT_TRUE(bitmap) << bitmap.error().message;
        return bitmap ? pages_of(*bitmap) : Pages{};
    }
};

TEST_P(DirtyLog, TellsWhatOneProcessorWroteAndNoMore) {
    // again: mov [0], al; mov ah, [0x1000]; inc byte [0x2000]; out 0xf7, al; jmp again
    start({0xa2, 0x00, 0x00, 0x8a, 0x26, 0x00, 0x10, 0xfe, 0x06, 0x00, 0x20, 0xe6, 0xf7, 0xeb, 0xf1});
    x86::VcpuState s = vcpu->state();
    s.seg[x86::ds].base = 0x100000;
    vcpu->set_state(s);
    ASSERT_TRUE(run_to_mark());  // what it may cache, it has
    ASSERT_TRUE(bench.vm().set_dirty_log(0, true));
    EXPECT_EQ(taken(), Pages{});
    for (int i = 0; i < 3; ++i) {
        ASSERT_TRUE(run_to_mark());
        ASSERT_TRUE(run_to_mark());
        EXPECT_EQ(taken(), (Pages{0x100, 0x102})) << i;
        EXPECT_EQ(taken(), Pages{});
    }
    ASSERT_TRUE(bench.vm().set_dirty_log(0, false));
    ASSERT_TRUE(run_to_mark());
    EXPECT_FALSE(bench.vm().take_dirty_log(0));
    // A start begins with an empty log.
    ASSERT_TRUE(bench.vm().set_dirty_log(0, true));
    ASSERT_TRUE(run_to_mark());
    ASSERT_TRUE(bench.vm().set_dirty_log(0, true));
    EXPECT_EQ(taken(), Pages{});
}

TEST_P(DirtyLog, TellsWhatDevicesWrote) {
    ASSERT_TRUE(bench.vm().set_dirty_log(0, true));
    const u32 value = 1;
    ASSERT_TRUE(bench.memory().write(0x5ffe, &value, 4));
    bench.memory().written(0x3fff000, 1);
    EXPECT_EQ(taken(), (Pages{5, 6, 0x3fff}));
    EXPECT_EQ(taken(), Pages{});
}

TEST_P(DirtyLog, WrongSlotsAreErrors) {
    EXPECT_FALSE(bench.vm().set_dirty_log(1, true));
    EXPECT_FALSE(bench.vm().take_dirty_log(1));
    EXPECT_FALSE(bench.vm().take_dirty_log(0));
}

INSTANTIATE_TEST_SUITE_P(Engine, DirtyLog, ::testing::Values("interp", "bt", "kvm"),
                         [](const auto& p) { return std::string(p.param); });

/// Copies a page that processors write to meanwhile, as they read each other's: whole words, and no race that
/// ThreadSanitizer is to look at.
__attribute__((no_sanitize("thread"))) void copy_page(u8* to, const u8* from) {
    for (u64 at = 0; at < page_size; at += 8)
        *reinterpret_cast<u64*>(to + at) = *reinterpret_cast<const volatile u64*>(from + at);
}

class DirtyLogSmp : public ::testing::TestWithParam<const char*> {};

// A copy of memory that takes over only what the log tells ends as memory does: writes of four
// processors, their page walks' A and D bits, a device, all while the log is taken again and again.
TEST_P(DirtyLogSmp, ACopyThatFollowsTheLogIsComplete) {
    Bench bench(GetParam(), 4);
    if (!bench.unavailable.empty()) GTEST_SKIP() << bench.unavailable;
    memory::GuestMemory& memory = bench.memory();
    const u64 size = memory.slots()[0].size;
    const u8* const now = memory.host(0, size);
    u32 device_writes = 0;
    bench.on_port_f7 = [&](u32 value) {
        const u32 bytes = value + device_writes;
        if (memory.write(0x700000 + ++device_writes % 8 * page_size, &bytes, sizeof bytes)) return;
        ADD_FAILURE() << "the device cannot write";
    };
    bench.load_guest("dirty");
    ASSERT_TRUE(bench.vm().set_dirty_log(0, true));
    std::vector<u8> copy(now, now + size);
    u64 rounds = 0, pages = 0;
    std::atomic<bool> done{false};
    std::thread guest([&] {
        bench.run(60);
        done = true;
    });
    for (bool last = false; !last;) {
        last = done;
        const auto bitmap = bench.vm().take_dirty_log(0);
        if (!bitmap) {
            ADD_FAILURE() << bitmap.error().message;
            break;
        }
        for (const u64 page : pages_of(*bitmap)) {
            copy_page(&copy[page * page_size], now + page * page_size);
            ++pages;
        }
        ++rounds;
    }
    guest.join();
    EXPECT_EQ(bench.result, passed) << bench.story();
    EXPECT_GT(device_writes, 0u);
    EXPECT_GT(rounds, 3u);
    EXPECT_GT(pages, 100u);
    for (u64 page = 0; page < size / page_size; ++page)
        EXPECT_EQ(std::memcmp(&copy[page * page_size], now + page * page_size, page_size), 0)
            << "page " << page << " of the copy is stale";
}

INSTANTIATE_TEST_SUITE_P(Engine, DirtyLogSmp, ::testing::Values("interp", "bt", "kvm"),
                         [](const auto& p) { return std::string(p.param); });

}  // namespace
}  // namespace triune::contract
