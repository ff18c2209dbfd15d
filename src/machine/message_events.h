// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <utility>

#include "base/fd.h"
#include "base/mutex.h"
#include "hypervisor/hypervisor.h"

namespace triune::machine {

/// Devices' messages as interrupt events: an eventfd for each, which the hypervisor turns into the message
/// without looking at it again (KVM's irqfd and MSI routes).
///
/// Threads: any. Its lock is taken after devices' and before the hypervisor's.
class MessageEvents {
public:
    explicit MessageEvents(hypervisor::Vm& vm) : vm_(vm) {}
    ~MessageEvents();
    MessageEvents(const MessageEvents&) = delete;
    MessageEvents& operator=(const MessageEvents&) = delete;

    /// False: it is to be sent another way.
    bool send(u64 address, u32 data);

private:
    /// A guest that moves its interrupts between processors leaves messages behind that it no longer sends.
    static constexpr size_t most = 128;

    struct Event {
        base::Fd fd;  ///< none: the hypervisor had no room for it
        unsigned gsi = 0;
    };
    Event make(u64 address, u32 data);
    void remove(const Event& event);

    hypervisor::Vm& vm_;
    base::Mutex mutex_;
    std::map<std::pair<u64, u32>, Event> events_ GUARDED_BY(mutex_);
};

}  // namespace triune::machine
