// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Decoded instructions by guest-physical address and code size.
///
///     virtual page -> (translation cache) -> DecodedPage -> slot of the byte -> Entry
///
/// Entries come from a bounded pool; when it is used up everything is dropped. An instruction that
/// crosses a page is never cached.
#include <memory>
#include <unordered_map>
#include <vector>

#include "hypervisor/soft/interp/handlers.h"

namespace triune::hypervisor::soft::interp {

struct Entry {
    Handler handler = nullptr;
    Insn insn;
};

/// Instructions that start in one physical page.
struct DecodedPage {
    std::array<u16, page_size> entry{};  ///< index + 1 in the pool; 0: not decoded
};

class DecodeCache {
public:
    DecodeCache() { pool_.reserve(max_entries); }
    static constexpr u32 max_entries = 0xffff;
    static constexpr u32 max_pages = 2048;

    /// The page of `gpa` for code of `size`, made when missing. May drop everything else.
    DecodedPage& page(Gpa gpa, CodeSize size);
    [[nodiscard]] const Entry* find(const DecodedPage& p, Gva at) const {
        const u32 n = p.entry[at & page_mask];
        return n ? &pool_[n - 1] : nullptr;
    }
    /// Room for one more entry: false when the pool is used up (then clear() and find the page anew).
    [[nodiscard]] bool full() const { return pool_.size() == max_entries || pages_.size() >= max_pages; }
    const Entry* insert(DecodedPage& p, Gva at, Handler h, const Insn& i);
    void invalidate(Gpa gpa, u64 size);
    void clear();
    /// Changes when DecodedPage pointers become stale.
    [[nodiscard]] u64 version() const { return version_; }

private:
    static u64 key(Gpa gpa, CodeSize size) { return (gpa & ~page_mask) | static_cast<u64>(size); }
    std::unordered_map<u64, std::unique_ptr<DecodedPage>> pages_;
    std::vector<Entry> pool_;  ///< never grows beyond what was reserved: entries stay where they are
    u64 version_ = 0;
};

}  // namespace triune::hypervisor::soft::interp
