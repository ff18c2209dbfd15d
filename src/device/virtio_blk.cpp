// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "device/virtio_blk.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

namespace triune::device {
namespace {

constexpr u64 sector_size = 512;
constexpr u64 header_size = 16;
// Features (5.2.3).
constexpr u64 feature_seg_max = 1 << 2, feature_read_only = 1 << 5, feature_block_size = 1 << 6,
              feature_flush = 1 << 9, feature_topology = 1 << 10, feature_discard = 1 << 13,
              feature_write_zeroes = 1 << 14;
// Request types (5.2.6).
constexpr u32 type_in = 0, type_out = 1, type_flush = 4, type_get_id = 8, type_discard = 11,
              type_write_zeroes = 13;
constexpr u64 id_length = 20;
/// Bounds what one discard or write-zeroes request may cost.
constexpr u32 max_erase_sectors = 1 << 21, max_erase_segments = 16;

struct Header {
    u32 type, reserved;
    u64 sector;
};
struct EraseSegment {
    u64 sector;
    u32 sectors, flags;
};
constexpr u32 erase_unmap = 1;

/// struct virtio_blk_config (5.2.4) up to write_zeroes_may_unmap.
std::vector<u8> configuration(const backend::BlockBackend& disk) {
    std::vector<u8> c(60);
    const auto put = [&](size_t at, auto v) { std::memcpy(&c[at], &v, sizeof v); };
    put(0, u64{disk.size() / sector_size});
    put(12, VirtioBlk::max_segments);
    put(20, u32{sector_size});
    const u32 physical = disk.physical_block_size();
    c[24] = static_cast<u8>(std::countr_zero(physical / u32{sector_size}));
    put(26, static_cast<u16>(physical / sector_size));  // smallest good transfer, in logical blocks
    put(36, max_erase_sectors);
    put(40, max_erase_segments);
    put(44, static_cast<u32>(physical / sector_size));
    put(48, max_erase_sectors);
    put(52, max_erase_segments);
    c[56] = 1;  // write-zeroes may unmap
    return c;
}

u64 features_for(const backend::BlockBackend& disk) {
    const u64 common = feature_seg_max | feature_block_size | feature_flush | feature_topology;
    return common | (disk.readonly() ? feature_read_only : feature_discard | feature_write_zeroes);
}

}  // namespace

VirtioBlk::VirtioBlk(memory::GuestMemory& memory, backend::BlockBackend& disk, const std::string& serial,
                     unsigned workers)
    : VirtioPci(memory, {.type = 2,
                         .class_code = 0x010000,
                         .features = features_for(disk),
                         .queue_sizes = {queue_size},
                         .config = configuration(disk)}),
      disk_(disk),
      serial_(serial.substr(0, id_length)) {
    for (unsigned i = 0; i < std::max(workers, 1U); i++) workers_.emplace_back([this] { work(); });
}

VirtioBlk::~VirtioBlk() {
    shut_down();
    {
        const base::MutexLock lock(mutex_);
        quit_ = true;
    }
    wake_.notify_all();
    for (std::thread& t : workers_) t.join();
    disk_.flush();
}

void VirtioBlk::activated() {
    const base::MutexLock lock(mutex_);
    running_ = true;
    pending_ = false;
}

void VirtioBlk::notified(unsigned) {
    {
        const base::MutexLock lock(mutex_);
        // Workers that are at it look again before they sleep.
        if (!running_ || pending_) return;
        pending_ = true;
    }
    wake_.notify_one();
}

void VirtioBlk::quiesce() {
    const base::MutexLock lock(mutex_);
    running_ = false;
    while (in_flight_ != 0) drained_.wait(mutex_);
}

void VirtioBlk::work() {
    Request request;
    VirtioQueue& ring = queue(0);
    base::MutexLock lock(mutex_);
    while (!quit_) {
        if (!running_ || !pending_) {
            idle_++;
            wake_.wait(mutex_);
            idle_--;
            continue;
        }
        ring.disable_notifications();
        switch (ring.pop(request.chain)) {
            case VirtioQueue::Pop::empty: pending_ = ring.enable_notifications(); continue;
            case VirtioQueue::Pop::broken:
                pending_ = false;
                needs_reset();
                continue;
            case VirtioQueue::Pop::chain: break;
        }
        in_flight_++;
        // This thread is away for a while. If others are idle, they take what comes meanwhile: a long
        // flush must not hold up reads.
        const bool others = idle_ > 0;
        if (others) pending_ = ring.enable_notifications();
        const bool share = others && pending_;
        lock.unlock();
        if (share) wake_.notify_one();
        const bool sound = perform(request);
        lock.lock();
        if (sound) {
            ring.push(request.chain, request.chain.writable_size);
            interrupt_if_needed(0);
        } else {
            needs_reset();
            running_ = false;
        }
        if (--in_flight_ == 0 && !running_) drained_.notify_all();
    }
}

/// Does the request and stores its status byte. False when it has no place for a header or a status.
bool VirtioBlk::perform(Request& r) {
    Header h;
    if (!r.chain.read_value(0, h) || r.chain.writable_size == 0) return false;
    Status status = Status::unsupported;
    switch (h.type) {
        case type_in:
        case type_out: status = transfer(r, h.type, h.sector); break;
        case type_flush: status = disk_.flush() == 0 ? Status::ok : Status::io_error; break;
        case type_get_id: status = identify(r.chain); break;
        case type_discard:
        case type_write_zeroes:
            if (!disk_.readonly()) status = erase(r.chain, h.type == type_write_zeroes);
            break;
        default: break;
    }
    r.chain.write(r.chain.writable_size - 1, &status, 1);
    return true;
}

VirtioBlk::Status VirtioBlk::transfer(Request& r, u32 type, u64 sector) {
    const bool in = type == type_in;
    const u64 size = in ? r.chain.writable_size - 1 : r.chain.readable_size - header_size;
    const u64 sectors = disk_.size() / sector_size;
    if (size % sector_size || sector > sectors || size / sector_size > sectors - sector)
        return Status::io_error;
    if (!in && disk_.readonly()) return Status::io_error;

    r.data.clear();
    u64 skip = in ? 0 : header_size, left = size;
    for (const iovec& v : in ? r.chain.writable : r.chain.readable) {
        if (skip >= v.iov_len) {
            skip -= v.iov_len;
            continue;
        }
        const u64 n = std::min(left, v.iov_len - skip);
        if (n) r.data.push_back({static_cast<u8*>(v.iov_base) + skip, n});
        left -= n;
        skip = 0;
    }
    const u64 offset = sector * sector_size;
    const int error = in ? disk_.read(offset, r.data) : disk_.write(offset, r.data);
    return error == 0 ? Status::ok : Status::io_error;
}

/// Discard and write-zeroes (5.2.6.2). All segments are checked before the first is done.
VirtioBlk::Status VirtioBlk::erase(const VirtioChain& chain, bool write_zeroes) {
    const u64 bytes = chain.readable_size - header_size;
    const u64 count = bytes / sizeof(EraseSegment);
    if (bytes % sizeof(EraseSegment) || count > max_erase_segments) return Status::io_error;
    std::array<EraseSegment, max_erase_segments> segments;
    chain.read(header_size, segments.data(), bytes);
    const u64 sectors = disk_.size() / sector_size;
    for (u64 i = 0; i < count; i++) {
        const EraseSegment& s = segments[i];
        if (s.flags & ~(write_zeroes ? erase_unmap : 0)) return Status::unsupported;
        if (s.sectors > max_erase_sectors || s.sector > sectors || s.sectors > sectors - s.sector)
            return Status::io_error;
    }
    for (u64 i = 0; i < count; i++) {
        const u64 offset = segments[i].sector * sector_size, size = segments[i].sectors * sector_size;
        const int error = write_zeroes ? disk_.write_zeroes(offset, size, segments[i].flags & erase_unmap)
                                       : disk_.discard(offset, size);
        if (error) return Status::io_error;
    }
    return Status::ok;
}

VirtioBlk::Status VirtioBlk::identify(const VirtioChain& chain) {
    std::array<char, id_length> id{};
    std::ranges::copy(serial_, id.begin());
    chain.write(0, id.data(), std::min<u64>(id.size(), chain.writable_size - 1));
    return Status::ok;
}

}  // namespace triune::device
