// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <string>
#include <thread>
#include <vector>

#include "backend/block_backend.h"
#include "base/mutex.h"
#include "device/virtio_pci.h"

namespace triune::device {

/// Virtio block device (Virtio 1.2, 5.2): one queue, served by a few threads so that requests overlap.
///
/// Ordering: a request is completed after the backend's call returned, so a flush that the driver
/// queues after it saw a write complete covers that write, whichever threads do the two.
class VirtioBlk final : public VirtioPci {
public:
    static constexpr u16 queue_size = 256;
    /// Data pieces of one request: the chain without header and status.
    static constexpr u32 max_segments = queue_size - 2;

    /// `serial`: what GET_ID answers, cut to 20 bytes. `workers` of at least 1.
    VirtioBlk(memory::GuestMemory& memory, backend::BlockBackend& disk, const std::string& serial,
              unsigned workers = 4);
    ~VirtioBlk() override;

private:
    enum class Status : u8 { ok = 0, io_error = 1, unsupported = 2 };
    /// What a worker needs for the request in its hands; kept to reuse its memory.
    struct Request {
        VirtioChain chain;
        std::vector<iovec> data;
    };

    void activated() override;
    void notified(unsigned queue) override;
    void quiesce() override;

    void work();
    bool perform(Request& r);
    Status transfer(Request& r, u32 type, u64 sector);
    Status erase(const VirtioChain& chain, bool write_zeroes);
    Status identify(const VirtioChain& chain);

    backend::BlockBackend& disk_;
    const std::string serial_;

    base::Mutex mutex_;  // guards the queue and what follows
    base::ConditionVariable wake_, drained_;
    bool running_ GUARDED_BY(mutex_) = false;  ///< between activated() and quiesce()
    bool pending_ GUARDED_BY(mutex_) = false;  ///< the queue may hold requests
    bool quit_ GUARDED_BY(mutex_) = false;
    unsigned idle_ GUARDED_BY(mutex_) = 0, in_flight_ GUARDED_BY(mutex_) = 0;
    std::vector<std::thread> workers_;
};

}  // namespace triune::device
