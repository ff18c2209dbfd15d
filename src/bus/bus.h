// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

/// bus: what devices are plugged into: port and MMIO ranges, interrupt lines, DMA.
///
/// Threads: ranges are claimed before vCPUs run, or by a device's own handler (PCI BARs) under the
/// map's lock. Handlers run on the vCPU thread that made the access, several at a time: a device
/// guards itself.
#include <functional>
#include <memory>
#include <optional>
#include <shared_mutex>
#include <string>
#include <vector>

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

/// Address space of ranges. Unclaimed reads give all ones, unclaimed writes are dropped.
class AddressMap {
public:
    /// False on overlap.
    bool add(u64 base, u64 size, RegisterBlock& block);
    void remove(u64 base, RegisterBlock& block);
    u64 read(u64 address, unsigned size);
    void write(u64 address, u64 value, unsigned size);

private:
    struct Range {
        u64 base, size;
        RegisterBlock* block;
    };
    std::optional<Range> find(u64 address, unsigned size) const;
    mutable std::shared_mutex mutex_;
    std::vector<Range> ranges_;  // sorted by base
};

/// One interrupt line of a device. Any thread.
class IrqLine {
public:
    virtual ~IrqLine() = default;
    virtual void set(bool level) = 0;
};

/// Sends message-signalled interrupts. Any thread.
class MsiSink {
public:
    virtual ~MsiSink() = default;
    virtual void send(u64 address, u32 data) = 0;
};

}  // namespace triune::bus
