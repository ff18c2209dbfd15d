// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "device/chipset.h"

#include <gtest/gtest.h>

#include "bus/pc_ports.h"
#include "device/acpi_pm.h"

namespace triune::device {
namespace {

namespace pc = bus::pc;

struct Line : bus::IrqLine {
    void set(bool l) override { level = l; }
    bool level = false;
};

struct AcpiPmTest : testing::Test {
    u64 in(u16 port, unsigned size) { return ports.read(port, size); }
    void out(u16 port, u64 v, unsigned size) { ports.write(port, v, size); }
    AcpiPmTest() { ports.add(pc::pm_ports, pc::pm_port_count, pm); }
    std::unique_ptr<base::EventLoop> loop = base::EventLoop::create().value();
    Line sci;
    int offs = 0;
    u64 now = 5'000'000'000;
    AcpiPm pm{sci, *loop, [this] { ++offs; }, [this] { return now; }};
    bus::AddressMap ports;
};

TEST_F(AcpiPmTest, TimerCountsAtItsRate) {
    EXPECT_EQ(in(0x608, 4), 0u);
    now += 1'000'000'000;
    EXPECT_EQ(in(0x608, 4), 3579545u);
    EXPECT_EQ(in(0x608, 2), 3579545u & 0xffff);
    now += u64{100} * 86400 * 1'000'000'000;
    EXPECT_EQ(in(0x608, 4), ((u64{100} * 86400 + 1) * 3579545) & 0xffffffff) << "no overflow after 100 days";
}

TEST_F(AcpiPmTest, TimerOverflowRaisesSci) {
    out(0x602, 1, 2);
    EXPECT_EQ(in(0x602, 2), 1u);
    now += u64{600} * 1'000'000'000;
    EXPECT_EQ(in(0x600, 2), 1u) << "bit 31 changed after 599.9 s";
    out(0x602, 1, 2);
    EXPECT_TRUE(sci.level);
    out(0x600, 1, 2);
    EXPECT_FALSE(sci.level);
    EXPECT_EQ(in(0x600, 2), 0u);
}

TEST_F(AcpiPmTest, EnableBitsStick) {
    out(0x602, 0xffff, 2);
    EXPECT_EQ(in(0x602, 2), 0x721u);
    EXPECT_FALSE(sci.level);
}

TEST_F(AcpiPmTest, PowerButton) {
    pm.press_power_button();
    EXPECT_FALSE(sci.level) << "not enabled";
    out(0x602, 0x100, 2);
    EXPECT_TRUE(sci.level);
    EXPECT_EQ(in(0x600, 2), 0x100u);
    out(0x600, 0x100, 2);
    EXPECT_FALSE(sci.level);
}

TEST_F(AcpiPmTest, SleepTypeS5PowersOff) {
    EXPECT_EQ(in(0x604, 2), 1u) << "SCI_EN: in ACPI mode from the start";
    out(0x604, 5 << 10, 2);
    EXPECT_EQ(offs, 0);
    EXPECT_EQ(in(0x604, 2), 5u << 10 | 1);
    out(0x604, 3 << 10 | 1 << 13, 2);
    EXPECT_EQ(offs, 0) << "another sleep type";
    out(0x604, 1 << 13, 2);
    EXPECT_EQ(offs, 1);
    EXPECT_EQ(in(0x604, 2) & 1 << 13, 0u) << "SLP_EN is write-only";
    pm.reset();
    EXPECT_EQ(in(0x604, 2), 1u);
}

TEST(ResetControl, RisingEdgeOfBit2) {
    int resets = 0;
    ResetControl control([&] { ++resets; });
    bus::RegisterBlock& r = control;
    r.write(0, 2, 1);
    EXPECT_EQ(resets, 0);
    EXPECT_EQ(r.read(0, 1), 2u);
    r.write(0, 6, 1);
    EXPECT_EQ(resets, 1);
    r.write(0, 6, 1);
    EXPECT_EQ(resets, 1) << "no edge";
    control.clear();
    r.write(0, pc::reset_value, 1);
    EXPECT_EQ(resets, 2);
}

TEST(KeyboardReset, OnlyTheResetLineCounts) {
    int resets = 0;
    KeyboardReset port([&] { ++resets; });
    bus::RegisterBlock& r = port;
    EXPECT_EQ(r.read(0, 1), 0xffu);
    for (const u8 v : {0xaa, 0xff, 0xd1, 0xf1, 0x60}) r.write(0, v, 1);
    EXPECT_EQ(resets, 0);
    r.write(0, 0xfe, 1);
    EXPECT_EQ(resets, 1);
}

TEST(PostPort, TakesCodes) {
    PostPort port;
    bus::RegisterBlock& r = port;
    r.write(0, 0xed, 1);
    EXPECT_EQ(port.last(), 0xed);
}

TEST(Chipset, PamRegistersSwitchSegments) {
    std::vector<std::pair<unsigned, int>> told;
    HostBridge bridge(
        [&](unsigned i, const PamSegment& s) { told.emplace_back(i, s.read_ram | s.write_ram << 1); });
    EXPECT_FALSE(bridge.segment(0).read_ram);
    bridge.config_write(0x59, 0x30, 1);
    bridge.config_write(0x59, 0x3f, 1);  // the low nibble is reserved
    bridge.config_write(0x58, 0x21332000, 4);
    EXPECT_EQ(told,
              (std::vector<std::pair<unsigned, int>>{{12, 3}, {0, 3}, {1, 3}, {2, 1}, {3, 2}, {12, 2}}));
    EXPECT_EQ(bridge.segment(12).gpa, 0xf0000u);
    EXPECT_EQ(bridge.segment(12).size, 0x10000u);
    EXPECT_EQ(bridge.segment(3).gpa, 0xcc000u);
    HostBridge shadowed;
    for (unsigned i = 0; i < pam_segments; ++i)
        EXPECT_TRUE(shadowed.segment(i).read_ram && shadowed.segment(i).write_ram);
}

TEST(Chipset, LinuxFindsAHostBridge) {
    struct Sink : bus::MsiSink {
        void send(u64, u32) override {}
    } sink;
    bus::AddressMap ports, mmio;
    HostBridge bridge;
    IsaBridge isa;
    bus::PciHost host(ports, mmio, sink, {});
    ASSERT_TRUE(host.attach(pc::host_bridge_slot, bridge));
    ASSERT_TRUE(host.attach(pc::isa_bridge_slot, isa));
    ASSERT_TRUE(host.assign_resources());
    const auto config = [&](unsigned slot, unsigned at) {
        ports.write(0xcf8, 0x80000000 | slot << 11 | at, 4);
        return ports.read(0xcfc, 4);
    };
    EXPECT_EQ(config(0, 0), 0x12378086u);
    EXPECT_EQ(config(0, 8) >> 16, 0x0600u) << "the class that the sanity check looks for";
    EXPECT_EQ(config(1, 0), 0x70008086u);
    EXPECT_EQ(config(1, 8) >> 16, 0x0601u);
    EXPECT_EQ(config(1, 0x60), 0x80808080u);
}

TEST(IsaBridge, RoutesPciInterrupts) {
    std::array<Line, 16> lines;
    std::vector<bus::IrqLine*> irqs;
    for (Line& line : lines) irqs.push_back(&line);
    IsaBridge bridge(std::move(irqs));
    bridge.set_pirq(1, true);
    bridge.set_pirq(5, true);
    for (const Line& line : lines) EXPECT_FALSE(line.level) << "not routed after reset";
    bridge.config_write(0x61, 10, 1);
    EXPECT_TRUE(lines[10].level);
    bridge.set_pirq(1, false);
    EXPECT_TRUE(lines[10].level) << "wire 5 is PIRQB too";
    bridge.config_write(0x60, 0x0b0b, 2);  // A and B share IRQ 11
    EXPECT_FALSE(lines[10].level);
    EXPECT_TRUE(lines[11].level);
    bridge.set_pirq(0, true);
    bridge.set_pirq(5, false);
    EXPECT_TRUE(lines[11].level);
    bridge.config_write(0x60, 0x08, 1);
    EXPECT_FALSE(lines[11].level);
    EXPECT_FALSE(lines[8].level) << "the RTC's line cannot be chosen";
    bridge.config_write(0x60, 0x0b, 1);
    EXPECT_TRUE(lines[11].level);
    bridge.reset();
    EXPECT_FALSE(lines[11].level);
}

TEST(Piix4Pm, MovesTheRegisters) {
    struct Registers final : bus::RegisterBlock {
        u64 read(u64 offset, unsigned) override { return offset; }
        void write(u64, u64, unsigned) override {}
    } registers;
    bus::AddressMap ports;
    {
        Piix4Pm pm(ports, registers, true);
        EXPECT_EQ(pm.config_read(0x40, 4), 0x601u);
        EXPECT_EQ(ports.read(pc::pm_ports + 8, 1), 8u) << "where the ACPI tables say";
        pm.config_write(0x40, 0xffffb000, 4);
        EXPECT_EQ(pm.config_read(0x40, 4), 0xb001u);
        EXPECT_EQ(ports.read(pc::pm_ports + 8, 1), 0xffu);
        EXPECT_EQ(ports.read(0xb03f, 1), 63u);
        pm.config_write(0x80, 0, 1);
        EXPECT_EQ(ports.read(0xb03f, 1), 0xffu) << "decoding is off";
        pm.reset();
        EXPECT_EQ(ports.read(pc::pm_ports + 8, 1), 8u);
    }
    EXPECT_EQ(ports.read(pc::pm_ports + 8, 1), 0xffu);
    Piix4Pm pm(ports, registers, false);
    EXPECT_EQ(pm.place(), 0u) << "firmware's task";
    pm.config_write(0x40, 0x700, 4);
    EXPECT_EQ(ports.read(0x708, 1), 0xffu);
    pm.config_write(0x80, 1, 1);
    EXPECT_EQ(pm.place(), 0x700u);
    EXPECT_EQ(ports.read(0x708, 1), 8u);
}

}  // namespace
}  // namespace triune::device
