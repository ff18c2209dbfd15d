// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <memory>

#include "base/event_loop.h"
#include "base/mutex.h"
#include "gdb/target.h"
#include "machine/processors.h"

namespace triune::machine {

/// One boot's processors and memory as the debugger sees them.
///
/// Threads: the event loop's, but processors report their stops on their own. `mutex_` is a leaf.
class DebugTarget final : public gdb::Target {
public:
    DebugTarget(Processors& processors, memory::GuestMemory& memory, const x86::CpuModel& model,
                base::EventLoop& loop, std::function<void()> kill);

    [[nodiscard]] unsigned vcpus() const override { return processors_.count(); }
    void on_stopped(std::function<void()> listener) override;
    void stop() override;
    void go() override;
    void hold(unsigned vcpu, bool held) override { processors_.hold(vcpu, held); }
    std::optional<gdb::Stop> take_stop() override;
    bool with_vcpu(unsigned vcpu, const std::function<void(hypervisor::Vcpu&)>& f) override {
        return processors_.with_vcpu(vcpu, f);
    }
    memory::GuestMemory& memory() override { return memory_; }
    const x86::CpuModel& model() override { return model_; }
    void kill() override { kill_(); }

private:
    Processors& processors_;
    memory::GuestMemory& memory_;
    const x86::CpuModel& model_;
    base::EventLoop& loop_;
    std::function<void()> kill_;
    /// Shared with functions that the loop may run when this is gone. The loop's thread only.
    struct Listener {
        std::function<void()> call;
    };
    std::shared_ptr<Listener> listener_ = std::make_shared<Listener>();
    base::Mutex mutex_;
    bool paused_ GUARDED_BY(mutex_) = false;
    std::shared_ptr<std::atomic<u64>> episode_ = std::make_shared<std::atomic<u64>>(0);  ///< counts go()
    std::deque<gdb::Stop> stops_ GUARDED_BY(mutex_);
};

}  // namespace triune::machine
