// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "bus/msix.h"

#include <algorithm>
#include <bit>

#include "base/bits.h"

namespace triune::bus {

namespace {
constexpr unsigned entry_bytes = 16;
constexpr unsigned max_vectors = 2048;
}  // namespace

Msix::Msix(unsigned vectors)
    : entries_(std::clamp(vectors, 1u, max_vectors)),
      // Half for the table, half for the pending bits: they never share a page when that is large.
      bar_size_(std::max<u64>(4096, 2 * std::bit_ceil(entries_.size() * entry_bytes))) {}

void Msix::deliver(Entry& e) {
    e.pending = false;
    if (sink_) sink_->send(e.word[0] | u64{e.word[1]} << 32, e.word[2]);
}

void Msix::configure(bool enabled, bool function_masked, bool bus_master) {
    const base::MutexLock lock(mutex_);
    enabled_ = enabled;
    function_masked_ = function_masked;
    bus_master_ = bus_master;
    if (!enabled_ || function_masked_ || !bus_master_) return;
    for (Entry& e : entries_)
        if (e.pending && !e.masked()) deliver(e);
}

bool Msix::signal(unsigned vector) {
    const base::MutexLock lock(mutex_);
    if (!enabled_ || vector >= entries_.size()) return false;
    Entry& e = entries_[vector];
    // A message is a memory write, so without Bus Master it has to wait as if masked.
    if (function_masked_ || e.masked() || !bus_master_)
        e.pending = true;
    else
        deliver(e);
    return true;
}

void Msix::reset() {
    const base::MutexLock lock(mutex_);
    std::ranges::fill(entries_, Entry{});
    enabled_ = function_masked_ = bus_master_ = false;
}

u32 Msix::read_word(u64 offset) const {
    if (const u64 index = offset / entry_bytes; index < entries_.size())
        return entries_[index].word[offset % entry_bytes / 4];
    u32 bits = 0;
    if (offset >= pba_offset()) {
        const u64 first = (offset - pba_offset()) * 8;
        for (unsigned i = 0; i < 32 && first + i < entries_.size(); ++i)
            bits |= u32{entries_[first + i].pending} << i;
    }
    return bits;
}

void Msix::write_word(u64 offset, u32 value, u32 mask) {
    const u64 index = offset / entry_bytes;
    if (index >= entries_.size()) return;  // pending bits are read-only
    Entry& e = entries_[index];
    u32& word = e.word[offset % entry_bytes / 4];
    switch (offset % entry_bytes / 4) {
        case 0: mask &= ~3u; break;  // messages go to doublewords
        case 3: mask &= 1; break;    // the rest of Vector Control is reserved
        default: break;
    }
    word = (word & ~mask) | (value & mask);
    if (e.pending && !e.masked() && enabled_ && !function_masked_ && bus_master_) deliver(e);
}

// Software is to use aligned 4- and 8-byte accesses; smaller ones are served all the same.

u64 Msix::read(u64 offset, unsigned size) {
    const base::MutexLock lock(mutex_);
    u64 value = 0;
    for (unsigned i = 0; i < size;) {
        const u64 at = offset + i;
        const auto shift = static_cast<unsigned>(at % 4);
        const unsigned n = std::min(4 - shift, size - i);
        value |= (u64{read_word(at - shift)} >> (8 * shift) & base::low_mask(8 * n)) << (8 * i);
        i += n;
    }
    return value;
}

void Msix::write(u64 offset, u64 value, unsigned size) {
    const base::MutexLock lock(mutex_);
    for (unsigned i = 0; i < size;) {
        const u64 at = offset + i;
        const auto shift = static_cast<unsigned>(at % 4);
        const unsigned n = std::min(4 - shift, size - i);
        const u64 mask = base::low_mask(8 * n);
        write_word(at - shift, static_cast<u32>((value >> (8 * i) & mask) << (8 * shift)),
                   static_cast<u32>(mask << (8 * shift)));
        i += n;
    }
}

}  // namespace triune::bus
