// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "backend/net_backend.h"
#include "base/mutex.h"
#include "device/virtio_pci.h"

namespace triune::device {

/// Virtio network device (Virtio 1.2, 5.1): one receive and one transmit queue, both served on the
/// backend's thread. It completes checksums of what the guest sends; it takes large TCP segments and
/// vouches for checksums of what the guest receives where the backend allows that.
class VirtioNet final : public VirtioPci, private backend::NetClient {
public:
    static constexpr u16 queue_size = 256;

    VirtioNet(memory::GuestMemory& memory, backend::NetBackend& net, const backend::MacAddress& mac);
    ~VirtioNet() override;

private:
    void activated() override;
    void notified(unsigned queue) override;
    void quiesce() override;

    void network_ready() override;
    bool receive(std::span<const u8> frame) override;
    void receive_done() override;

    void send(const VirtioChain& chain) REQUIRES(transmit_mutex_);
    [[nodiscard]] bool complete(std::span<u8> frame, const VirtioChain& chain) const
        REQUIRES(transmit_mutex_);
    bool fill(std::span<const u8> frame) REQUIRES(receive_mutex_);

    backend::NetBackend& net_;
    const u32 max_frame_;

    // Lock order: transmit, then receive (a frame that is sent may be answered on the spot).
    base::Mutex transmit_mutex_;
    bool transmitting_ GUARDED_BY(transmit_mutex_) = false;
    bool checksum_ GUARDED_BY(transmit_mutex_) = false, segments_ GUARDED_BY(transmit_mutex_) = false;
    VirtioChain tx_chain_ GUARDED_BY(transmit_mutex_);
    std::vector<u8> tx_frame_ GUARDED_BY(transmit_mutex_);

    base::Mutex receive_mutex_;
    bool receiving_ GUARDED_BY(receive_mutex_) = false;
    bool mergeable_ GUARDED_BY(receive_mutex_) = false, vouch_ GUARDED_BY(receive_mutex_) = false;
    std::vector<VirtioChain> rx_chains_ GUARDED_BY(receive_mutex_);
};

}  // namespace triune::device
