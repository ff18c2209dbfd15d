// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "bus/bus.h"

namespace triune::bus {

/// MSI-X table and pending bits of one function (PCI Local Bus 3.0, 6.8.2). The registers are a
/// BAR of their own: the table at offset 0, the pending bit array at `pba_offset()`.
///
/// Threads: any. Its lock is a leaf except for MsiSink::send().
class Msix final : public RegisterBlock {
public:
    /// `vectors` from 1 to 2048.
    explicit Msix(unsigned vectors);

    [[nodiscard]] unsigned vectors() const { return static_cast<unsigned>(entries_.size()); }
    /// Size of the BAR in bytes, a power of two of at least 4096.
    [[nodiscard]] u64 bar_size() const { return bar_size_; }
    [[nodiscard]] u32 pba_offset() const { return static_cast<u32>(bar_size_ / 2); }

    void connect(MsiSink* sink) {
        const base::MutexLock lock(mutex_);  // device threads may still signal while the bus goes
        sink_ = sink;
    }
    /// What the Message Control word and the Bus Master bit allow. Sends what became deliverable.
    void configure(bool enabled, bool function_masked, bool bus_master);
    /// Sends the vector's message, or leaves it pending while it is masked. False, and nothing
    /// happens, when MSI-X is disabled or there is no such vector.
    bool signal(unsigned vector);
    /// As after a function reset: disabled, all vectors masked, nothing pending.
    void reset();

    u64 read(u64 offset, unsigned size) override;
    void write(u64 offset, u64 value, unsigned size) override;

private:
    struct Entry {
        u32 word[4] = {0, 0, 0, 1};  ///< address low, address high, data, vector control
        bool pending = false;
        [[nodiscard]] bool masked() const { return word[3] & 1; }
    };
    u32 read_word(u64 offset) const REQUIRES(mutex_);
    void write_word(u64 offset, u32 value, u32 mask) REQUIRES(mutex_);
    void deliver(Entry& e) REQUIRES(mutex_);

    mutable base::Mutex mutex_;
    std::vector<Entry> entries_;
    u64 bar_size_;
    MsiSink* sink_ GUARDED_BY(mutex_) = nullptr;
    bool enabled_ GUARDED_BY(mutex_) = false, function_masked_ GUARDED_BY(mutex_) = false;
    bool bus_master_ GUARDED_BY(mutex_) = false;
};

}  // namespace triune::bus
