// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "device/pc_testdev.h"

#include <gtest/gtest.h>

namespace triune::device {
namespace {

struct Line final : bus::IrqLine {
    std::vector<bool> levels;
    void set(bool level) override { levels.push_back(level); }
};

class PcTestdevTest : public testing::Test {
protected:
    PcTestdevTest() {
        EXPECT_TRUE(ports.add(PcTestdev::ports, PcTestdev::port_count, device.port_registers()));
        EXPECT_TRUE(ports.add(PcTestdev::line_ports, PcTestdev::line_count, device.line_registers()));
        EXPECT_TRUE(mmio.add(PcTestdev::memory, PcTestdev::memory_bytes, device.memory_registers()));
    }
    static std::vector<bus::IrqLine*> pointers(std::array<Line, PcTestdev::line_count>& lines) {
        std::vector<bus::IrqLine*> all;
        for (Line& line : lines) all.push_back(&line);
        return all;
    }
    std::array<Line, PcTestdev::line_count> lines;
    PcTestdev device{pointers(lines)};
    bus::AddressMap ports, mmio;
};

TEST_F(PcTestdevTest, LatchKeepsWhatItIsToldByAnyWidth) {
    ports.write(0xe0, 0x12345678, 4);
    ports.write(0xe1, 0xab, 1);
    EXPECT_EQ(ports.read(0xe0, 4), 0x1234ab78u);
    EXPECT_EQ(ports.read(0xe2, 2), 0x1234u);
    ports.write(0xe2, 0xffff, 2);
    EXPECT_EQ(ports.read(0xe0, 4), 0xffffab78u);
    ports.write(0xe4, 0x1000, 4);
    EXPECT_EQ(ports.read(0xe0, 4), 0xffffab78u);
    ports.write(0xe3, 0x0102, 2);  // half of it beyond
    EXPECT_EQ(ports.read(0xe0, 4), 0x02ffab78u);
}

TEST_F(PcTestdevTest, LinesFollowWrites) {
    ports.write(0x200b, 1, 4);
    ports.write(0x200b, 0, 4);
    ports.write(0x2017, 0x80, 1);
    EXPECT_EQ(lines[11].levels, (std::vector<bool>{true, false}));
    EXPECT_EQ(lines[23].levels, std::vector<bool>{true});
    EXPECT_TRUE(lines[12].levels.empty());
}

TEST_F(PcTestdevTest, MemoryIsMemory) {
    mmio.write(0xff000ff8, 0x1122334455667788, 8);
    EXPECT_EQ(mmio.read(0xff000ff9, 2), 0x6677u);
    mmio.write(0xff00fffc, 0x99aabbcc, 4);
    EXPECT_EQ(mmio.read(0xff00fffe, 2), 0x99aau);
    EXPECT_EQ(mmio.read(0xff00fffe, 4), 0xffff99aau) << "nothing is behind it";
}

}  // namespace
}  // namespace triune::device
