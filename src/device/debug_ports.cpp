// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "device/debug_ports.h"

namespace triune::device {

namespace {
constexpr size_t output_limit = 4096;
constexpr u64 flush_delay_ns = 2'000'000;
}  // namespace

DebugConsole::DebugConsole(backend::CharBackend& backend, base::EventLoop& loop) : backend_(backend) {
    output_.reserve(output_limit);
    timer_ = loop.make_timer([this] {
        const base::MutexLock lock(mutex_);
        flush_locked();
    });
}

DebugConsole::~DebugConsole() {
    timer_.reset();
    const base::MutexLock lock(mutex_);
    flush_locked();
}

void DebugConsole::write8(u64, u8 value) {
    const base::MutexLock lock(mutex_);
    output_.push_back(value);
    if (value == '\n' || output_.size() >= output_limit)
        flush_locked();
    else if (output_.size() == 1)
        timer_->arm(base::monotonic_ns() + flush_delay_ns);
}

void DebugConsole::flush_locked() {
    if (!output_.empty()) backend_.write(output_);
    output_.clear();
}

}  // namespace triune::device
