// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "device/fw_cfg.h"

#include <gtest/gtest.h>

namespace triune::device {
namespace {

struct FwCfgTest : testing::Test {
    FwCfgTest() {
        EXPECT_TRUE(memory->add_slot(0, 1 << 20, 0));
        device.add_number(FwCfg::cpu_count, 3, 2);
        device.add_file("etc/b", {1, 2, 3, 4, 5});
        device.add_file("etc/a", {9});
        device.finish();
        EXPECT_TRUE(ports.add(FwCfg::ports, FwCfg::port_count, device));
    }
    void select(u16 key) { ports.write(0x510, key, 2); }
    u64 take(unsigned n) {
        u64 v = 0;
        for (unsigned i = 0; i < n; ++i) v |= ports.read(0x511, 1) << (8 * i);
        return v;
    }
    /// Runs a command at 0x1000 and returns its control word afterwards.
    u32 dma(u32 control, u32 length, u64 address, Gpa at = 0x1000) {
        EXPECT_TRUE(memory->write_value(0x1000, __builtin_bswap32(control)));
        EXPECT_TRUE(memory->write_value(0x1004, __builtin_bswap32(length)));
        EXPECT_TRUE(memory->write_value(0x1008, __builtin_bswap64(address)));
        ports.write(0x514, __builtin_bswap32(static_cast<u32>(at >> 32)), 4);
        ports.write(0x518, __builtin_bswap32(static_cast<u32>(at)), 4);
        u32 v = 0;
        EXPECT_TRUE(memory->read_value(0x1000, v));
        return __builtin_bswap32(v);
    }
    std::unique_ptr<memory::GuestMemory> memory = memory::GuestMemory::create(1 << 20).value();
    FwCfg device{*memory};
    bus::AddressMap ports;
};

TEST_F(FwCfgTest, ItemsByTheirPorts) {
    select(FwCfg::signature);
    EXPECT_EQ(take(4), 0x554d4551u);
    EXPECT_EQ(take(2), 0u) << "nothing beyond the end";
    select(FwCfg::id);
    EXPECT_EQ(take(4), 3u);
    select(FwCfg::cpu_count);
    EXPECT_EQ(take(2), 3u);
    select(0x7777);
    EXPECT_EQ(take(4), 0u);
    EXPECT_EQ(ports.read(0x514, 4), 0x554d4551u);
    EXPECT_EQ(ports.read(0x518, 4), 0x47464320u);
}

TEST_F(FwCfgTest, DirectoryOfFiles) {
    select(FwCfg::file_directory);
    EXPECT_EQ(take(4), 2u << 24);
    EXPECT_EQ(take(4), 1u << 24) << "size of etc/a";
    EXPECT_EQ(take(4), 0x2000u) << "number 0x20";
    EXPECT_EQ(take(5), 0x612f637465u);
    for (unsigned i = 5; i < 56; ++i) EXPECT_EQ(take(1), 0u);
    EXPECT_EQ(take(4), 5u << 24);
    EXPECT_EQ(take(4), 0x2100u);
    select(0x21);
    EXPECT_EQ(take(8), 0x0504030201u);
}

TEST_F(FwCfgTest, Dma) {
    EXPECT_EQ(dma(0x21 << 16 | 8 | 4, 2, 0), 0u) << "select and skip two";
    EXPECT_TRUE(memory->write_value(0x2000, ~u64{0}));
    EXPECT_EQ(dma(2, 6, 0x2000), 0u);
    u64 v = 0;
    EXPECT_TRUE(memory->read_value(0x2000, v));
    EXPECT_EQ(v, 0xffff'0000'0005'0403u) << "the rest of the item, then zeros";
    EXPECT_EQ(dma(16, 1, 0x2000), 1u) << "nothing can be written";
}

TEST_F(FwCfgTest, HostileDma) {
    select(0x21);
    EXPECT_EQ(dma(2, 5, 0xfffff), 1u) << "out of RAM";
    EXPECT_EQ(dma(2, 0xffffffff, 0x2000), 1u);
    EXPECT_EQ(dma(2, 4, ~u64{0}), 1u);
    EXPECT_EQ(dma(4, 0xffffffff, 0), 0u);
    EXPECT_EQ(dma(2, 4, 0x2000, u64{1} << 60), 2u) << "no command there: nothing happens";
    EXPECT_EQ(dma(2, 4, 0x2000, 0xffff8), 2u);
    // Other widths and places.
    for (unsigned offset = 0; offset < FwCfg::port_count; ++offset)
        for (const unsigned size : {1u, 2u, 4u}) {
            ports.write(0x510 + offset, 0x12345678, size);
            ports.read(0x510 + offset, size);
        }
}

TEST_F(FwCfgTest, FilesMadeWhenTheyAreSelected) {
    FwCfg made(*memory);
    u8 now = 7;
    made.add_file("etc/now", [&] { return std::vector<u8>{now, 1}; });
    made.finish();
    bus::AddressMap own;
    EXPECT_TRUE(own.add(FwCfg::ports, FwCfg::port_count, made));
    for (now = 7; now < 9; ++now) {
        own.write(0x510, FwCfg::first_file, 2);
        EXPECT_EQ(own.read(0x511, 1), now);
        EXPECT_EQ(own.read(0x511, 1), 1u);
        EXPECT_EQ(own.read(0x511, 1), 0u);
    }
}

}  // namespace
}  // namespace triune::device
