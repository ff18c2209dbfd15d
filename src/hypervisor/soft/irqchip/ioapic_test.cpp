// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/irqchip/ioapic.h"

#include <gtest/gtest.h>

#include <vector>

namespace triune::hypervisor::soft::irqchip {
namespace {

class IoApicTest : public ::testing::Test {
protected:
    u32 get(u32 index) {
        io.write(0, index);
        return io.read(0x10);
    }
    void set(u32 index, u32 value) {
        io.write(0, index);
        io.write(0x10, value);
    }
    size_t count() const { return sent.size(); }

    std::vector<Message> sent;
    bool accepted = true;
    IoApic io{[this](const Message& m) {
        sent.push_back(m);
        return accepted;
    }};
};

TEST_F(IoApicTest, Registers) {
    EXPECT_EQ(get(1), 0x170020u);
    EXPECT_EQ(get(0x10), 0x10000u);
    set(0, 0xffffffff);
    EXPECT_EQ(get(0), 0xf000000u);
    set(0x13, 0xffffffff);
    EXPECT_EQ(get(0x13), 0xff000000u);
    set(0x12, 0xffffffff);
    EXPECT_EQ(get(0x12), 0x1afffu) << "delivery status and remote IRR are read-only";
    EXPECT_EQ(get(0x40), 0u);
    EXPECT_EQ(get(2), 0xf000000u);
}

TEST_F(IoApicTest, EdgeSendsOncePerEdge) {
    set(0x10 + 2 * 5 + 1, 0x03000000);
    set(0x10 + 2 * 5, 0x0935);  // logical, lowest priority
    io.set_pin(5, true);
    io.set_pin(5, true);
    ASSERT_EQ(count(), 1u);
    EXPECT_EQ(sent[0].vector, 0x35);
    EXPECT_TRUE(sent[0].logical);
    EXPECT_TRUE(sent[0].lowest_priority());
    EXPECT_FALSE(sent[0].level);
    EXPECT_EQ(sent[0].destination, 3u);
    io.set_pin(5, false);
    io.set_pin(5, true);
    EXPECT_EQ(count(), 2u);
}

TEST_F(IoApicTest, EdgeAtMaskedPinIsLost) {
    set(0x10, 0x10031);
    io.set_pin(0, true);
    set(0x10, 0x31);
    EXPECT_EQ(count(), 0u);
}

TEST_F(IoApicTest, LevelWaitsForEoiAndRepeatsWhileAsserted) {
    set(0x10 + 2 * 16, 0x8041);
    io.set_pin(16, true);
    EXPECT_EQ(count(), 1u);
    EXPECT_TRUE(sent[0].level);
    EXPECT_TRUE(get(0x10 + 2 * 16) & 1 << 14);
    io.set_pin(16, false);
    io.set_pin(16, true);
    EXPECT_EQ(count(), 1u) << "remote IRR holds it back";
    io.eoi(0x40);
    EXPECT_EQ(count(), 1u) << "another vector";
    io.eoi(0x41);
    EXPECT_EQ(count(), 2u);
    io.set_pin(16, false);
    io.write(0x40, 0x41);  // EOI register
    EXPECT_EQ(count(), 2u);
    EXPECT_FALSE(get(0x10 + 2 * 16) & 1 << 14);
}

TEST_F(IoApicTest, UnmaskingAnAssertedLevelSends) {
    set(0x10 + 2 * 16, 0x18041);
    io.set_pin(16, true);
    EXPECT_EQ(count(), 0u);
    set(0x10 + 2 * 16, 0x8041);
    EXPECT_EQ(count(), 1u);
}

TEST_F(IoApicTest, MaskedLevelIsNotRepeatedByEoi) {
    set(0x10 + 2 * 16, 0x8041);
    io.set_pin(16, true);
    set(0x10 + 2 * 16, 0x18041);
    io.eoi(0x41);
    EXPECT_EQ(count(), 1u);
    set(0x10 + 2 * 16, 0x8041);
    EXPECT_EQ(count(), 2u);
}

TEST_F(IoApicTest, EdgeModeClearsRemoteIrr) {
    set(0x10 + 2 * 16, 0x8041);
    io.set_pin(16, true);
    set(0x10 + 2 * 16, 0x10041);
    EXPECT_FALSE(get(0x10 + 2 * 16) & 1 << 14);
    set(0x10 + 2 * 16, 0x8041);
    EXPECT_EQ(count(), 2u);
}

TEST_F(IoApicTest, NotAcceptedLevelDoesNotWaitForEoi) {
    accepted = false;
    set(0x10 + 2 * 16, 0x8041);
    io.set_pin(16, true);
    EXPECT_FALSE(get(0x10 + 2 * 16) & 1 << 14);
}

TEST_F(IoApicTest, PinsBeyondTheLastAreIgnored) {
    io.set_pin(24, true);
    io.set_pin(~0u, true);
    EXPECT_EQ(count(), 0u);
}

}  // namespace
}  // namespace triune::hypervisor::soft::irqchip
