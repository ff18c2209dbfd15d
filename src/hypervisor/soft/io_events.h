// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "base/fd.h"
#include "base/mutex.h"
#include "hypervisor/hypervisor.h"

namespace triune::hypervisor::soft {

/// The VM's I/O events.
///
/// Threads: add() and remove() on any; a View belongs to one vCPU's thread. Look-ups take no lock: they
/// compare one number and search an immutable table.
class IoEvents {
    struct Entry {
        IoEvent event;
        base::Fd fd;  ///< a duplicate: a view may signal it after the caller has closed its own
    };
    using Table = std::vector<std::shared_ptr<const Entry>>;  // sorted by space and address

public:
    Result<void> add(const IoEvent& event);
    Result<void> remove(const IoEvent& event);

    class View {
    public:
        explicit View(const IoEvents& events) : events_(events) {}
        /// True when the write was an event's.
        bool write(IoEvent::Space space, u64 address, u64 value, unsigned size) {
            if (events_.generation_.load(std::memory_order_acquire) != generation_) refresh();
            return table_ && find(space, address, value, size);
        }

    private:
        void refresh();
        [[nodiscard]] bool find(IoEvent::Space space, u64 address, u64 value, unsigned size) const;

        const IoEvents& events_;
        u64 generation_ = 0;
        std::shared_ptr<const Table> table_;  ///< null: empty
    };

private:
    void publish(Table table) REQUIRES(mutex_);

    std::atomic<u64> generation_{0};
    mutable base::Mutex mutex_;
    std::shared_ptr<const Table> table_ GUARDED_BY(mutex_);
};

}  // namespace triune::hypervisor::soft
