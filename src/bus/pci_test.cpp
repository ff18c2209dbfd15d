// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "bus/pci.h"

#include <gtest/gtest.h>

#include <set>
#include <tuple>

namespace triune::bus {
namespace {

struct Line : IrqLine {
    void set(bool l) override {
        level = l;
        ++changes;
    }
    bool level = false;
    int changes = 0;
};

struct Sink : MsiSink {
    void send(u64 address, u32 data) override { sent.push_back({address, data}); }
    std::vector<std::pair<u64, u32>> sent;
};

struct Registers : RegisterBlock {
    u64 read(u64 offset, unsigned) override { return 0x40 + offset; }
    void write(u64 offset, u64 value, unsigned) override { last = {offset, value}; }
    std::pair<u64, u64> last{};
};

struct Device : PciFunction {
    static PciIds ids() {
        return {.vendor = 0x1af4,
                .device = 0x1042,
                .class_code = 0x010000,
                .revision = 1,
                .subsystem_vendor = 0x1af4,
                .subsystem = 2,
                .uses_intx = true};
    }
    Device() : PciFunction(ids()) {
        add_bar(0, BarKind::io, 64, io);
        add_msix(1, 3);
        add_bar(4, BarKind::memory64, 0x4000, mem);
        const std::array<u8, 3> body{0xaa, 0xbb, 0xcc};
        vendor_cap = add_capability(pci_cap::vendor, body);
    }
    void after_config_write(unsigned offset, unsigned size) override { written = {offset, size}; }
    void before_config_read(unsigned offset, unsigned) override {
        if (offset == vendor_cap + 4) config_set(offset, 0x77, 1);
    }
    void on_reset() override { ++resets; }
    using PciFunction::add_doorbell;
    using PciFunction::bus_master;
    using PciFunction::msix_enabled;
    using PciFunction::set_intx;
    using PciFunction::signal_msix;
    Registers io, mem;
    unsigned vendor_cap = 0;
    std::pair<unsigned, unsigned> written{};
    int resets = 0;
};

struct PciTest : testing::Test {
    PciTest() {
        host.attach(3, device);
        host.attach(11, other);  // same GSI as slot 3
        EXPECT_TRUE(host.assign_resources());
    }
    void select(unsigned slot, unsigned offset) {
        ports.write(0xcf8, 0x80000000u | slot << 11 | (offset & 0xfc), 4);
    }
    u32 read(unsigned slot, unsigned offset, unsigned size = 4) {
        select(slot, offset);
        return static_cast<u32>(ports.read(0xcfc + (offset & 3), size));
    }
    void write(unsigned slot, unsigned offset, u32 value, unsigned size = 4) {
        select(slot, offset);
        ports.write(0xcfc + (offset & 3), value, size);
    }
    unsigned find_capability(unsigned slot, u8 id) {
        for (unsigned at = read(slot, 0x34, 1), n = 0; at && n < 48; at = read(slot, at + 1, 1), ++n)
            if (read(slot, at, 1) == id) return at;
        return 0;
    }
    u64 table() { return read(3, 0x14) & ~15u; }
    void program(unsigned vector, u32 address, u32 data, bool masked) {
        mmio.write(table() + 16 * vector, address, 8);
        mmio.write(table() + 16 * vector + 8, data, 4);
        mmio.write(table() + 16 * vector + 12, masked, 4);
    }

