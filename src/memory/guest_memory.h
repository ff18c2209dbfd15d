// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

/// memory: guest RAM. One memfd backs all RAM of a VM and is mapped once into the monitor
/// ("machine memory"); slots place ranges of it in guest-physical space.
///
/// Threads: slots are laid out before the first vCPU runs and never change while one runs, so
/// look-ups need no lock. Guest bytes themselves are shared with running vCPUs: plain loads and
/// stores race with the guest as DMA does. Page flags are atomic.
#include <atomic>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

#include "base/fd.h"
#include "base/mutex.h"
#include "base/result.h"
#include "base/types.h"
#include "memory/populate.h"

namespace triune::memory {

/// A range of guest-physical space backed by RAM (or ROM).
struct Slot {
    Gpa gpa = 0;
    u64 size = 0;
    u64 offset = 0;  ///< in the memfd
    u8* host = nullptr;
    bool readonly = false;
};

/// What is to happen when somebody writes to a guest page that holds translated or decoded code.
class CodeWatcher {
public:
    virtual ~CodeWatcher() = default;
    /// Called on the writing thread, after the bytes have changed.
    virtual void code_written(Gpa gpa, u64 size) = 0;
};

/// Per-page flags.
inline constexpr u8 page_has_code = 1;  ///< some engine caches what it decoded from this page
/// Besides page_has_code: no vCPU holds a cached permission to write to the page any more.
inline constexpr u8 page_code_settled = 4;
/// A dirty log watches the page, and nobody has written to it since the log was taken (dirty_log.h).
/// Whoever writes clears it; a cached permission to write is only given where it is clear.
inline constexpr u8 page_clean = 2;

class GuestMemory {
public:
    /// Reserves one memfd of `bytes` (a multiple of 4096) of zeroed RAM.
    static Result<std::unique_ptr<GuestMemory>> create(u64 bytes);
    ~GuestMemory();
    GuestMemory(const GuestMemory&) = delete;
    GuestMemory& operator=(const GuestMemory&) = delete;

    /// Places [offset, offset+size) of the memfd at `gpa`. All multiples of 4096. Fails on overlap.
    Result<void> add_slot(Gpa gpa, u64 size, u64 offset, bool readonly = false);
    [[nodiscard]] std::span<const Slot> slots() const { return slots_; }
    [[nodiscard]] int memfd() const { return fd_.get(); }
    [[nodiscard]] u64 bytes() const { return bytes_; }

    /// Host address of [gpa, gpa+size) when it lies wholly in one slot, else null.
    [[nodiscard]] u8* host(Gpa gpa, u64 size) const {
        for (const Slot& s : slots_)
            if (gpa >= s.gpa && gpa - s.gpa < s.size && size <= s.size - (gpa - s.gpa))
                return s.host + (gpa - s.gpa);
        return nullptr;
    }
    [[nodiscard]] const Slot* slot_of(Gpa gpa) const {
        for (const Slot& s : slots_)
            if (gpa >= s.gpa && gpa - s.gpa < s.size) return &s;
        return nullptr;
    }

    /// Device (DMA) and loader access. False when any byte is not RAM; then nothing was done.
    /// Writes go into the dirty log and tell the code watchers. May span slots. To write(), a read-only
    /// slot is not RAM: loaders fill ROM through host() before the guest runs.
    [[nodiscard]] bool read(Gpa gpa, void* to, u64 size) const;
    [[nodiscard]] bool write(Gpa gpa, const void* from, u64 size);
    /// For devices that fill guest memory in place (readv, recv): call after the bytes changed.
    void written(Gpa gpa, u64 size);
    /// Counts calls of write() and written().
    [[nodiscard]] u64 device_writes() const { return device_writes_.load(std::memory_order_acquire); }

    template <class T>
    [[nodiscard]] bool read_value(Gpa gpa, T& v) const {
        return read(gpa, &v, sizeof v);
    }
    template <class T>
    [[nodiscard]] bool write_value(Gpa gpa, const T& v) {
        return write(gpa, &v, sizeof v);
    }

    /// The page at `gpa`, in `slot`, is about to be touched for the first time in a while.
    void touch(const Slot& slot, Gpa gpa) { populator_.touch(slot.offset + (gpa - slot.gpa)); }

    /// Flags of the page at `gpa`, which must be RAM.
    [[nodiscard]] std::atomic<u8>& page_flags(Gpa gpa) {
        const Slot* s = slot_of(gpa);
        return flags_[(s->offset + (gpa - s->gpa)) / page_size];
    }

    /// Flags of the page at `offset` of the memfd.
    [[nodiscard]] std::atomic<u8>& flags_at(u64 offset) { return flags_[offset / page_size]; }

    /// Any thread; a watcher that was removed is not called any more.
    void add_code_watcher(CodeWatcher* w) {
        const base::MutexLock lock(watchers_mutex_);
        watchers_.push_back(w);
    }
    void remove_code_watcher(CodeWatcher* w) {
        const base::MutexLock lock(watchers_mutex_);
        std::erase(watchers_, w);
    }
    /// Bytes of [gpa, gpa+size) have changed: for every touched page that holds code, tells the
    /// watchers. At first a page's flag is cleared and the watchers get the whole page (it is plain
    /// data again until code is cached from it anew); a page where that keeps happening holds both
    /// code and data: then the flag stays and the watchers get the exact range.
    void notify_code_written(Gpa gpa, u64 size);

private:
    GuestMemory() = default;
    /// Tells them that the bytes at [offset, offset+size) of the memfd, within one page, changed.
    void tell_watchers(u64 offset, u64 size);

    base::Fd fd_;
    u64 bytes_ = 0;
    u8* base_ = nullptr;
    Populator populator_;
    std::vector<Slot> slots_;
    std::unique_ptr<std::atomic<u8>[]> flags_;
    std::unique_ptr<std::atomic<u8>[]> code_writes_;  ///< how often a page lost its code flag
    base::Mutex watchers_mutex_;                      ///< taken before a watcher's own locks
    std::vector<CodeWatcher*> watchers_ GUARDED_BY(watchers_mutex_);
    std::atomic<u64> device_writes_{0};
};

}  // namespace triune::memory
