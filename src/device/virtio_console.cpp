// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "device/virtio_console.h"

#include <algorithm>

namespace triune::device {
namespace {

constexpr unsigned rx = 0, tx = 1;
/// Output between two looks at whether the driver resets the device.
constexpr u64 slice = 4096;

}  // namespace

VirtioConsole::VirtioConsole(memory::GuestMemory& memory, backend::CharBackend& chars)
    : VirtioPci(memory, {.type = 3,
                         .class_code = 0x078000,
                         .queue_sizes = {queue_size, queue_size},
                         .config = std::vector<u8>(12)}),  // its fields all belong to features not offered
      chars_(chars),
      transmitter_([this] { transmit(); }) {
    chars_.on_input([this](std::span<const u8> bytes) { return receive(bytes); });
}

VirtioConsole::~VirtioConsole() {
    shut_down();
    chars_.on_input(nullptr);
}

void VirtioConsole::activated() {
    {
        const base::MutexLock lock(receive_mutex_);
        receiving_ = true;
    }
    transmitter_.enable();
}

void VirtioConsole::notified(unsigned queue) {
    if (queue == tx)
        transmitter_.kick();
    else
        chars_.resume_input();
}

void VirtioConsole::quiesce() {
    {
        const base::MutexLock lock(receive_mutex_);
        receiving_ = false;
    }
    transmitter_.disable();
    chars_.resume_input();  // what waited for room is lost now, like all input without a driver
}

void VirtioConsole::transmit() {
    VirtioQueue& ring = queue(tx);
    ring.disable_notifications();
    for (unsigned budget = queue_size; budget > 0; budget--) {
        switch (ring.pop(tx_chain_)) {
            case VirtioQueue::Pop::broken: return needs_reset();
            case VirtioQueue::Pop::empty:
                if (!ring.enable_notifications()) return;
                continue;
            case VirtioQueue::Pop::chain: break;
        }
        if (!write_out(tx_chain_)) return;
        ring.push(tx_chain_, 0);
        interrupt_if_needed(tx);
    }
    transmitter_.kick();
}

/// False when the driver resets the device meanwhile.
bool VirtioConsole::write_out(const VirtioChain& chain) {
    for (const iovec& v : chain.readable)
        for (u64 done = 0; done < v.iov_len; done += slice) {
            if (!transmitter_.go_on()) return false;
            chars_.write({static_cast<const u8*>(v.iov_base) + done, std::min(slice, v.iov_len - done)});
        }
    return true;
}

size_t VirtioConsole::receive(std::span<const u8> bytes) {
    const base::MutexLock lock(receive_mutex_);
    if (!receiving_) return bytes.size();
    VirtioQueue& ring = queue(rx);
    ring.disable_notifications();
    size_t done = 0;
    while (done < bytes.size()) {
        const VirtioQueue::Pop got = ring.pop(rx_chain_);
        // A buffer that takes nothing is refused as well: a driver could feed us those for ever.
        if (got == VirtioQueue::Pop::broken ||
            (got == VirtioQueue::Pop::chain && rx_chain_.writable_size == 0)) {
            receiving_ = false;
            needs_reset();
            return bytes.size();
        }
        if (got == VirtioQueue::Pop::empty) {
            if (ring.enable_notifications()) continue;
            break;
        }
        const u64 n = rx_chain_.write(0, bytes.data() + done, bytes.size() - done);
        ring.push(rx_chain_, n);
        done += n;
    }
    interrupt_if_needed(rx);
    return done;
}

}  // namespace triune::device
