// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "machine/processors.h"

#include <fmt/format.h>
#include <pthread.h>

#include <thread>
#include <variant>

namespace triune::machine {

RunEnd Processors::run(const x86::VcpuState& start, observe::Counters& counters) {
    std::vector<std::thread> threads;
    for (unsigned i = 0; i < count_; ++i) {
        threads.emplace_back([this, i, &start, &counters] { run_one(i, start, counters); });
        pthread_setname_np(threads.back().native_handle(), fmt::format("vcpu{}", i).c_str());
    }
    for (std::thread& t : threads) t.join();
    const std::lock_guard lock(mutex_);
    return end_.value_or(RunEnd{{VmEnd::host_error, "all processors stopped without a reason"}});
}

void Processors::end(RunEnd how) {
    const std::lock_guard lock(mutex_);
    if (end_) return;
    end_ = std::move(how);
    for (hypervisor::Vcpu* v : vcpus_) v->kick();
    created_.notify_all();
}

bool Processors::ended() {
    const std::lock_guard lock(mutex_);
    return end_.has_value();
}

void Processors::run_one(unsigned index, const x86::VcpuState& start, observe::Counters& counters) {
    auto vcpu = vm_.create_vcpu(index);
    if (!vcpu) {
        end({{VmEnd::host_error, fmt::format("processor {}: {}", index, vcpu.error().message)}});
        return;
    }
    if (index == 0) {
        // The time-stamp counters have run since the VM was made, the same on every processor.
        x86::VcpuState state = start;
        state.tsc_offset = (*vcpu)->state().tsc_offset;
        (*vcpu)->set_state(state);
    }
    {
        std::unique_lock lock(mutex_);
        vcpus_.push_back(vcpu->get());
        if (++created_count_ == count_) created_.notify_all();
        created_.wait(lock, [this] { return created_count_ == count_ || end_; });
    }
    while (!ended()) {
        const hypervisor::Exit exit = (*vcpu)->run();
        if (const auto* shutdown = std::get_if<hypervisor::Shutdown>(&exit))
            end({{VmEnd::triple_fault,
                  fmt::format("triple fault on processor {}: {}", index, shutdown->report)}});
        else if (const auto* error = std::get_if<hypervisor::InternalError>(&exit))
            end({{VmEnd::host_error, fmt::format("processor {}: {}", index, error->reason)}});
    }
    const std::lock_guard lock(mutex_);
    std::erase(vcpus_, vcpu->get());
    const observe::Counters& mine = (*vcpu)->counters();
    for (size_t i = 0; i < mine.value.size(); ++i) counters.value[i] += mine.value[i];
    // The vCPU goes while this thread holds the lock: nobody can kick it any more.
    vcpu->reset();
}

}  // namespace triune::machine
