// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/interp/decode_cache.h"

#include <algorithm>

namespace triune::hypervisor::soft::interp {

DecodedPage& DecodeCache::page(Gpa gpa, CodeSize size) {
    auto& p = pages_[key(gpa, size)];
    if (!p) p = std::make_unique<DecodedPage>();
    return *p;
}

const Entry* DecodeCache::insert(DecodedPage& p, Gva at, Handler h, const Insn& i) {
    pool_.push_back({h, i});
    p.entry[at & page_mask] = static_cast<u16>(pool_.size());
    return &pool_.back();
}

namespace {
/// Drops what overlaps [gpa, last] from the page at `base`.
void drop(DecodedPage& page, Gpa base, Gpa gpa, Gpa last) {
    // An instruction of up to 15 bytes may start before the first changed byte.
    const u64 from = gpa > base + 14 ? gpa - base - 14 : 0;
    const u64 to = std::min<u64>(last - base, page_mask);
    std::fill(page.entry.begin() + static_cast<i64>(from), page.entry.begin() + static_cast<i64>(to) + 1,
              u16{0});
}
}  // namespace

void DecodeCache::invalidate(Gpa gpa, u64 size) {
    if (!size) return;
    const Gpa last = gpa + size - 1 < gpa ? ~Gpa{0} : gpa + size - 1;
    const Gpa first_page = gpa & ~page_mask;
    if ((last - first_page) / page_size < pages_.size()) {
        for (Gpa base = first_page; base <= last && base >= first_page; base += page_size)
            for (const CodeSize size_of : {CodeSize::bits16, CodeSize::bits32, CodeSize::bits64})
                if (const auto it = pages_.find(key(base, size_of)); it != pages_.end())
                    drop(*it->second, base, gpa, last);
        return;
    }
    for (auto& [k, page] : pages_) {
        const Gpa base = k & ~page_mask;
        if (base <= last && base + page_mask >= gpa) drop(*page, base, gpa, last);
    }
}

void DecodeCache::clear() {
    pages_.clear();
    pool_.clear();
    ++version_;
}

}  // namespace triune::hypervisor::soft::interp
