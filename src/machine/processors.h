// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <mutex>
#include <optional>
#include <vector>

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
/// Threads: run() on any one; end() from any, also before run() (then run() returns at once).
class Processors {
public:
    Processors(hypervisor::Vm& vm, unsigned count) : vm_(vm), count_(count) {}

    /// Starts the boot processor at `start` and blocks until end() was called and all vCPUs have
    /// left the guest. Adds their counters to `counters`.
    RunEnd run(const x86::VcpuState& start, observe::Counters& counters);

    /// The first call decides how the run ended; the others have no effect.
    void end(RunEnd how);

private:
    void run_one(unsigned index, const x86::VcpuState& start, observe::Counters& counters);
    [[nodiscard]] bool ended();

    hypervisor::Vm& vm_;
    const unsigned count_;
    std::mutex mutex_;  // guards all below; taken before nothing else
    std::condition_variable created_;
    unsigned created_count_ = 0;
    std::vector<hypervisor::Vcpu*> vcpus_;  ///< those that can be kicked
    std::optional<RunEnd> end_;
};

}  // namespace triune::machine
