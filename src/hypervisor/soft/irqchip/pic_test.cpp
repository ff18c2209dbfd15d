// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/irqchip/pic.h"

#include <gtest/gtest.h>

namespace triune::hypervisor::soft::irqchip {
namespace {

class PicTest : public ::testing::Test {
protected:
    PicTest() { initialize(0x11, 0x01); }
    void initialize(u8 icw1, u8 icw4) {
        for (const u16 chip : {u16{0x20}, u16{0xa0}}) {
            pic.write(chip, icw1);
            pic.write(chip + 1, chip == 0x20 ? 0x20 : 0x28);
            pic.write(chip + 1, chip == 0x20 ? 4 : 2);
            if (icw1 & 1) pic.write(chip + 1, icw4);
            pic.write(chip + 1, 0);
        }
    }
    u8 isr(u16 chip = 0x20) {
        pic.write(chip, 0x0b);
        return pic.read(chip);
    }
    u8 irr(u16 chip = 0x20) {
        pic.write(chip, 0x0a);
        return pic.read(chip);
    }
    void pulse(unsigned irq) {
        pic.set_irq(irq, true);
        pic.set_irq(irq, false);
    }

    int rises = 0;
    std::vector<unsigned> ended;
    PicPair pic{[this] { ++rises; }, [this](unsigned irq) { ended.push_back(irq); }};
};

TEST_F(PicTest, VectorIsBasePlusLine) {
    pic.set_irq(4, true);
    EXPECT_TRUE(pic.output());
    EXPECT_EQ(rises, 1);
    EXPECT_EQ(irr(), 0x10);
    EXPECT_EQ(pic.acknowledge(), 0x24);
    EXPECT_EQ(isr(), 0x10);
    EXPECT_EQ(irr(), 0);
    EXPECT_FALSE(pic.output());
    EXPECT_EQ(pic.acknowledge(), -1);
}

TEST_F(PicTest, SlaveGoesThroughTheCascade) {
    pic.set_irq(12, true);
    EXPECT_EQ(pic.acknowledge(), 0x2c);
    EXPECT_EQ(isr(), 0x04);
    EXPECT_EQ(isr(0xa0), 0x10);
    pic.write(0xa0, 0x20);
    pic.write(0x20, 0x20);
    EXPECT_EQ(isr(), 0);
    EXPECT_EQ(isr(0xa0), 0);
}

TEST_F(PicTest, HigherPriorityNestsLowerWaits) {
    pulse(5);
    EXPECT_EQ(pic.acknowledge(), 0x25);
    pulse(6);
    EXPECT_FALSE(pic.output());
    pulse(1);
    EXPECT_EQ(pic.acknowledge(), 0x21);
    pic.write(0x20, 0x20);
    EXPECT_EQ(isr(), 0x20);
    EXPECT_FALSE(pic.output());
    pic.write(0x20, 0x65);  // specific EOI of 5
    EXPECT_EQ(pic.acknowledge(), 0x26);
}

TEST_F(PicTest, MaskedLineWaitsForItsUnmasking) {
    pic.write(0x21, 0x10);
    pulse(4);
    EXPECT_FALSE(pic.output());
    EXPECT_EQ(pic.read(0x21), 0x10);
    pic.write(0x21, 0);
    EXPECT_EQ(pic.acknowledge(), 0x24);
}

TEST_F(PicTest, EdgeNeedsANewEdge) {
    pic.set_irq(4, true);
    EXPECT_EQ(pic.acknowledge(), 0x24);
    pic.write(0x20, 0x20);
    EXPECT_FALSE(pic.output());
    pic.set_irq(4, false);
    pic.set_irq(4, true);
    EXPECT_EQ(pic.acknowledge(), 0x24);
}

TEST_F(PicTest, ElcrMakesALineLevelTriggered) {
    pic.write(0x4d1, 0xff);
    EXPECT_EQ(pic.read(0x4d1), 0xde);
    pic.write(0x4d0, 0xff);
    EXPECT_EQ(pic.read(0x4d0), 0xf8);
    pic.set_irq(11, true);
    EXPECT_EQ(pic.acknowledge(), 0x2b);
    pic.write(0xa0, 0x20);
    pic.write(0x20, 0x20);
    EXPECT_EQ(pic.acknowledge(), 0x2b) << "still asserted";
    pic.set_irq(11, false);
    pic.write(0xa0, 0x20);
    pic.write(0x20, 0x20);
    EXPECT_FALSE(pic.output());
}

TEST_F(PicTest, AutoEoiLeavesNothingInService) {
    initialize(0x11, 0x03);
    pulse(3);
    EXPECT_EQ(pic.acknowledge(), 0x23);
    EXPECT_EQ(isr(), 0);
    pulse(3);
    EXPECT_EQ(pic.acknowledge(), 0x23);
}

TEST_F(PicTest, RotationOnEoiAndSetPriority) {
    pulse(0);
    EXPECT_EQ(pic.acknowledge(), 0x20);
    pic.write(0x20, 0xa0);  // rotate on non-specific EOI: 0 becomes lowest
    pulse(0);
    pulse(7);
    EXPECT_EQ(pic.acknowledge(), 0x27);
    pic.write(0x20, 0x67);
    EXPECT_EQ(pic.acknowledge(), 0x20);
    pic.write(0x20, 0x20);
    pic.write(0x20, 0xc3);  // 3 lowest, so 4 highest
    pulse(3);
    pulse(4);
    EXPECT_EQ(pic.acknowledge(), 0x24);
    pic.write(0x20, 0xe4);  // rotate on specific EOI
    pulse(5);
    pulse(4);
    EXPECT_EQ(pic.acknowledge(), 0x25);
}

TEST_F(PicTest, SpecialMaskLetsLowerLevelsThrough) {
    pulse(3);
    EXPECT_EQ(pic.acknowledge(), 0x23);
    pic.write(0x21, 0x08);
    pic.write(0x20, 0x68);
    pulse(6);
    EXPECT_EQ(pic.acknowledge(), 0x26);
    pic.write(0x20, 0x48);
    EXPECT_EQ(isr(), 0x48);
}

TEST_F(PicTest, PollAcknowledges) {
    pulse(6);
    pic.write(0x20, 0x0c);
    EXPECT_EQ(pic.read(0x20), 0x86);
    EXPECT_EQ(isr(), 0x40);
    EXPECT_FALSE(pic.output());
    pic.write(0x20, 0x0c);
    EXPECT_EQ(pic.read(0x20), 0);
}

TEST_F(PicTest, InitializationWithoutIcw4AndItsReset) {
    pic.write(0x21, 0xff);
    pulse(4);
    pic.write(0x20, 0x10);
    pic.write(0x21, 0x40);
    EXPECT_FALSE(pic.output()) << "not yet initialized";
    pic.write(0x21, 4);
    EXPECT_EQ(pic.read(0x21), 0) << "ICW1 clears the mask";
    EXPECT_EQ(irr(), 0) << "and the edge latches";
    pulse(4);
    EXPECT_EQ(pic.acknowledge(), 0x44);
}

TEST_F(PicTest, FullyNestedSlaveBlocksUnlessSpecial) {
    pulse(12);
    EXPECT_EQ(pic.acknowledge(), 0x2c);
    pulse(8);
    EXPECT_FALSE(pic.output());
    initialize(0x11, 0x11);
    pulse(12);
    EXPECT_EQ(pic.acknowledge(), 0x2c);
    pulse(8);
    EXPECT_TRUE(pic.output());
    EXPECT_EQ(pic.acknowledge(), 0x28);
}

TEST_F(PicTest, LinesBeyondAndTheCascadeAreNotLines) {
    pic.set_irq(2, true);
    pic.set_irq(16, true);
    EXPECT_FALSE(pic.output());
}

TEST_F(PicTest, EndsOfWatchedLinesAreTold) {
    pic.watch_ends(1 << 4 | 1 << 12);
    for (const unsigned irq : {4u, 5u, 12u}) {
        pulse(irq);
        pic.acknowledge();
        pic.write(0xa0, 0x20);
        EXPECT_EQ(ended.size(), irq == 12 ? 2u : irq - 4) << "before the master's end";
        pic.write(0x20, 0x20);
    }
    EXPECT_EQ(ended, (std::vector<unsigned>{4, 12}));
    pic.write(0x20, 0x20);  // nothing is in service
    EXPECT_EQ(ended.size(), 2u);
    ended.clear();
    initialize(0x11, 0x03);  // automatic end of interrupt
    pulse(4);
    pic.acknowledge();
    EXPECT_EQ(ended, std::vector<unsigned>{4});
}

}  // namespace
}  // namespace triune::hypervisor::soft::irqchip
