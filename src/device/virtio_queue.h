// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Virtio devices (Virtual I/O Device 1.2) and, here, the split virtqueue (2.7).
///
/// Everything in guest memory may change at any moment and hold anything. Each word is read once
/// and checked; a ring that breaks the rules marks the queue broken, which is final until the queue
/// is configured again, and the device tells the driver with DEVICE_NEEDS_RESET.
///
/// Threads: none of its own, no locks: one thread at a time, guarded by the device.
#include <sys/uio.h>

#include <vector>

#include "base/types.h"
#include "memory/guest_memory.h"

namespace triune::device {

namespace virtio_feature {
inline constexpr u64 indirect_desc = u64{1} << 28, event_idx = u64{1} << 29, version_1 = u64{1} << 32;
}

/// One request: buffers that the driver lends to the device until they are pushed back.
struct VirtioChain {
    u16 head = 0;
    std::vector<iovec> readable, writable;  ///< no empty pieces
    std::vector<Gpa> writable_gpa;          ///< of each writable piece
    u64 readable_size = 0, writable_size = 0;

    void clear();
    /// Copies [offset, offset+size) of the readable part; gives how many bytes there were.
    u64 read(u64 offset, void* to, u64 size) const;
    /// Copies into the writable part from `offset` on; gives how many bytes fitted.
    u64 write(u64 offset, const void* from, u64 size) const;
    template <class T>
    [[nodiscard]] bool read_value(u64 offset, T& v) const {
        return read(offset, &v, sizeof v) == sizeof v;
    }
};

class VirtioQueue {
public:
    /// Longest chain, indirect descriptors included. What readv() takes at once.
    static constexpr unsigned max_chain = 1024;
    static constexpr unsigned max_size = 1024;

    struct Layout {
        u32 size = 0;  ///< entries: a power of two up to max_size
        Gpa descriptors = 0, driver = 0, device = 0;
    };
    enum class Pop { chain, empty, broken };

    explicit VirtioQueue(memory::GuestMemory& memory) : memory_(&memory) {}

    /// Starts afresh with the rings at `layout`, which must be aligned RAM. False (and broken) when not.
    bool configure(const Layout& layout, u64 features);
    /// Back to the state without rings: nothing pops.
    void clear();
    [[nodiscard]] bool ready() const { return size_ != 0 && !broken_; }
    [[nodiscard]] bool broken() const { return broken_; }

    /// Takes the next request. Reuses the memory of `chain`.
    Pop pop(VirtioChain& chain);
    /// True when pop() would not be empty.
    [[nodiscard]] bool has_more() const;
    /// Undoes the last `n` pops of which nothing was staged.
    void unpop(u16 n) { next_avail_ = static_cast<u16>(next_avail_ - n); }

    /// Gives a request back: the device wrote the first `written` bytes of its writable part (they
    /// are reported as DMA here). The driver sees it after publish().
    void stage(const VirtioChain& chain, u64 written);
    void publish();
    void push(const VirtioChain& chain, u64 written) {
        stage(chain, written);
        publish();
    }
    /// After publish(): does the driver want an interrupt for what was published since the last call?
    bool interrupt_needed();

    /// Asks the driver not to notify. A hint.
    void disable_notifications();
    /// Asks the driver to notify of the next request. True when there already is one: then no
    /// notification may come for it.
    bool enable_notifications();

private:
    struct Descriptor {
        u64 address;
        u32 length;
        u16 flags;
        u16 next;
    };
    bool collect(VirtioChain& chain);
    bool add_piece(VirtioChain& chain, const Descriptor& d);
    [[nodiscard]] u16 avail_index() const;
    void used_written(u64 offset, u64 bytes);

    memory::GuestMemory* memory_;
    u8* descriptors_ = nullptr;
    u8* avail_ = nullptr;
    u8* used_ = nullptr;
    Gpa used_gpa_ = 0;
    u32 size_ = 0;
    bool indirect_ = false, event_idx_ = false, broken_ = false;
    u16 next_avail_ = 0;      ///< next entry of the available ring to look at
    u16 next_used_ = 0;       ///< next entry of the used ring to fill
    u16 published_ = 0;       ///< the used index that the driver sees
    u16 last_signalled_ = 0;  ///< the used index when interrupt_needed() was last asked
};

}  // namespace triune::device
