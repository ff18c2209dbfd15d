// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "device/virtio_rng.h"

#include <gtest/gtest.h>

#include "device/virtio_test_driver.h"

namespace triune::device {
namespace {

TEST(VirtioRng, FillsBuffersWithDifferentBytes) {
    test::TestMachine m;
    VirtioRng rng(*m.memory);
    test::TestDriver d(m, rng, 3);
    ASSERT_TRUE(d.negotiate(test::TestDriver::version_1));
    auto ring = d.make_queue(0, 0x10000, 16);
    d.start();
    ring.add(0, {{0x1000, 32, true}});
    ring.add(1, {{0x2000, 1 << 20, true}});
    d.kick(0);
    ASSERT_TRUE(ring.wait_used(2));
    EXPECT_EQ(ring.used_entry(0).second, 32U);
    EXPECT_EQ(ring.used_entry(1).second, VirtioRng::max_bytes);
    EXPECT_NE(ring.peek<u64>(0x1000), 0U);
    EXPECT_NE(ring.peek<u64>(0x1000), ring.peek<u64>(0x1008));
    EXPECT_NE(ring.peek<u64>(0x2000 + VirtioRng::max_bytes - 8), 0U);
    EXPECT_EQ(ring.peek<u64>(0x2000 + VirtioRng::max_bytes), 0U);
}

}  // namespace
}  // namespace triune::device
