// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "memory/populate.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <vector>

namespace triune::memory {
namespace {

constexpr u64 bytes = 4 * Populator::chunk_bytes + page_size;  // the last chunk is one page

struct PopulatorTest : testing::Test {
    PopulatorTest()
        : base(static_cast<u8*>(
              mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0))) {}
    ~PopulatorTest() override { munmap(base, bytes); }
    /// Pages that the host has given, by chunk.
    std::vector<u64> pages() {
        std::vector<u8> present(bytes / page_size);
        EXPECT_EQ(mincore(base, bytes, present.data()), 0);
        std::vector<u64> count(5);
        for (u64 p = 0; p < present.size(); ++p)
            count[p * page_size / Populator::chunk_bytes] += present[p] & 1;
        return count;
    }
    /// Linux knows MADV_POPULATE_WRITE since 5.14.
    static bool supported() {
        void* p = mmap(nullptr, page_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        const bool yes = madvise(p, page_size, 23) == 0;
        munmap(p, page_size);
        return yes;
    }
    u8* base;
};

TEST_F(PopulatorTest, GivesTheChunkThatIsTouched) {
    if (!supported()) GTEST_SKIP() << "this kernel has no MADV_POPULATE_WRITE";
    Populator p(base, bytes, Populator::For::writing);
    EXPECT_EQ(pages(), std::vector<u64>({0, 0, 0, 0, 0}));
    p.touch(Populator::chunk_bytes + 5);
    EXPECT_EQ(pages(), std::vector<u64>({0, 16, 0, 0, 0}));
    p.touch(4 * Populator::chunk_bytes);
    EXPECT_EQ(pages(), std::vector<u64>({0, 16, 0, 0, 1}));
    p.touch(3 * Populator::chunk_bytes - 1, 2);
    EXPECT_EQ(pages(), std::vector<u64>({0, 16, 16, 16, 1}));
    p.touch(0, 0);
    EXPECT_EQ(pages()[0], 0u);
}

TEST_F(PopulatorTest, AsksOnce) {
    if (!supported()) GTEST_SKIP() << "this kernel has no MADV_POPULATE_WRITE";
    Populator p(base, bytes, Populator::For::writing);
    p.touch(0);
    ASSERT_EQ(madvise(base, Populator::chunk_bytes, MADV_REMOVE), 0);
    p.touch(1);
    EXPECT_EQ(pages()[0], 0u);
}

}  // namespace
}  // namespace triune::memory
