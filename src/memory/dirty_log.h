// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>

#include "base/mutex.h"
#include "memory/guest_memory.h"

namespace triune::memory {

/// Bit i: the slot's page i has been written.
using PageBitmap = std::vector<u64>;

/// Which pages of chosen slots were written since it was last asked (KVM's dirty log).
///
/// The truth lies in the pages' flags: page_clean is set on a page when the log is taken, and cleared by
/// whoever writes. DMA clears it after the bytes have changed; a processor clears it before it writes, so
/// whoever takes the log makes the processors drop their cached write permissions before it reads memory.
///
/// Threads: any. Its lock is a leaf.
class DirtyLog {
public:
    explicit DirtyLog(GuestMemory& memory) : memory_(memory) {}

    /// Starts with all pages clean, or stops. `slot` counts in GuestMemory::slots().
    Result<void> set(unsigned slot, bool on);
    /// What was written since the log was started or last taken. All pages are clean then.
    Result<PageBitmap> take(unsigned slot);

private:
    struct Log {
        u64 offset = 0, size = 0;  ///< what the slot showed when it was last looked at
        PageBitmap written;        ///< and is not in the flags any more
    };
    /// Makes the pages that slot `index` shows clean; what was not goes to every log that shows the page.
    void harvest(unsigned index) REQUIRES(mutex_);
    void note_written(u64 offset) REQUIRES(mutex_);

    GuestMemory& memory_;
    base::Mutex mutex_;
    std::map<unsigned, Log> logs_ GUARDED_BY(mutex_);
};

}  // namespace triune::memory
