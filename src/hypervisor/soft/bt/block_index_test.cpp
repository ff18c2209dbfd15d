// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/bt/block_index.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

#include "hypervisor/soft/bt/host_map.h"

namespace triune::hypervisor::soft::bt {
namespace {

TEST(BlockIndex, IsAMap) {
    BlockIndex index;
    std::map<u32, u64> hashes;  // by id
    std::mt19937_64 random(1);
    const auto hash_of = [&](u32 id) { return hashes.at(id); };
    for (u32 id = 1; id < 20000; ++id) {
        hashes[id] = random() % 5000 * 0x9e3779b97f4a7c15;  // many share one
        index.add(hashes[id], id, hash_of);
        const u32 gone = 1 + static_cast<u32>(random() % id);
        if (id % 3 == 0 && hashes.contains(gone)) {
            index.remove(hashes[gone], gone);
            hashes.erase(gone);
        }
    }
    for (u32 id = 1; id < 20000; ++id) {
        const bool there = hashes.contains(id);
        const u32 found = index.find(there ? hashes[id] : 0, [&](u32 other) { return other == id; });
        EXPECT_EQ(found, there ? id : 0);
    }
}

TEST(BlockIndex, RemovedOnesAreGoneAndTheRestStays) {
    BlockIndex index;
    const auto hash_of = [](u32 id) { return u64{id % 16}; };
    for (u32 id = 1; id <= 1000; ++id) index.add(hash_of(id), id, hash_of);
    for (u32 id = 1; id <= 1000; id += 2) index.remove(hash_of(id), id);
    for (u32 id = 1; id <= 1000; ++id)
        EXPECT_EQ(index.find(hash_of(id), [&](u32 other) { return other == id; }), id % 2 ? 0 : id);
    index.clear();
    EXPECT_EQ(index.find(2, [](u32) { return true; }), 0u);
}

TEST(BlockIndex, DoesNotGrowWithoutNeed) {
    BlockIndex index;
    const auto hash_of = [](u32 id) { return id * u64{0x9e3779b97f4a7c15}; };
    for (u32 id = 1; id <= 1000000; ++id) {
        index.add(hash_of(id), id, hash_of);
        if (id > 100) index.remove(hash_of(id - 100), id - 100);
    }
    EXPECT_LE(index.bytes(), 8192u);
}

TEST(HostMap, ComesBackAsItWas) {
    std::mt19937 random(2);
    std::vector<HostMapEntry> entries;
    HostMapEntry e;
    for (unsigned n = 0; n < 1000; ++n) {
        e.host += random() % 5 ? random() % 300 : random() % 20000;
        e.guest = static_cast<u16>(e.guest + (random() % 5 ? random() % 16 : random() % 100));
        e.flags = random() % 2 ? FlagsAt::host : FlagsAt::memory;
        e.flags_valid = random() % 2;
        entries.push_back(e);
    }
    std::vector<u8> bytes(entries.size() * HostMapWriter::longest);
    HostMapWriter writer(bytes.data());
    for (const HostMapEntry& m : entries) writer.add(m);
    HostMapReader reader(bytes.data());
    for (const HostMapEntry& m : entries) {
        const HostMapEntry r = reader.next();
        EXPECT_EQ(r.host, m.host);
        EXPECT_EQ(r.guest, m.guest);
        EXPECT_EQ(r.flags, m.flags);
        EXPECT_EQ(r.flags_valid, m.flags_valid);
    }
}

}  // namespace
}  // namespace triune::hypervisor::soft::bt