    AddressMap ports, mmio;
    Sink sink;
    std::array<Line, 8> lines;
    Device device, other;
    PciHost host{ports,
                 mmio,
                 sink,
                 {&lines[0], &lines[1], &lines[2], &lines[3], &lines[4], &lines[5], &lines[6], &lines[7]}};
};

TEST(PciDoorbells, FollowTheBar) {
    struct Signals final : WriteSignals {
        using Write = std::tuple<u64, unsigned, int>;
        void add(u64 address, unsigned size, int fd) override {
            EXPECT_TRUE(now.insert({address, size, fd}).second);
        }
        void remove(u64 address, unsigned size, int fd) override {
            EXPECT_EQ(now.erase({address, size, fd}), 1u);
        }
        std::set<Write> now;
    } signals;
    AddressMap ports, mmio;
    Sink sink;
    Device device;
    {
        PciHost host{ports, mmio, sink, {}};
        host.set_write_signals(&signals);
        device.add_doorbell(4, 0x3000, 2, 10);
        device.add_doorbell(4, 0x3004, 2, 11);
        ASSERT_TRUE(host.attach(3, device));
        EXPECT_TRUE(signals.now.empty()) << "the BAR is nowhere";
        ASSERT_TRUE(host.assign_resources());
        const u64 at = device.mapped_bar(4);
        EXPECT_EQ(signals.now, (std::set<Signals::Write>{{at + 0x3000, 2, 10}, {at + 0x3004, 2, 11}}));
        device.config_write(0x20, 0xe0800000, 4);
        EXPECT_EQ(signals.now, (std::set<Signals::Write>{{0xe0803000, 2, 10}, {0xe0803004, 2, 11}}));
        device.config_write(4, 0, 2);
        EXPECT_TRUE(signals.now.empty()) << "memory decoding is off";
        device.config_write(4, 2, 2);
        EXPECT_EQ(signals.now.size(), 2u);
    }
    EXPECT_TRUE(signals.now.empty());
}

TEST_F(PciTest, ConfigurationMechanism1) {
    // Linux' probe: a byte write to 0xcfb must not disturb CONFIG_ADDRESS.
    ports.write(0xcf8, 0x80000000, 4);
    ports.write(0xcfb, 1, 1);
    EXPECT_EQ(ports.read(0xcf8, 4), 0x80000000u);
    EXPECT_EQ(read(3, 0), 0x10421af4u);
    EXPECT_EQ(read(3, 2, 2), 0x1042u);
    EXPECT_EQ(read(3, 8), 0x01000001u);
    EXPECT_EQ(read(3, 0x2c), 0x00021af4u);
    EXPECT_EQ(read(4, 0), 0xffffffffu) << "empty slot";
    ports.write(0xcf8, 0x80000000u | 3 << 11 | 1 << 8, 4);
    EXPECT_EQ(ports.read(0xcfc, 4), 0xffffffffu) << "function 1";
    ports.write(0xcf8, 3 << 11, 4);
    EXPECT_EQ(ports.read(0xcfc, 4), 0xffffffffu) << "not enabled";
    ports.write(0xcf8, 0x80010000u | 3 << 11, 4);
    EXPECT_EQ(ports.read(0xcfc, 4), 0xffffffffu) << "bus 1";
}

TEST_F(PciTest, IdsAreReadOnly) {
    write(3, 0, 0x12345678);
    EXPECT_EQ(read(3, 0), 0x10421af4u);
    EXPECT_EQ(device.written, (std::pair{0u, 4u}));
}

TEST_F(PciTest, BarsArePlacedAndDecoded) {
    const u32 bar4 = read(3, 0x20), high = read(3, 0x24);
    EXPECT_EQ(bar4 & 15, 4u);
    EXPECT_EQ(high, 0u);
    EXPECT_GE(bar4 & ~15u, pci_mmio_base);
    EXPECT_EQ((bar4 & ~15u) % 0x4000, 0u);
    EXPECT_EQ(mmio.read((bar4 & ~15u) + 8, 4), 0x48u);
    EXPECT_EQ(device.mapped_bar(4), bar4 & ~15u);
    const u32 io = read(3, 0x10);
    EXPECT_EQ(io & 3, 1u);
    ports.write((io & ~3u) + 5, 9, 1);
    EXPECT_EQ(device.io.last, (std::pair<u64, u64>{5, 9}));
    EXPECT_NE(read(11, 0x20), bar4);
    EXPECT_EQ(read(3, 0x3c, 1), 0xffu) << "not connected to the 8259A pair";
    host.assign_resources({10, 5, 11, 7});
    EXPECT_EQ(read(3, 0x3c, 1), 11u) << "slot 3's INTA is PIRQC";
    EXPECT_EQ(read(3, 0x3d, 1), 1u);
}

TEST_F(PciTest, SizingAndMoving) {
    const u32 before = read(3, 0x20);
    write(3, 4, 0, 2);
    write(3, 0x20, 0xffffffff);
    write(3, 0x24, 0xffffffff);
    EXPECT_EQ(read(3, 0x20), 0xffffc004u);
    EXPECT_EQ(read(3, 0x24), 0xffffffffu);
    EXPECT_EQ(mmio.read(before & ~15u, 4), 0xffffffffu) << "decoding is off";
    write(3, 0x20, 0);
    write(3, 0x24, 0x10);  // above 4 GB
    write(3, 4, 2, 2);
    EXPECT_EQ(mmio.read(0x10'0000'0010, 4), 0x50u);
    // Sizing with decoding on must do no harm either.
    write(3, 0x10, 0xffffffff);
    EXPECT_EQ(read(3, 0x10), 0xffc1u);
}

TEST_F(PciTest, ABarBlockedByAnotherIsMappedWhenThatLeaves) {
    const u32 first = read(3, 0x20) & ~15u, second = read(11, 0x20) & ~15u;
    write(3, 0x20, second);
    EXPECT_EQ(device.mapped_bar(4), 0u);
    write(11, 0x20, first);
    EXPECT_EQ(other.mapped_bar(4), first);
    EXPECT_EQ(device.mapped_bar(4), second);
}

TEST_F(PciTest, CapabilitiesAndHooks) {
    EXPECT_TRUE(read(3, 6, 2) & 0x10);
    const unsigned msix = find_capability(3, 0x11), vendor = find_capability(3, 9);
    ASSERT_TRUE(msix);
    EXPECT_EQ(vendor, device.vendor_cap);
    EXPECT_EQ(read(3, msix + 2, 2), 2u);
    EXPECT_EQ(read(3, msix + 4), 1u);
    EXPECT_EQ(read(3, msix + 8), 0x801u);
    EXPECT_EQ(read(3, vendor + 2, 2), 0xbbaau);
    EXPECT_EQ(read(3, vendor + 4, 1), 0x77u) << "before_config_read";
    write(3, vendor + 2, 0, 2);
    EXPECT_EQ(read(3, vendor + 2, 2), 0xbbaau);
}

TEST_F(PciTest, MsixSendsMasksAndRemembers) {
    const unsigned control = find_capability(3, 0x11) + 2;
    EXPECT_FALSE(device.signal_msix(0)) << "disabled";
    write(3, 4, 6, 2);
    write(3, control, 0x8000, 2);
    EXPECT_TRUE(device.msix_enabled());
    program(1, 0xfee01000, 0x41, false);
    EXPECT_TRUE(device.signal_msix(1));
    ASSERT_EQ(sink.sent.size(), 1u);
    EXPECT_EQ(sink.sent[0], (std::pair<u64, u32>{0xfee01000, 0x41}));
    // Vector mask: pending until unmasked, and then once.
    mmio.write(table() + 16 + 12, 1, 4);
    device.signal_msix(1);
    device.signal_msix(1);
    EXPECT_EQ(sink.sent.size(), 1u);
    EXPECT_EQ(mmio.read(table() + 0x800, 4), 2u);
    EXPECT_EQ(mmio.read(table() + 0x800, 8), 2u);
    mmio.write(table() + 16 + 12, 0, 4);
    EXPECT_EQ(sink.sent.size(), 2u);
    EXPECT_EQ(mmio.read(table() + 0x800, 4), 0u);
    // Function mask.
    write(3, control, 0xc000, 2);
    device.signal_msix(1);
    EXPECT_EQ(sink.sent.size(), 2u);
    write(3, control, 0x8000, 2);
    EXPECT_EQ(sink.sent.size(), 3u);
    // No bus mastering, no messages.
    write(3, 4, 2, 2);
    device.signal_msix(1);
    EXPECT_EQ(sink.sent.size(), 3u);
    write(3, 4, 6, 2);
    EXPECT_EQ(sink.sent.size(), 4u);
    EXPECT_FALSE(device.signal_msix(3)) << "no such vector";
}

TEST_F(PciTest, MsixTableAccessRules) {
    EXPECT_EQ(mmio.read(table() + 12, 4), 1u) << "masked after reset";
    mmio.write(table(), 0x1122334455667789, 8);
    EXPECT_EQ(mmio.read(table(), 8), 0x1122334455667788u);
    mmio.write(table() + 12, 0xffffffff, 4);
    EXPECT_EQ(mmio.read(table() + 12, 4), 1u);
    mmio.write(table() + 0x800, 0xff, 4);
    EXPECT_EQ(mmio.read(table() + 0x800, 4), 0u) << "PBA is read-only";
    mmio.write(table() + 6, 0xab, 1);
    EXPECT_EQ(mmio.read(table(), 8), 0x11ab334455667788u);
    EXPECT_EQ(mmio.read(table() + 16 * 3, 4), 0u) << "after the last entry";
}

TEST_F(PciTest, IntxIsSharedMaskedAndHiddenByMsix) {
    Line& line = lines[3];  // GSI 19
    device.set_intx(true);
    EXPECT_TRUE(line.level);
    EXPECT_TRUE(read(3, 6, 2) & 8);
    other.set_intx(true);
    device.set_intx(false);
    EXPECT_TRUE(line.level) << "slot 11 still asserts";
    EXPECT_FALSE(read(3, 6, 2) & 8);
    other.set_intx(false);
    EXPECT_FALSE(line.level);
    EXPECT_EQ(line.changes, 2);

    device.set_intx(true);
    write(3, 4, pci_command::intx_disable | 3, 2);
    EXPECT_FALSE(line.level);
    EXPECT_TRUE(read(3, 6, 2) & 8);
    write(3, 4, 3, 2);
    EXPECT_TRUE(line.level);
    write(3, find_capability(3, 0x11) + 2, 0x8000, 2);
    EXPECT_FALSE(line.level);
}

TEST_F(PciTest, ResetRestoresEverything) {
    const u32 bar = read(3, 0x20);
    write(3, 0x20, 0xd0000000);
    write(3, find_capability(3, 0x11) + 2, 0x8000, 2);
    device.set_intx(true);
    host.reset();
    EXPECT_EQ(device.resets, 1);
    EXPECT_EQ(read(3, 0x20), bar);
    EXPECT_FALSE(device.msix_enabled());
    EXPECT_FALSE(read(3, 6, 2) & 8);
    EXPECT_EQ(mmio.read(0xd0000000, 4), 0xffffffffu);
    EXPECT_EQ(mmio.read(bar & ~15u, 4), 0x40u);
}

TEST_F(PciTest, ResetPortSitsBetweenTheConfigPorts) {
    Registers reset;
    host.set_reset_port(&reset);
    ports.write(0xcf9, 6, 1);
    EXPECT_EQ(reset.last, (std::pair<u64, u64>{0, 6}));
    EXPECT_EQ(ports.read(0xcf9, 1), 0x40u);
    ports.write(0xcf8, 0x80001234, 4);
    EXPECT_EQ(ports.read(0xcf8, 4), 0x80001234u);
}

TEST(Pci, FunctionsOfOneSlot) {
    struct Plain : PciFunction {
        explicit Plain(u16 device) : PciFunction({.vendor = 0x8086, .device = device}) {}
    };
    AddressMap ports, mmio;
    Sink sink;
    Plain first(1), third(3), single(7);
    PciHost host(ports, mmio, sink, {});
    EXPECT_FALSE(host.attach(1, third, 3)) << "nobody would find it";
    EXPECT_TRUE(host.attach(1, first));
    EXPECT_TRUE(host.attach(1, third, 3));
    EXPECT_FALSE(host.attach(1, single, 3));
    EXPECT_FALSE(host.attach(1, single, 8));
    EXPECT_TRUE(host.attach(2, single));
    const auto config = [&](unsigned devfn, unsigned offset) {
        ports.write(0xcf8, 0x80000000u | devfn << 8 | offset, 4);
        return static_cast<u32>(ports.read(0xcfc, 4));
    };
    for (const bool after_reset : {false, true}) {
        if (after_reset) host.reset();
        EXPECT_EQ(config(1 << 3, 0), 0x00018086u);
        EXPECT_EQ(config(1 << 3 | 3, 0), 0x00038086u);
        EXPECT_EQ(config(1 << 3 | 1, 0), ~u32{0});
        EXPECT_EQ(config(1 << 3, 0x0c) >> 16, 0x80u) << "multi-function";
        EXPECT_EQ(config(2 << 3, 0x0c) >> 16, 0u);
    }
}

TEST(Pci, FullWindowIsReported) {
    struct Big : PciFunction {
        Big() : PciFunction({.vendor = 1}) { add_bar(0, BarKind::memory32, u64{1} << 29, r); }
        Registers r;
    };
    AddressMap ports, mmio;
    Sink sink;
    Big a, b;
    PciHost host(ports, mmio, sink, {});
    EXPECT_TRUE(host.attach(0, a));
    EXPECT_FALSE(host.attach(0, b));
    EXPECT_FALSE(host.attach(32, b));
    EXPECT_FALSE(host.assign_resources()) << "512 MB do not fit";
}

}  // namespace
}  // namespace triune::bus
