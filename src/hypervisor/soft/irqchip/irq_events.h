// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "base/event_loop.h"
#include "base/fd.h"
#include "base/mutex.h"
#include "hypervisor/hypervisor.h"
#include "hypervisor/soft/irqchip/irqchip.h"

namespace triune::hypervisor::soft::irqchip {

/// The VM's interrupt events: the event loop waits for them.
///
/// Threads: any. The lock is not held while the loop is asked to forget a descriptor, because that waits
/// for the handler, which takes it.
class IrqEvents {
public:
    IrqEvents(IrqChip& chip, base::EventLoop& loop);
    ~IrqEvents();
    IrqEvents(const IrqEvents&) = delete;
    IrqEvents& operator=(const IrqEvents&) = delete;

    Result<void> add(const IrqEvent& event);
    Result<void> remove(const IrqEvent& event);
    Result<unsigned> add_message(u64 address, u32 data);
    void remove_message(unsigned gsi);

private:
    static constexpr unsigned max_messages = 4096;

    struct Entry {
        IrqEvent event;
        base::Fd fd, resample_fd;
    };
    struct Message {
        u64 address;
        u32 data;
    };
    void signalled(const Entry& entry);
    void ended(unsigned gsi);
    void watch_ends() REQUIRES(mutex_);

    IrqChip& chip_;
    base::EventLoop& loop_;
    base::Mutex mutex_;
    std::vector<std::shared_ptr<Entry>> entries_ GUARDED_BY(mutex_);
    std::map<unsigned, Message> messages_ GUARDED_BY(mutex_);
};

}  // namespace triune::hypervisor::soft::irqchip
