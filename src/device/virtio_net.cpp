// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "device/virtio_net.h"

#include <algorithm>
#include <cstring>

namespace triune::device {
namespace {

// Features (5.1.3).
constexpr u64 feature_checksum = 1 << 0, feature_guest_checksum = 1 << 1, feature_mac = 1 << 5,
              feature_host_tso4 = 1 << 11, feature_mergeable = 1 << 15, feature_status = 1 << 16;
constexpr u16 link_up = 1;
constexpr unsigned rx = 0, tx = 1;

/// struct virtio_net_hdr (5.1.6); zero means no offloads.
constexpr u8 needs_checksum = 1, checksum_valid = 2, gso_none = 0, gso_tcp4 = 1;
struct Header {
    u8 flags = 0, gso_type = 0;
    u16 hdr_len = 0, gso_size = 0, csum_start = 0, csum_offset = 0;
    u16 num_buffers = 1;
};
static_assert(sizeof(Header) == 12);
constexpr u64 header_size = sizeof(Header);

/// Requests served before other work of the backend's thread gets its turn.
constexpr unsigned transmit_budget = VirtioNet::queue_size;
/// Largest frame that a guest may send: the largest IP packet behind an Ethernet header with a tag.
constexpr u64 max_transmit = 65535 + 18;

std::vector<u8> configuration(const backend::MacAddress& mac) {
    std::vector<u8> c(mac.begin(), mac.end());
    c.push_back(link_up & 0xff);
    c.push_back(link_up >> 8);
    return c;
}

u64 features_for(const backend::NetBackend& net) {
    return feature_checksum | feature_mac | feature_status | feature_mergeable |
           (net.checksums_hold() ? feature_guest_checksum : 0) |
           (net.takes_large_segments() ? feature_host_tso4 : 0);
}

/// Internet checksum (RFC 1071) of `data`: the sum in network order, complemented.
u16 internet_checksum(std::span<const u8> data) {
    u64 sum = 0;
    size_t i = 0;
    for (; i + 4 <= data.size(); i += 4) {
        u32 word;
        std::memcpy(&word, &data[i], 4);
        sum += word;
    }
    if (i < data.size()) {
        u32 rest = 0;
        std::memcpy(&rest, &data[i], data.size() - i);
        sum += rest;
    }
    while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
    return static_cast<u16>(~sum);
}

}  // namespace

VirtioNet::VirtioNet(memory::GuestMemory& memory, backend::NetBackend& net, const backend::MacAddress& mac)
    : VirtioPci(memory, {.type = 1,
                         .class_code = 0x020000,
                         .features = features_for(net),
                         .queue_sizes = {queue_size, queue_size},
                         .config = configuration(mac)}),
      net_(net),
      max_frame_(net.max_frame()) {
    net_.attach(this);
}

VirtioNet::~VirtioNet() {
    shut_down();
    net_.attach(nullptr);
}

void VirtioNet::activated() {
    const base::MutexLock transmit_lock(transmit_mutex_);
    const base::MutexLock receive_lock(receive_mutex_);
    transmitting_ = receiving_ = true;
    mergeable_ = features() & feature_mergeable;
    checksum_ = features() & feature_checksum;
    segments_ = checksum_ && (features() & feature_host_tso4);
    vouch_ = features() & feature_guest_checksum;
}

void VirtioNet::notified(unsigned) { net_.kick(); }

void VirtioNet::quiesce() {
    const base::MutexLock transmit_lock(transmit_mutex_);
    const base::MutexLock receive_lock(receive_mutex_);
    transmitting_ = receiving_ = false;
}

// Transmit -------------------------------------------------------------------------------------------

void VirtioNet::network_ready() {
    const base::MutexLock lock(transmit_mutex_);
    if (!transmitting_) return;
    VirtioQueue& ring = queue(tx);
    ring.disable_notifications();
    unsigned budget = transmit_budget;
    bool again = true;
    while (again && budget > 0) {
        budget--;
        switch (ring.pop(tx_chain_)) {
            case VirtioQueue::Pop::broken: transmitting_ = false; return needs_reset();
            case VirtioQueue::Pop::empty: again = ring.enable_notifications(); break;
            case VirtioQueue::Pop::chain:
                send(tx_chain_);
                ring.push(tx_chain_, 0);
                break;
        }
    }
    interrupt_if_needed(tx);
    if (again) net_.kick();
}

void VirtioNet::send(const VirtioChain& chain) {
    if (chain.readable_size <= header_size || chain.readable_size - header_size > max_transmit) return;
    // A copy: the guest must not be able to change a frame while it is being looked at.
    tx_frame_.resize(chain.readable_size - header_size);
    chain.read(header_size, tx_frame_.data(), tx_frame_.size());
    if (complete(tx_frame_, chain)) net_.send(tx_frame_);
}

/// Does to the frame what its header asks for. False when it asks for what was not agreed on, or
/// for a checksum outside the frame: the frame is dropped.
bool VirtioNet::complete(std::span<u8> frame, const VirtioChain& chain) const {
    if (!checksum_) return true;  // the driver leaves the header zero (5.1.6.2)
    Header header;
    if (!chain.read_value(0, header)) return false;
    // A large segment goes on as it is, as one packet of its full length.
    if (header.gso_type != gso_none && !(segments_ && header.gso_type == gso_tcp4)) return false;
    if (!(header.flags & needs_checksum)) return header.gso_type == gso_none;
    // The field holds the sum of the pseudo header, which the sum over the rest then includes.
    const u64 field = u64{header.csum_start} + header.csum_offset;
    if (header.csum_start > frame.size() || field + 2 > frame.size()) return false;
    u16 sum = internet_checksum(frame.subspan(header.csum_start));
    if (sum == 0) sum = 0xffff;  // the same number, but to UDP zero means none
    std::memcpy(&frame[field], &sum, 2);
    return true;
}

// Receive --------------------------------------------------------------------------------------------

bool VirtioNet::receive(std::span<const u8> frame) {
    const base::MutexLock lock(receive_mutex_);
    // No driver: the frame is lost, as on a wire without a listener.
    if (!receiving_ || frame.size() > max_frame_) return true;
    VirtioQueue& ring = queue(rx);
    ring.disable_notifications();
    if (fill(frame)) return true;
    if (!ring.broken()) return false;
    receiving_ = false;
    needs_reset();
    return true;
}

/// Puts the frame into one buffer, or into several if the driver agreed to merge them (5.1.6.4).
/// False when there are not enough; then the driver notifies when it adds one.
bool VirtioNet::fill(std::span<const u8> frame) {
    VirtioQueue& ring = queue(rx);
    const u64 wanted = frame.size() + header_size;
    u64 room = 0;
    u16 used = 0;
    do {
        if (rx_chains_.size() <= used) rx_chains_.emplace_back();
        const VirtioQueue::Pop got = ring.pop(rx_chains_[used]);
        if (got == VirtioQueue::Pop::empty && ring.enable_notifications()) continue;
        if (got != VirtioQueue::Pop::chain) {
            ring.unpop(used);
            return false;
        }
        room += rx_chains_[used].writable_size;
        used++;
    } while (used == 0 || (mergeable_ && room < wanted && used < queue_size));
    if (room < wanted || rx_chains_[0].writable_size < header_size) {
        // Too small for what the device said it may send: the buffers go back unused, the frame is lost.
        for (u16 i = 0; i < used; i++) ring.stage(rx_chains_[i], 0);
        ring.publish();
        return true;
    }
    Header header;
    header.flags = vouch_ ? checksum_valid : 0;
    header.num_buffers = used;
    rx_chains_[0].write(0, &header, header_size);
    u64 done = 0;
    for (u16 i = 0; i < used; i++) {
        const u64 skip = i == 0 ? header_size : 0;
        const u64 n = rx_chains_[i].write(skip, frame.data() + done, frame.size() - done);
        done += n;
        ring.stage(rx_chains_[i], skip + n);
    }
    ring.publish();
    return true;
}

void VirtioNet::receive_done() {
    const base::MutexLock lock(receive_mutex_);
    if (receiving_) interrupt_if_needed(rx);
}

}  // namespace triune::device
