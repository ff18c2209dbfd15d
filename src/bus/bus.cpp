// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "bus/bus.h"

#include <algorithm>
#include <array>

namespace triune::bus {

/// What a thread remembers of one map. Few maps exist (ports, MMIO); two that fall on the same
/// place only take turns.
struct AddressMap::View {
    u64 map_id = 0;  ///< 0: nothing remembered
    u64 generation = 0;
    size_t last = 0;  ///< index of the range hit last: accesses cluster
    std::shared_ptr<const Ranges> ranges;
};

u64 AddressMap::next_id() {
    static std::atomic<u64> counter{0};
    return ++counter;
}

AddressMap::View& AddressMap::view() const {
    static thread_local std::array<View, 4> views;
    View& v = views[id_ % views.size()];
    if (v.map_id == id_ && v.generation == generation_.load(std::memory_order_acquire)) [[likely]]
        return v;
    const base::MutexLock lock(mutex_);
    v.map_id = id_;
    v.generation = generation_.load(std::memory_order_relaxed);
    v.last = 0;
    v.ranges = ranges_;
    return v;
}

const AddressMap::Range* AddressMap::find(View& v, u64 address) const {
    const Ranges& ranges = *v.ranges;
    if (v.last < ranges.size() && address >= ranges[v.last].base && address <= ranges[v.last].last)
        return &ranges[v.last];
    auto it = std::upper_bound(ranges.begin(), ranges.end(), address,
                               [](u64 a, const Range& r) { return a < r.base; });
    if (it == ranges.begin()) return nullptr;
    --it;
    if (address > it->last) return nullptr;
    v.last = static_cast<size_t>(it - ranges.begin());
    return &*it;
}

void AddressMap::publish(Ranges ranges) {
    ranges_ = std::make_shared<const Ranges>(std::move(ranges));
    generation_.fetch_add(1, std::memory_order_release);
}

bool AddressMap::add(u64 base, u64 size, RegisterBlock& block) {
    if (size == 0 || base + (size - 1) < base) return false;
    const Range added{base, base + (size - 1), &block};
    const base::MutexLock lock(mutex_);
    Ranges ranges = *ranges_;
    auto next = std::upper_bound(ranges.begin(), ranges.end(), base,
                                 [](u64 a, const Range& r) { return a < r.base; });
    if (next != ranges.end() && next->base <= added.last) return false;
    if (next != ranges.begin() && std::prev(next)->last >= base) return false;
    ranges.insert(next, added);
    publish(std::move(ranges));
    return true;
}

void AddressMap::remove(u64 base, RegisterBlock& block) {
    const base::MutexLock lock(mutex_);
    Ranges ranges = *ranges_;
    if (std::erase_if(ranges, [&](const Range& r) { return r.base == base && r.block == &block; }))
        publish(std::move(ranges));
}

// The handler may itself change this map (a BAR moves), which replaces the thread's view: the
// range is copied before the call, and looked up anew for every byte of a split access.

u64 AddressMap::read(u64 address, unsigned size) {
    const Range* hit = find(view(), address);
    if (hit && size - 1 <= hit->last - address) [[likely]] {
        const Range r = *hit;
        const u64 v = r.block->read(address - r.base, size);
        return size >= 8 ? v : v & ((u64{1} << (size * 8)) - 1);
    }
    u64 value = 0;
    for (unsigned i = 0; i < size && i < 8; ++i) {
        const Range* h = find(view(), address + i);
        u64 byte = 0xff;
        if (h) {
            const Range r = *h;
            byte = r.block->read(address + i - r.base, 1) & 0xff;
        }
        value |= byte << (8 * i);
    }
    return value;
}

void AddressMap::write(u64 address, u64 value, unsigned size) {
    const Range* hit = find(view(), address);
    if (hit && size - 1 <= hit->last - address) [[likely]] {
        const Range r = *hit;
        r.block->write(address - r.base, value, size);
        return;
    }
    for (unsigned i = 0; i < size && i < 8; ++i)
        if (const Range* h = find(view(), address + i)) {
            const Range r = *h;
            r.block->write(address + i - r.base, (value >> (8 * i)) & 0xff, 1);
        }
}

}  // namespace triune::bus
