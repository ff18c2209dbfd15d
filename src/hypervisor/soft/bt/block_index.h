// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "base/types.h"

namespace triune::hypervisor::soft::bt {

/// A hash table of block ids: eight bytes a slot, the keys are the blocks' own. Open addressing, linear
/// probes.
///
/// `Same` says whether the block with an id is the one looked for.
class BlockIndex {
public:
    /// The id for which `same(id)`, among those added with `hash`, or 0.
    template <class Same>
    [[nodiscard]] u32 find(u64 hash, Same same) const {
        if (slots_.empty()) return 0;
        const u32 tag = tag_of(hash);
        for (size_t i = first(hash); slots_[i].id != empty; i = next(i))
            if (slots_[i].tag == tag && slots_[i].id != removed && same(slots_[i].id)) return slots_[i].id;
        return 0;
    }
    /// `hash_of(id)`: what an id was added with, for when the table grows.
    template <class HashOf>
    void add(u64 hash, u32 id, HashOf hash_of) {
        if (4 * (used_ + 1) > 3 * slots_.size()) grow(hash_of);
        place(hash, id);
    }
    void remove(u64 hash, u32 id) {
        if (slots_.empty()) return;
        for (size_t i = first(hash); slots_[i].id != empty; i = next(i)) {
            if (slots_[i].id != id) continue;
            slots_[i].id = removed;
            --live_;
            return;
        }
    }
    void clear() { *this = {}; }
    [[nodiscard]] size_t bytes() const { return slots_.size() * sizeof(Slot); }

private:
    static constexpr u32 empty = 0, removed = ~u32{0};
    static constexpr size_t smallest = 256;
    struct Slot {
        u32 id = empty;
        u32 tag = 0;  ///< of the hash: blocks are looked at only where it agrees
    };

    static u32 tag_of(u64 hash) { return static_cast<u32>(hash >> 32); }
    [[nodiscard]] size_t first(u64 hash) const { return (hash ^ hash >> 32) & (slots_.size() - 1); }
    [[nodiscard]] size_t next(size_t i) const { return (i + 1) & (slots_.size() - 1); }
    void place(u64 hash, u32 id) {
        size_t i = first(hash);
        while (slots_[i].id != empty && slots_[i].id != removed) i = next(i);
        used_ += slots_[i].id == empty;
        ++live_;
        slots_[i] = {id, tag_of(hash)};
    }
    template <class HashOf>
    void grow(HashOf hash_of) {
        size_t size = slots_.empty() ? smallest : slots_.size();
        if (2 * live_ > size / 2) size *= 2;  // else there are many that were removed
        std::vector<Slot> old(size);
        old.swap(slots_);
        used_ = live_ = 0;
        for (const Slot& s : old)
            if (s.id != empty && s.id != removed) place(hash_of(s.id), s.id);
    }

    std::vector<Slot> slots_;  // a power of two
    size_t used_ = 0;          // slots that are not empty
    size_t live_ = 0;
};

}  // namespace triune::hypervisor::soft::bt
