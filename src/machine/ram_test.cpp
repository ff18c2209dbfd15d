// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "machine/ram.h"

#include <gtest/gtest.h>

namespace triune::machine {
namespace {

TEST(Ram, BadAmountsAreUsageErrors) {
    constexpr u64 host = u64{16} << 30;
    EXPECT_TRUE(check_ram(smallest_ram, host));
    EXPECT_TRUE(check_ram(host, host));
    for (const u64 bytes : {u64{0}, smallest_ram - page_size, host + page_size, largest_ram + page_size,
                            ~u64{0}, (u64{512} << 20) + 1024}) {
        const auto checked = check_ram(bytes, host);
        ASSERT_FALSE(checked) << bytes;
        EXPECT_TRUE(checked.error().usage);
    }
}

}  // namespace
}  // namespace triune::machine
