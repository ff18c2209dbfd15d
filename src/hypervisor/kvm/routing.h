// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <linux/kvm.h>

#include <map>

#include "base/mutex.h"
#include "base/result.h"
#include "base/types.h"

namespace triune::hypervisor::kvm {

/// A VM's GSI routing table: the PC's 24 lines, and behind them one GSI for each message that an irqfd
/// sends.
///
/// Threads: any. Its lock is a leaf.
class Routing {
public:
    static constexpr unsigned lines = 24;

    Routing(int vm, unsigned max_routes) : vm_(vm), max_routes_(max_routes) {}

    /// GSI 0-15 reach the 8259A pair and the IOAPIC, 16-23 the IOAPIC. GSI 0 is IOAPIC pin 2 (the source
    /// override that the ACPI tables state); the pair's IR2 is its cascade.
    Result<void> set_lines();
    /// A GSI whose rising edge sends this message.
    Result<u32> add_message(u64 address, u32 data);
    void remove_message(u32 gsi);
    /// A line or a message.
    bool exists(u32 gsi);

private:
    Result<void> publish() REQUIRES(mutex_);

    int vm_;
    unsigned max_routes_;
    struct Message {
        u64 address;
        u32 data;
    };
    base::Mutex mutex_;
    std::map<u32, Message> messages_ GUARDED_BY(mutex_);
};

}  // namespace triune::hypervisor::kvm
