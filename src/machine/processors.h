// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "base/mutex.h"
#include "hypervisor/hypervisor.h"
#include "observe/counters.h"
#include "triune/vm.h"

namespace triune::machine {

/// What a guest's run ended with: an outcome for the user, or a wish to boot again.
struct RunEnd {
    VmOutcome outcome;
    bool reset = false;
};

/// Runs the vCPUs of one boot, each on a thread of its own, until somebody ends it.
///
///     created -> [ waits while paused or held -> runs guest code ] … -> gone
///
/// Threads: run() on any one; the others from any, also before run() (after end() it returns at once).
class Processors {
public:
    Processors(hypervisor::Vm& vm, unsigned count)
        : vm_(vm), count_(count), vcpus_(count), held_(count), to_move_(count) {}

    /// Starts the boot processor at `start` and blocks until end() was called and all vCPUs have
    /// left the guest. Adds their counters to `counters`.
    RunEnd run(const x86::VcpuState& start, observe::Counters& counters);

    /// The first call decides how the run ended; the others have no effect. Ends pauses too.
    void end(RunEnd how);

    /// Stops all vCPUs at an instruction boundary. Pauses are counted: each wants its resume().
    /// `paused` is called once, when all vCPUs exist and none runs guest code, or when the run has
    /// ended: on this thread or a vCPU's, with no lock held. Never blocks.
    void pause(std::function<void()> paused);
    /// Blocks until then; false when the run has ended. Not on a vCPU's thread, nor on one that a
    /// vCPU's device may wait for (the event loop).
    bool pause();
    void resume();

    /// Calls f with processor `index` while a pause is complete, whichever thread this is; false
    /// without a call when there is none or the run has ended. f is short and calls none of this.
    bool with_vcpu(unsigned index, const std::function<void(hypervisor::Vcpu&)>& f);
    /// Replaces every processor by one of `next`, which takes over its state. Only while a pause is complete;
    /// blocks until all have moved. A failure halfway ends the run. What a debugger set is not moved.
    Result<void> move_to(hypervisor::Vm& next);
    /// A processor that is held stays where it is after resume(). Only while paused.
    void hold(unsigned index, bool held);

    /// Who hears that a vCPU's run() ended with Debug: called on its thread, before it goes on (or
    /// waits, if the listener pauses). To be set before run().
    void on_debug(std::function<void(unsigned index, const hypervisor::Debug&)> listener) {
        on_debug_ = std::move(listener);
    }

    [[nodiscard]] unsigned count() const { return count_; }

private:
    void run_one(unsigned index, const x86::VcpuState& start, observe::Counters& counters);
    enum class Next : u8 { run, move, end };
    /// Waits until the processor may run, or is to move.
    Next enter(unsigned index);
    void move_one(unsigned index, std::unique_ptr<hypervisor::Vcpu>& vcpu, observe::Counters& counters);
    /// Takes the processor away from everybody else.
    void retire(unsigned index, std::unique_ptr<hypervisor::Vcpu>& vcpu, observe::Counters& counters);
    void leave();
    [[nodiscard]] bool settled() const REQUIRES(mutex_) {
        return end_ || (created_count_ == count_ && running_ == 0);
    }
    /// Nobody has yet to move, or begun to.
    [[nodiscard]] bool moved() const REQUIRES(mutex_) {
        return moves_left_ == 0 || (end_ && moves_begun_ == 0);
    }
    void kick_all() REQUIRES(mutex_);
    using Listeners = std::vector<std::function<void()>>;
    /// Those who wait for the pause that is complete now: to be called without the lock.
    [[nodiscard]] Listeners take_paused() REQUIRES(mutex_);

    hypervisor::Vm& vm_;
    const unsigned count_;
    std::function<void(unsigned, const hypervisor::Debug&)> on_debug_;
    mutable base::Mutex mutex_;        // taken before nothing else
    base::ConditionVariable changed_;  ///< any of what enter() waits for
    unsigned created_count_ GUARDED_BY(mutex_) = 0;
    unsigned running_ GUARDED_BY(mutex_) = 0;                  ///< vCPUs in Vcpu::run()
    unsigned pauses_ GUARDED_BY(mutex_) = 0;                   ///< that were not resumed
    std::vector<hypervisor::Vcpu*> vcpus_ GUARDED_BY(mutex_);  ///< by index; null before and after its life
    std::vector<bool> held_ GUARDED_BY(mutex_);
    hypervisor::Vm* moving_to_ GUARDED_BY(mutex_) = nullptr;  ///< null: nobody moves
    std::vector<bool> to_move_ GUARDED_BY(mutex_);
    unsigned moves_left_ GUARDED_BY(mutex_) = 0;   ///< processors that have not moved
    unsigned moves_begun_ GUARDED_BY(mutex_) = 0;  ///< those in between
    Listeners waiting_for_pause_ GUARDED_BY(mutex_);
    std::optional<RunEnd> end_ GUARDED_BY(mutex_);
};

}  // namespace triune::machine
