// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <mutex>
#include <vector>

#include "bus/bus.h"

namespace triune::device {

/// What suites that test processors and hypervisors expect beside isa-debug-exit, as QEMU's device of the
/// name: a 32-bit latch, an address that takes and forgets (QEMU unmaps the page that is written there for a
/// moment; ours has nothing to unmap), interrupt lines to pull, and memory that is MMIO.
///
///     ports 0xe0-0xe3      the latch, by 1, 2 or 4 bytes
///     ports 0xe4-0xe7      the address
///     ports 0x2000-0x2017  interrupt lines 0-23: a write sets the one at its port, low if it writes 0
///     0xff000000, 64 KB    memory
///
/// Threads: any. QEMU's byte-wise alias of the latch at 0xe8 is left out: debugcon has its port there.
class PcTestdev {
public:
    static constexpr u16 ports = 0xe0, port_count = 8, line_ports = 0x2000, line_count = 24;
    static constexpr u64 memory = 0xff000000, memory_bytes = 0x10000;

    /// One line each, in the order of their numbers.
    explicit PcTestdev(std::vector<bus::IrqLine*> lines) : lines_(std::move(lines)) {}

    bus::RegisterBlock& port_registers() { return latch_; }
    bus::RegisterBlock& line_registers() { return lines_; }
    bus::RegisterBlock& memory_registers() { return memory_; }

private:
    class Latch final : public bus::RegisterBlock {
    public:
        u64 read(u64 offset, unsigned size) override;
        void write(u64 offset, u64 value, unsigned size) override;

    private:
        std::mutex mutex_;
        u32 value_ = 0;
    };
    class Lines final : public bus::RegisterBlock {
    public:
        explicit Lines(std::vector<bus::IrqLine*> lines) : lines_(std::move(lines)) {}
        u64 read(u64, unsigned) override { return 0; }
        void write(u64 offset, u64 value, unsigned) override {
            if (offset < lines_.size()) lines_[offset]->set(value != 0);
        }

    private:
        std::vector<bus::IrqLine*> lines_;
    };
    class Memory final : public bus::RegisterBlock {
    public:
        u64 read(u64 offset, unsigned size) override;
        void write(u64 offset, u64 value, unsigned size) override;

    private:
        std::mutex mutex_;
        std::array<u8, memory_bytes> bytes_{};
    };

    Latch latch_;
    Lines lines_;
    Memory memory_;
};

}  // namespace triune::device
