// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "device/virtio_pci.h"
#include "device/virtio_worker.h"

namespace triune::device {

/// Virtio entropy device (Virtio 1.2, 5.4): fills buffers from getrandom() on a thread of its own.
class VirtioRng final : public VirtioPci {
public:
    static constexpr u16 queue_size = 64;
    /// A device may give less than was asked for (5.4.6.1): bounds what one request costs.
    static constexpr u64 max_bytes = 4096;

    explicit VirtioRng(memory::GuestMemory& memory);
    ~VirtioRng() override;

private:
    void activated() override { worker_.enable(); }
    void notified(unsigned) override { worker_.kick(); }
    void quiesce() override { worker_.disable(); }
    void serve();

    VirtioChain chain_;
    VirtioWorker worker_;
};

}  // namespace triune::device
