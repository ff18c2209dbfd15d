// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "memory/guest_memory.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>

#include "memory/guest_access.h"

namespace triune::memory {
namespace {

/// A page that lost its code flag this often holds code and data together.
constexpr u8 mixed_page_threshold = 8;
/// The widest physical address that the architecture allows (Intel SDM 3A 4.1.4).
constexpr u64 physical_limit = u64{1} << 52;

/// `size`, cut so that [gpa, gpa+size) does not wrap around.
constexpr u64 clipped(Gpa gpa, u64 size) { return gpa == 0 ? size : std::min(size, -gpa); }

/// Calls f(host, bytes) for each piece of [gpa, gpa+size). False, possibly halfway, at a byte that no
/// slot (no writable slot, for writes) has.
template <class F>
bool for_each_piece(const GuestMemory& memory, Gpa gpa, u64 size, bool for_write, F&& f) {
    while (size) {
        const Slot* s = memory.slot_of(gpa);
        if (!s || (for_write && s->readonly)) return false;
        const u64 n = std::min(size, s->size - (gpa - s->gpa));
        f(s->host + (gpa - s->gpa), n);
        gpa += n;
        size -= n;
    }
    return true;
}

bool covered(const GuestMemory& memory, Gpa gpa, u64 size, bool for_write) {
    return for_each_piece(memory, gpa, size, for_write, [](u8*, u64) {});
}

}  // namespace

Result<std::unique_ptr<GuestMemory>> GuestMemory::create(u64 bytes) {
    if (bytes == 0 || bytes % page_size || bytes > physical_limit)
        return fail(fmt::format("guest memory: {} bytes is not a positive multiple of {}", bytes, page_size));
    std::unique_ptr<GuestMemory> m(new GuestMemory);
    m->bytes_ = bytes;
    m->fd_ = base::Fd(::memfd_create("triune-ram", MFD_CLOEXEC));
    if (!m->fd_) return fail_errno("guest memory: memfd_create");
    if (::ftruncate(m->fd_.get(), static_cast<off_t>(bytes)))
        return fail_errno(fmt::format("guest memory: cannot size the memfd to {} MiB", bytes >> 20));
    void* p = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, m->fd_.get(), 0);
    if (p == MAP_FAILED) return fail_errno(fmt::format("guest memory: cannot map {} MiB", bytes >> 20));
    m->base_ = static_cast<u8*>(p);
    // Large pages save host TLB misses; hosts that do not give them to memfds say so here.
    (void)::madvise(p, bytes, MADV_HUGEPAGE);
    m->populator_ = Populator(m->base_, bytes, Populator::For::writing);
    m->flags_ = std::make_unique<std::atomic<u8>[]>(bytes / page_size);
    m->code_writes_ = std::make_unique<std::atomic<u8>[]>(bytes / page_size);
    return m;
}

GuestMemory::~GuestMemory() {
    if (base_) ::munmap(base_, bytes_);
}

Result<void> GuestMemory::add_slot(Gpa gpa, u64 size, u64 offset, bool readonly) {
    if (size == 0 || (gpa | size | offset) & page_mask)
        return fail(
            fmt::format("guest memory slot {:#x}+{:#x} at offset {:#x}: not whole pages", gpa, size, offset));
    if (gpa >= physical_limit || size > physical_limit - gpa)
        return fail(fmt::format("guest memory slot {:#x}+{:#x}: beyond 52 physical address bits", gpa, size));
    if (offset > bytes_ || size > bytes_ - offset)
        return fail(
            fmt::format("guest memory slot {:#x}+{:#x}: offset {:#x} lies beyond the memfd's {:#x} bytes",
                        gpa, size, offset, bytes_));
    for (const Slot& s : slots_)
        if (gpa < s.gpa + s.size && s.gpa < gpa + size)
            return fail(fmt::format("guest memory slot {:#x}+{:#x} overlaps the slot {:#x}+{:#x}", gpa, size,
                                    s.gpa, s.size));
    slots_.push_back(
        {.gpa = gpa, .size = size, .offset = offset, .host = base_ + offset, .readonly = readonly});
    return {};
}

bool GuestMemory::read(Gpa gpa, void* to, u64 size) const {
    if (!covered(*this, gpa, size, false)) return false;
    auto* out = static_cast<u8*>(to);
    return for_each_piece(*this, gpa, size, false, [&out](const u8* host, u64 n) {
        copy_guest(out, host, n);
        out += n;
    });
}

bool GuestMemory::write(Gpa gpa, const void* from, u64 size) {
    if (!covered(*this, gpa, size, true)) return false;
    const auto* in = static_cast<const u8*>(from);
    for_each_piece(*this, gpa, size, true, [&in, this](u8* host, u64 n) {
        populator_.touch(static_cast<u64>(host - base_), n);
        copy_guest(host, in, n);
        in += n;
    });
    written(gpa, size);
    return true;
}

void GuestMemory::written(Gpa gpa, u64 size) {
    size = clipped(gpa, size);
    if (!size) return;
    device_writes_.fetch_add(1, std::memory_order_release);
    u8 seen = 0;
    for (const Slot& s : slots_) {
        const u64 first = std::max(gpa, s.gpa);
        const u64 last = std::min(gpa + (size - 1), s.gpa + (s.size - 1));
        if (first > last) continue;
        const u64 end_page = (s.offset + (last - s.gpa)) / page_size;
        // The locked operation also orders the bytes before the look at page_has_code: whoever sets
        // that flag and reads the bytes afterwards sees either the new bytes or is told.
        for (u64 page = (s.offset + (first - s.gpa)) / page_size; page <= end_page; ++page)
            seen |= flags_[page].fetch_and(static_cast<u8>(~page_clean));
    }
    if (seen & page_has_code) notify_code_written(gpa, size);
}

void GuestMemory::notify_code_written(Gpa gpa, u64 size) {
    size = clipped(gpa, size);
    if (!size) return;
    std::atomic_thread_fence(std::memory_order_seq_cst);
    for (const Slot& s : slots_) {
        const u64 first = std::max(gpa, s.gpa);
        const u64 last = std::min(gpa + (size - 1), s.gpa + (s.size - 1));
        if (first > last) continue;
        u64 at = s.offset + (first - s.gpa);
        const u64 end = s.offset + (last - s.gpa) + 1;
        while (at < end) {
            const u64 page = at / page_size;
            const u64 piece_end = std::min(end, (page + 1) * page_size);
            if (flags_[page] & page_has_code) {
                u64 from = at, to = piece_end;
                if (code_writes_[page] < mixed_page_threshold) {
                    code_writes_[page].fetch_add(1);
                    flags_[page].fetch_and(static_cast<u8>(~(page_has_code | page_code_settled)));
                    from = page * page_size;
                    to = from + page_size;
                }
                tell_watchers(from, to - from);
            }
            at = piece_end;
        }
    }
}

void GuestMemory::tell_watchers(u64 offset, u64 size) {
    const base::MutexLock lock(watchers_mutex_);
    // Several slots may show the same page (firmware below 1 MiB and below 4 GiB).
    for (const Slot& s : slots_) {
        if (offset < s.offset || offset - s.offset >= s.size) continue;
        for (CodeWatcher* w : watchers_) w->code_written(s.gpa + (offset - s.offset), size);
    }
}

}  // namespace triune::memory
