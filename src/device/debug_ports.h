// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "backend/char_backend.h"
#include "base/event_loop.h"
#include "base/mutex.h"
#include "device/byte_registers.h"

namespace triune::device {

/// Ports with which a test kernel ends its machine, as QEMU's device of the name: a write anywhere
/// in the range, of 1, 2 or 4 bytes, calls `exit` with the value, on the vCPU's thread. Reads give zero.
class IsaDebugExit final : public bus::RegisterBlock {
public:
    explicit IsaDebugExit(std::function<void(u32 value)> exit) : exit_(std::move(exit)) {}
    u64 read(u64, unsigned) override { return 0; }
    void write(u64, u64 value, unsigned) override { exit_(static_cast<u32>(value)); }

private:
    std::function<void(u32)> exit_;
};

/// A port to which firmware and kernels print, as Bochs' 0xe9 and QEMU's isa-debugcon. Reads give
/// 0xe9, by which a guest knows that it is there. Bytes go out a line at a time, when enough have
/// gathered, or after a moment.
///
/// Threads: any; one lock, under which the backend is written to.
class DebugConsole final : public ByteRegisters {
public:
    static constexpr u8 readback = 0xe9;
    DebugConsole(backend::CharBackend& backend, base::EventLoop& loop);
    ~DebugConsole() override;

private:
    u8 read8(u64) override { return readback; }
    void write8(u64, u8 value) override;
    void flush_locked() REQUIRES(mutex_);

    base::Mutex mutex_;
    backend::CharBackend& backend_;
    std::vector<u8> output_ GUARDED_BY(mutex_);
    std::unique_ptr<base::EventLoop::Timer> timer_;
};

}  // namespace triune::device
