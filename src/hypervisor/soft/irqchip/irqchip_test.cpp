// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/irqchip/irqchip.h"

#include <gtest/gtest.h>

#include <thread>

namespace triune::hypervisor::soft::irqchip {
namespace {

TEST(MsiTest, Decoding) {
    Message m;
    EXPECT_FALSE(decode_msi(0xfed00000, 0, m));
    EXPECT_FALSE(decode_msi(u64{1} << 32 | 0xfee00000, 0, m));
    ASSERT_TRUE(decode_msi(0xfee12004, 0x8451, m));
    EXPECT_EQ(m.destination, 0x12u);
    EXPECT_TRUE(m.logical);
    EXPECT_TRUE(m.level);
    EXPECT_EQ(m.mode, DeliveryMode::nmi);
    EXPECT_EQ(m.vector, 0x51);
    ASSERT_TRUE(decode_msi(0xfee00008, 0x51, m));
    EXPECT_EQ(m.mode, DeliveryMode::fixed) << "a hint without logical destination redirects nothing";
}

class IrqChipTest : public ::testing::Test {
protected:
    IrqChipTest() {
        for (unsigned i = 0; i < 2; ++i) chip.apic(i).write_mmio(0xf0, 0x1ff);
        chip.apic(0).write_mmio(0x350, 0x10000);
    }
    void route(unsigned pin, u32 low, u32 destination) {
        chip.ioapic().write(0, 0x11 + 2 * pin);
        chip.ioapic().write(0x10, destination << 24);
        chip.ioapic().write(0, 0x10 + 2 * pin);
        chip.ioapic().write(0x10, low);
    }
    std::unique_ptr<base::EventLoop> loop = std::move(*base::EventLoop::create());
    struct Second : cpu::VcpuContext {
        Second() { index = 1; }
    };
    cpu::VcpuContext first;
    Second second;
    IrqChip chip{{&first, &second}, *loop};
};

TEST_F(IrqChipTest, PortsAndWindow) {
    for (const u16 p : {0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1, 0x40, 0x41, 0x42, 0x43, 0x61})
        EXPECT_TRUE(IrqChip::owns_port(p)) << p;
    for (const u16 p : {0x1f, 0x22, 0x60, 0x62, 0x44, 0x3f, 0xa2, 0x4d2, 0x120})
        EXPECT_FALSE(IrqChip::owns_port(p)) << p;
    EXPECT_TRUE(IrqChip::owns_mmio(0xfec00010));
    EXPECT_FALSE(IrqChip::owns_mmio(0xfec01000));
    EXPECT_FALSE(IrqChip::owns_mmio(0xfebfffff));
}

TEST_F(IrqChipTest, GsiReachesPicAndIoApic) {
    for (const auto& [port, value] :
         {std::pair<u16, u8>{0x20, 0x11}, {0x21, 0x30}, {0x21, 4}, {0x21, 1}, {0x21, 0}})
        chip.port_write(port, value);
    route(4, 0x44, 1);
    chip.set_gsi(4, true);
    EXPECT_EQ(chip.apic(1).acknowledge(), 0x44);
    EXPECT_EQ(chip.apic(0).acknowledge(), -1) << "LINT0 is masked";
    chip.apic(0).write_mmio(0x350, 0x700);
    EXPECT_EQ(chip.apic(0).acknowledge(), 0x34);
}

TEST_F(IrqChipTest, LevelInterruptEndsAtTheIoApic) {
    route(20, 0x8061, 1);
    chip.set_gsi(20, true);
    EXPECT_EQ(chip.apic(1).acknowledge(), 0x61);
    EXPECT_EQ(chip.apic(1).read_mmio(0x1b0), 2u) << "TMR";
    chip.apic(1).write_mmio(0xb0, 0);
    EXPECT_EQ(chip.apic(1).acknowledge(), 0x61) << "still asserted";
    chip.set_gsi(20, false);
    chip.apic(1).write_mmio(0xb0, 0);
    EXPECT_EQ(chip.apic(1).acknowledge(), -1);
}

TEST_F(IrqChipTest, PitIsPin2AndIrq0) {
    route(2, 0x71, 0);
    chip.port_write(0x43, 0x30);
    chip.port_write(0x40, 0xff);
    chip.port_write(0x40, 0x01);
    std::thread t([&] { loop->run(); });
    first.signals.wait(base::monotonic_ns() + 5'000'000'000);
    loop->stop();
    t.join();
    EXPECT_EQ(chip.apic(0).acknowledge(), 0x71);
    chip.port_write(0x20, 0x0a);
    EXPECT_EQ(chip.port_read(0x20) & 1, 1);
}

}  // namespace
}  // namespace triune::hypervisor::soft::irqchip
