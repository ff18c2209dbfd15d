// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "backend/char_backend.h"
#include "base/mutex.h"
#include "device/virtio_pci.h"
#include "device/virtio_worker.h"

namespace triune::device {

/// Virtio console (Virtio 1.2, 5.3) with its one port. Output goes out on a thread of its own, since
/// a terminal may be slow; input comes in on the backend's event loop.
class VirtioConsole final : public VirtioPci {
public:
    static constexpr u16 queue_size = 64;

    VirtioConsole(memory::GuestMemory& memory, backend::CharBackend& chars);
    ~VirtioConsole() override;

private:
    void activated() override;
    void notified(unsigned queue) override;
    void quiesce() override;

    void transmit();
    bool write_out(const VirtioChain& chain);
    size_t receive(std::span<const u8> bytes);

    backend::CharBackend& chars_;
    VirtioChain tx_chain_;

    base::Mutex receive_mutex_;
    bool receiving_ GUARDED_BY(receive_mutex_) = false;
    VirtioChain rx_chain_ GUARDED_BY(receive_mutex_);

    VirtioWorker transmitter_;
};

}  // namespace triune::device
