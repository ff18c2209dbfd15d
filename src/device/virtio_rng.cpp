// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "device/virtio_rng.h"

#include <sys/random.h>

#include <algorithm>
#include <array>

namespace triune::device {

VirtioRng::VirtioRng(memory::GuestMemory& memory)
    : VirtioPci(memory, {.type = 4, .class_code = 0x00ff00, .queue_sizes = {queue_size}}),
      worker_([this] { serve(); }) {}

VirtioRng::~VirtioRng() { shut_down(); }

void VirtioRng::serve() {
    VirtioQueue& ring = queue(0);
    ring.disable_notifications();
    // A driver that refills faster than we fill must not keep quiesce() waiting for ever.
    for (unsigned budget = queue_size; budget > 0; budget--) {
        switch (ring.pop(chain_)) {
            case VirtioQueue::Pop::broken: return needs_reset();
            case VirtioQueue::Pop::empty:
                if (!ring.enable_notifications()) return;
                continue;
            case VirtioQueue::Pop::chain: break;
        }
        std::array<u8, max_bytes> bytes;
        const u64 wanted = std::min(chain_.writable_size, max_bytes);
        u64 have = 0;
        while (have < wanted) {
            const ssize_t n = getrandom(bytes.data() + have, wanted - have, 0);
            if (n > 0)
                have += static_cast<u64>(n);
            else if (errno != EINTR)
                break;
        }
        ring.push(chain_, chain_.write(0, bytes.data(), have));
        interrupt_if_needed(0);
    }
    worker_.kick();
}

}  // namespace triune::device
