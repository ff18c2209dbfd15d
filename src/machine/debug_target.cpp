// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "machine/debug_target.h"

#include <utility>

namespace triune::machine {

DebugTarget::DebugTarget(Processors& processors, memory::GuestMemory& memory, const x86::CpuModel& model,
                         base::EventLoop& loop, std::function<void()> kill)
    : processors_(processors), memory_(memory), model_(model), loop_(loop), kill_(std::move(kill)) {
    processors_.on_debug([this](unsigned vcpu, const hypervisor::Debug& debug) {
        {
            const base::MutexLock lock(mutex_);
            stops_.push_back({vcpu, debug});
        }
        stop();
    });
}

void DebugTarget::on_stopped(std::function<void()> listener) { listener_->call = std::move(listener); }

void DebugTarget::stop() {
    bool first;
    {
        const base::MutexLock lock(mutex_);
        first = !std::exchange(paused_, true);
    }
    processors_.pause(
        [&loop = loop_, weak = std::weak_ptr(listener_), episode = episode_, now = episode_->load()] {
            loop.post([weak, episode, now] {
                // Who was told already may have let them go again: that is no stop any more.
                const auto listener = weak.lock();
                if (listener && listener->call && *episode == now) listener->call();
            });
        });
    // One pause is ours, however many asked for it; each of them is told.
    if (!first) processors_.resume();
}

void DebugTarget::go() {
    {
        const base::MutexLock lock(mutex_);
        if (!std::exchange(paused_, false)) return;
        ++*episode_;
    }
    processors_.resume();
}

std::optional<gdb::Stop> DebugTarget::take_stop() {
    const base::MutexLock lock(mutex_);
    if (stops_.empty()) return {};
    const gdb::Stop stop = stops_.front();
    stops_.pop_front();
    return stop;
}

}  // namespace triune::machine
