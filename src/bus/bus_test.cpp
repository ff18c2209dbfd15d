// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "bus/bus.h"

#include <gtest/gtest.h>

#include <thread>

namespace triune::bus {
namespace {

/// Answers each byte with `tag` + offset and remembers the accesses.
struct Recorder : RegisterBlock {
    explicit Recorder(u8 t) : tag(t) {}
    u64 read(u64 offset, unsigned size) override {
        u64 v = 0;
        for (unsigned i = 0; i < size; ++i) v |= u64{static_cast<u8>(tag + offset + i)} << (8 * i);
        return v;
    }
    void write(u64 offset, u64 value, unsigned size) override { writes.push_back({offset, value, size}); }
    struct Write {
        u64 offset, value;
        unsigned size;
        bool operator==(const Write&) const = default;
    };
    u8 tag;
    std::vector<Write> writes;
};

TEST(AddressMap, DispatchesByRangeWithOffsets) {
    AddressMap map;
    Recorder a(0x10), b(0x80);
    ASSERT_TRUE(map.add(0x100, 8, a));
    ASSERT_TRUE(map.add(0x108, 8, b));
    EXPECT_EQ(map.read(0x102, 2), 0x1312u);
    EXPECT_EQ(map.read(0x108, 8), 0x8786858483828180u);
    map.write(0x10c, 0xabcd, 2);
    EXPECT_EQ(b.writes, (std::vector<Recorder::Write>{{4, 0xabcd, 2}}));
}

TEST(AddressMap, UnclaimedReadsOnesAndDropsWrites) {
    AddressMap map;
    EXPECT_EQ(map.read(0x80, 1), 0xffu);
    EXPECT_EQ(map.read(0x80, 4), 0xffffffffu);
    EXPECT_EQ(map.read(~u64{0} - 3, 8), ~u64{0});
    map.write(0x80, 1, 8);
}

TEST(AddressMap, StraddlingAccessesAreDoneBytewise) {
    AddressMap map;
    Recorder a(0x10), b(0x80);
    map.add(0x100, 2, a);
    map.add(0x103, 1, b);
    EXPECT_EQ(map.read(0x100, 4), 0x80ff1110u);
    EXPECT_EQ(map.read(0xff, 2), 0x10ffu);
    map.write(0x101, 0x44332211, 4);
    EXPECT_EQ(a.writes, (std::vector<Recorder::Write>{{1, 0x11, 1}}));
    EXPECT_EQ(b.writes, (std::vector<Recorder::Write>{{0, 0x33, 1}}));
}

TEST(AddressMap, RefusesOverlapEmptyAndWrapping) {
    AddressMap map;
    Recorder a(0), b(0);
    EXPECT_TRUE(map.add(0x100, 0x10, a));
    EXPECT_FALSE(map.add(0x10f, 1, b));
    EXPECT_FALSE(map.add(0xf0, 0x11, b));
    EXPECT_FALSE(map.add(0xf0, 0x100, b));
    EXPECT_FALSE(map.add(0x100, 0x10, b));
    EXPECT_FALSE(map.add(0x200, 0, b));
    EXPECT_FALSE(map.add(~u64{0} - 3, 8, b));
    EXPECT_TRUE(map.add(~u64{0} - 3, 4, b));
    EXPECT_TRUE(map.add(0xf0, 0x10, b));
}

TEST(AddressMap, RemoveTakesEffectAtOnce) {
    AddressMap map;
    Recorder a(1), b(2);
    map.add(0x100, 4, a);
    EXPECT_EQ(map.read(0x100, 1), 1u);
    map.remove(0x100, b);  // not b's
    EXPECT_EQ(map.read(0x100, 1), 1u);
    map.remove(0x100, a);
    EXPECT_EQ(map.read(0x100, 1), 0xffu);
    map.add(0x100, 4, b);
    EXPECT_EQ(map.read(0x100, 1), 2u);
}

TEST(AddressMap, MapsDoNotMixUpTheirThreadViews) {
    // More maps than a thread remembers, and ones that die in between.
    Recorder r(7);
    for (int round = 0; round < 3; ++round) {
        std::vector<std::unique_ptr<AddressMap>> maps;
        for (unsigned i = 0; i < 9; ++i) {
            maps.push_back(std::make_unique<AddressMap>());
            maps.back()->add(0x100 * (i + 1), 1, r);
        }
        for (unsigned i = 0; i < 9; ++i)
            for (unsigned j = 0; j < 9; ++j)
                EXPECT_EQ(maps[i]->read(0x100 * (j + 1), 1), i == j ? 7u : 0xffu);
    }
}

TEST(AddressMap, HandlerMayChangeTheMap) {
    AddressMap map;
    struct Mover : RegisterBlock {
        explicit Mover(AddressMap& m) : map(m) {}
        u64 read(u64, unsigned) override {
            map.remove(0x100, *this);
            map.add(0x200, 4, *this);
            return 5;
        }
        void write(u64, u64, unsigned) override {}
        AddressMap& map;
    } mover(map);
    map.add(0x100, 4, mover);
    EXPECT_EQ(map.read(0x100, 4), 5u);
    EXPECT_EQ(map.read(0x100, 4), 0xffffffffu);
    EXPECT_EQ(map.read(0x202, 1), 5u);
}

TEST(AddressMap, LookupsRaceWithChanges) {
    AddressMap map;
    Recorder fixed(3), moving(9);
    map.add(0x100, 1, fixed);
    std::atomic<bool> stop = false;
    std::atomic<unsigned> wrong = 0;
    std::thread reader([&] {
        while (!stop) {
            if (map.read(0x100, 1) != 3) ++wrong;
            if (const u64 v = map.read(0x200, 1); v != 9 && v != 0xff) ++wrong;
        }
    });
    for (int i = 0; i < 2000; ++i) {
        map.add(0x200, 1, moving);
        map.remove(0x200, moving);
    }
    stop = true;
    reader.join();
    EXPECT_EQ(wrong, 0u);
}

}  // namespace
}  // namespace triune::bus
