// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "memory/dirty_log.h"

#include <string>

namespace triune::memory {
namespace {

PageBitmap bitmap_for(u64 bytes, u64 word) { return PageBitmap((bytes / page_size + 63) / 64, word); }

std::unexpected<Error> no_such_slot(unsigned slot) {
    return fail("dirty log: there is no memory slot " + std::to_string(slot));
}

}  // namespace

Result<void> DirtyLog::set(unsigned slot, bool on) {
    const base::MutexLock lock(mutex_);
    if (slot >= memory_.slots().size()) return no_such_slot(slot);
    if (!on) {
        // Flags that no log needs only cost a TLB miss at the next write, and go then.
        logs_.erase(slot);
        return {};
    }
    const Slot& s = memory_.slots()[slot];
    logs_[slot] = {.offset = s.offset, .size = s.size, .written = bitmap_for(s.size, 0)};
    harvest(slot);
    logs_[slot].written = bitmap_for(s.size, 0);
    return {};
}

Result<PageBitmap> DirtyLog::take(unsigned slot) {
    const base::MutexLock lock(mutex_);
    if (slot >= memory_.slots().size()) return no_such_slot(slot);
    const auto log = logs_.find(slot);
    if (log == logs_.end()) return fail("dirty log: it is off for memory slot " + std::to_string(slot));
    const Slot& s = memory_.slots()[slot];
    const bool same = s.offset == log->second.offset && s.size == log->second.size;
    harvest(slot);
    PageBitmap written = std::move(log->second.written);
    if (!same) written = bitmap_for(s.size, ~u64{0});  // it shows something else: all of it is news
    if (const u64 rest = s.size / page_size % 64; rest && !written.empty())
        written.back() &= (u64{1} << rest) - 1;
    log->second = {.offset = s.offset, .size = s.size, .written = bitmap_for(s.size, 0)};
    return written;
}

void DirtyLog::harvest(unsigned index) {
    const Slot& s = memory_.slots()[index];
    for (u64 offset = s.offset; offset < s.offset + s.size; offset += page_size) {
        auto& flags = memory_.flags_at(offset);
        if (flags.load(std::memory_order_relaxed) & page_clean) continue;
        flags.fetch_or(page_clean, std::memory_order_seq_cst);
        note_written(offset);
    }
}

void DirtyLog::note_written(u64 offset) {
    for (auto& [index, log] : logs_) {
        if (offset < log.offset || offset - log.offset >= log.size) continue;
        const u64 page = (offset - log.offset) / page_size;
        log.written[page / 64] |= u64{1} << page % 64;
    }
}

}  // namespace triune::memory
