// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "device/virtio_queue.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>

namespace triune::device {
namespace {

// Descriptor flags (2.7.5).
constexpr u16 desc_next = 1, desc_write = 2, desc_indirect = 4;
// Available ring: u16 flags, u16 index, u16 ring[size], u16 used_event (2.7.6).
constexpr u16 avail_no_interrupt = 1;
// Used ring: u16 flags, u16 index, {u32 id, u32 length} ring[size], u16 avail_event (2.7.8).
constexpr u16 used_no_notify = 1;
constexpr u64 descriptor_bytes = 16, ring_header = 4, used_entry = 8;

// Guest words are shared with running vCPUs; all of these are naturally aligned.
u16 load16(const u8* p, std::memory_order order) {
    return std::atomic_ref<u16>(*reinterpret_cast<u16*>(const_cast<u8*>(p))).load(order);
}
void store16(u8* p, u16 v, std::memory_order order) {
    std::atomic_ref<u16>(*reinterpret_cast<u16*>(p)).store(v, order);
}

/// Would moving an index from `old_index` to `new_index` pass `event` (2.7.7.1)?
bool passes_event(u16 event, u16 new_index, u16 old_index) {
    return static_cast<u16>(new_index - event - 1) < static_cast<u16>(new_index - old_index);
}

}  // namespace

void VirtioChain::clear() {
    readable.clear();
    writable.clear();
    writable_gpa.clear();
    readable_size = writable_size = 0;
}

u64 VirtioChain::read(u64 offset, void* to, u64 size) const {
    u64 done = 0;
    for (const iovec& v : readable) {
        if (done == size) break;
        if (offset >= v.iov_len) {
            offset -= v.iov_len;
            continue;
        }
        const u64 n = std::min(size - done, v.iov_len - offset);
        std::memcpy(static_cast<u8*>(to) + done, static_cast<const u8*>(v.iov_base) + offset, n);
        done += n;
        offset = 0;
    }
    return done;
}

u64 VirtioChain::write(u64 offset, const void* from, u64 size) const {
    u64 done = 0;
    for (const iovec& v : writable) {
        if (done == size) break;
        if (offset >= v.iov_len) {
            offset -= v.iov_len;
            continue;
        }
        const u64 n = std::min(size - done, v.iov_len - offset);
        std::memcpy(static_cast<u8*>(v.iov_base) + offset, static_cast<const u8*>(from) + done, n);
        done += n;
        offset = 0;
    }
    return done;
}

void VirtioQueue::clear() { *this = VirtioQueue(*memory_); }

bool VirtioQueue::configure(const Layout& l, u64 features) {
    clear();
    broken_ = true;
    if (!std::has_single_bit(l.size) || l.size > max_size) return false;
    if (l.descriptors % 16 || l.driver % 2 || l.device % 4) return false;
    const u64 used_bytes = ring_header + used_entry * l.size + 2;
    descriptors_ = memory_->host(l.descriptors, descriptor_bytes * l.size);
    avail_ = memory_->host(l.driver, ring_header + u64{2} * l.size + 2);
    used_ = memory_->host(l.device, used_bytes);
    if (!descriptors_ || !avail_ || !used_ || memory_->slot_of(l.device)->readonly) return false;
    used_gpa_ = l.device;
    size_ = l.size;
    indirect_ = features & virtio_feature::indirect_desc;
    event_idx_ = features & virtio_feature::event_idx;
    broken_ = false;
    return true;
}

u16 VirtioQueue::avail_index() const { return load16(avail_ + 2, std::memory_order_acquire); }

bool VirtioQueue::has_more() const { return ready() && avail_index() != next_avail_; }

VirtioQueue::Pop VirtioQueue::pop(VirtioChain& chain) {
    if (broken_) return Pop::broken;
    if (size_ == 0) return Pop::empty;
    const u16 pending = static_cast<u16>(avail_index() - next_avail_);
    if (pending == 0) return Pop::empty;
    chain.clear();
    // More requests than entries: the index went back or jumped.
    if (pending > size_) {
        broken_ = true;
        return Pop::broken;
    }
    chain.head = load16(avail_ + ring_header + u64{2} * (next_avail_ % size_), std::memory_order_relaxed);
    if (!collect(chain)) {
        broken_ = true;
        return Pop::broken;
    }
    next_avail_++;
    return Pop::chain;
}

/// Follows the chain from chain.head: descriptors of the queue's table, the last of which may stand
/// for a table of indirect ones (2.7.5.3).
bool VirtioQueue::collect(VirtioChain& chain) {
    const u8* table = descriptors_;
    u32 entries = size_;
    u32 index = chain.head;
    u32 steps = 0;  // in this table: more than it has entries means a cycle
    bool in_indirect = false;
    for (;;) {
        if (index >= entries || steps++ >= entries) return false;
        Descriptor d;
        std::memcpy(&d, table + descriptor_bytes * index, sizeof d);
        if (d.flags & desc_indirect) {
            if (!indirect_ || in_indirect || (d.flags & desc_next)) return false;
            if (d.length == 0 || d.length % descriptor_bytes) return false;
            entries = d.length / descriptor_bytes;
            if (entries > max_chain) return false;
            table = memory_->host(d.address, d.length);
            if (!table) return false;
            index = 0;
            steps = 0;
            in_indirect = true;
            continue;
        }
        if (!add_piece(chain, d)) return false;
        if (!(d.flags & desc_next)) return true;
        index = d.next;
    }
}

/// A descriptor may cover several memory slots, then it becomes several pieces.
bool VirtioQueue::add_piece(VirtioChain& chain, const Descriptor& d) {
    const bool write = d.flags & desc_write;
    if (!write && chain.writable_size > 0) return false;  // readable ones come first (2.7.4.2)
    u64& total = write ? chain.writable_size : chain.readable_size;
    total += d.length;
    if (chain.writable_size + chain.readable_size > 0xffff'ffff) return false;  // 2.7.5.2
    Gpa gpa = d.address;
    u64 left = d.length;
    while (left > 0) {
        const memory::Slot* slot = memory_->slot_of(gpa);
        if (!slot || (write && slot->readonly)) return false;
        if (chain.readable.size() + chain.writable.size() >= max_chain) return false;
        const u64 n = std::min(left, slot->size - (gpa - slot->gpa));
        (write ? chain.writable : chain.readable).push_back({slot->host + (gpa - slot->gpa), n});
        if (write) chain.writable_gpa.push_back(gpa);
        gpa += n;
        left -= n;
    }
    return true;
}

void VirtioQueue::used_written(u64 offset, u64 bytes) { memory_->written(used_gpa_ + offset, bytes); }

void VirtioQueue::stage(const VirtioChain& chain, u64 written) {
    if (!ready()) return;
    written = std::min(written, chain.writable_size);
    u64 left = written;
    for (size_t i = 0; i < chain.writable.size() && left > 0; i++) {
        const u64 n = std::min(left, u64{chain.writable[i].iov_len});
        memory_->written(chain.writable_gpa[i], n);
        left -= n;
    }
    const u64 offset = ring_header + used_entry * (next_used_ % size_);
    const u32 entry[2] = {chain.head, static_cast<u32>(written)};
    std::memcpy(used_ + offset, entry, sizeof entry);
    used_written(offset, sizeof entry);
    next_used_++;
}

void VirtioQueue::publish() {
    if (!ready() || published_ == next_used_) return;
    published_ = next_used_;
    store16(used_ + 2, published_, std::memory_order_release);
    used_written(2, 2);
}

bool VirtioQueue::interrupt_needed() {
    if (!ready()) return false;
    // The driver stores its wish and then looks at the index; we do it the other way round (2.7.7.2).
    std::atomic_thread_fence(std::memory_order_seq_cst);
    const u16 old = last_signalled_;
    last_signalled_ = published_;
    if (old == published_) return false;
    if (!event_idx_) return !(load16(avail_, std::memory_order_relaxed) & avail_no_interrupt);
    const u16 event = load16(avail_ + ring_header + u64{2} * size_, std::memory_order_relaxed);
    return passes_event(event, published_, old);
}

void VirtioQueue::disable_notifications() {
    // With event indices the old index simply stays behind: the driver has passed it.
    if (!ready() || event_idx_) return;
    store16(used_, used_no_notify, std::memory_order_relaxed);
    used_written(0, 2);
}

bool VirtioQueue::enable_notifications() {
    if (!ready()) return false;
    if (event_idx_) {
        const u64 offset = ring_header + used_entry * size_;
        store16(used_ + offset, next_avail_, std::memory_order_relaxed);
        used_written(offset, 2);
    } else {
        store16(used_, 0, std::memory_order_relaxed);
        used_written(0, 2);
    }
    std::atomic_thread_fence(std::memory_order_seq_cst);
    return avail_index() != next_avail_;
}

}  // namespace triune::device
