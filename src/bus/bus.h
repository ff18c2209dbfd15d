// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

/// bus: what devices are plugged into: port and MMIO ranges, interrupt lines, DMA.
///
/// Threads: ranges are claimed before vCPUs run, or by a device's own handler (PCI BARs) under the
/// map's lock. Handlers run on the vCPU thread that made the access, several at a time: a device
/// guards itself.
#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "base/types.h"
#include "memory/guest_memory.h"

namespace triune::bus {

/// A device's registers in one range. It sees offsets only. `size` is 1, 2, 4 or 8. The access
/// [offset, offset+size) lies in the claimed range.
class RegisterBlock {
public:
    virtual ~RegisterBlock() = default;
    virtual u64 read(u64 offset, unsigned size) = 0;
    virtual void write(u64 offset, u64 value, unsigned size) = 0;
};

/// Address space of ranges. Unclaimed reads give all ones, unclaimed writes are dropped. An access
/// that does not lie wholly in one range is done byte by byte.
class AddressMap {
public:
    /// False on overlap, and when the range is empty or goes beyond the address space.
    bool add(u64 base, u64 size, RegisterBlock& block);
    void remove(u64 base, RegisterBlock& block);
    u64 read(u64 address, unsigned size);
    void write(u64 address, u64 value, unsigned size);

private:
    struct Range {
        u64 base, last;  ///< inclusive, so that a range may end at 2^64
        RegisterBlock* block;
    };
    using Ranges = std::vector<Range>;  // sorted by base
    /// A thread's view of the map. Look-ups take no lock and write nothing shared: they compare
    /// one generation number and search an immutable vector.
    struct View;
    View& view() const;
    const Range* find(View& v, u64 address) const;
    void publish(Ranges ranges) REQUIRES(mutex_);

    const u64 id_ = next_id();
    static u64 next_id();
    std::atomic<u64> generation_{0};
    mutable base::Mutex mutex_;
    std::shared_ptr<const Ranges> ranges_ GUARDED_BY(mutex_) = std::make_shared<Ranges>();
};

/// One interrupt line of a device. Any thread.
class IrqLine {
public:
    virtual ~IrqLine() = default;
    virtual void set(bool level) = 0;
};

/// Lets writes of `size` bytes to a memory address signal an eventfd and be complete: no handler is called.
/// Any thread.
class WriteSignals {
public:
    virtual ~WriteSignals() = default;
    virtual void add(u64 address, unsigned size, int eventfd) = 0;
    virtual void remove(u64 address, unsigned size, int eventfd) = 0;
};

/// Sends message-signalled interrupts. Any thread.
class MsiSink {
public:
    virtual ~MsiSink() = default;
    virtual void send(u64 address, u32 data) = 0;
};

}  // namespace triune::bus
