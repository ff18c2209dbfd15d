// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "machine/processors.h"

#include <fmt/format.h>
#include <pthread.h>

#include <semaphore>
#include <thread>
#include <utility>
#include <variant>

namespace triune::machine {

RunEnd Processors::run(const x86::VcpuState& start, observe::Counters& counters) {
    std::vector<std::thread> threads;
    for (unsigned i = 0; i < count_; ++i) {
        threads.emplace_back([this, i, &start, &counters] { run_one(i, start, counters); });
        pthread_setname_np(threads.back().native_handle(), fmt::format("vcpu{}", i).c_str());
    }
    for (std::thread& t : threads) t.join();
    const base::MutexLock lock(mutex_);
    return end_.value_or(RunEnd{{VmEnd::host_error, "all processors stopped without a reason"}});
}

void Processors::end(RunEnd how) {
    Listeners paused;
    {
        const base::MutexLock lock(mutex_);
        if (end_) return;
        end_ = std::move(how);
        kick_all();
        changed_.notify_all();
        paused = take_paused();
    }
    for (const auto& tell : paused) tell();
}

void Processors::kick_all() {
    for (hypervisor::Vcpu* v : vcpus_)
        if (v) v->kick();
}

// -- pauses ---------------------------------------------------------------------------------------

void Processors::pause(std::function<void()> paused) {
    Listeners complete;
    {
        const base::MutexLock lock(mutex_);
        ++pauses_;
        kick_all();
        waiting_for_pause_.push_back(std::move(paused));
        complete = take_paused();
    }
    for (const auto& tell : complete) tell();
}

bool Processors::pause() {
    std::binary_semaphore done{0};
    pause([&done] { done.release(); });
    done.acquire();
    const base::MutexLock lock(mutex_);
    return !end_;
}

void Processors::resume() {
    const base::MutexLock lock(mutex_);
    if (pauses_ > 0 && --pauses_ == 0) changed_.notify_all();
}

bool Processors::with_vcpu(unsigned index, const std::function<void(hypervisor::Vcpu&)>& f) {
    const base::MutexLock lock(mutex_);
    if (end_ || pauses_ == 0 || !settled() || index >= count_ || !vcpus_[index]) return false;
    f(*vcpus_[index]);
    return true;
}

void Processors::hold(unsigned index, bool held) {
    const base::MutexLock lock(mutex_);
    held_.at(index) = held;
}

Processors::Listeners Processors::take_paused() {
    return settled() ? std::exchange(waiting_for_pause_, {}) : Listeners{};
}

Result<void> Processors::move_to(hypervisor::Vm& next) {
    const base::MutexLock lock(mutex_);
    if (end_) return fail("the VM has ended");
    if (pauses_ == 0 || !settled() || moving_to_) return fail("the processors are not paused");
    moving_to_ = &next;
    to_move_.assign(count_, true);
    moves_left_ = count_;
    changed_.notify_all();
    // Whoever has begun still uses `next`.
    while (!moved()) changed_.wait(mutex_);
    moving_to_ = nullptr;
    if (moves_left_) return fail("the VM has ended");
    return {};
}

// -- a processor's thread -------------------------------------------------------------------------

Processors::Next Processors::enter(unsigned index) {
    const base::MutexLock lock(mutex_);
    while (!end_ && !to_move_[index] && (pauses_ || held_[index])) changed_.wait(mutex_);
    if (end_) return Next::end;
    if (to_move_[index]) return Next::move;
    ++running_;
    return Next::run;
}

void Processors::retire(unsigned index, std::unique_ptr<hypervisor::Vcpu>& vcpu,
                        observe::Counters& counters) {
    const base::MutexLock lock(mutex_);
    vcpus_[index] = nullptr;
    counters.add(vcpu->counters());
    // The vCPU goes while this thread holds the lock: nobody can reach it any more.
    vcpu.reset();
}

void Processors::move_one(unsigned index, std::unique_ptr<hypervisor::Vcpu>& vcpu,
                          observe::Counters& counters) {
    hypervisor::Vm* next = nullptr;
    {
        const base::MutexLock lock(mutex_);
        to_move_[index] = false;
        if (!moving_to_) return;
        next = moving_to_;
        ++moves_begun_;
    }
    const x86::VcpuState state = vcpu->state();
    retire(index, vcpu, counters);
    auto made = next->create_vcpu(index);
    if (made) {
        vcpu = std::move(*made);
        vcpu->set_state(state);
    } else {
        end({{VmEnd::host_error,
              fmt::format("processor {} on the new engine: {}", index, made.error().message)}});
    }
    const base::MutexLock lock(mutex_);
    vcpus_[index] = vcpu.get();
    --moves_begun_;
    if (made) --moves_left_;
    changed_.notify_all();
}

void Processors::leave() {
    Listeners paused;
    {
        const base::MutexLock lock(mutex_);
        --running_;
        paused = take_paused();
    }
    for (const auto& tell : paused) tell();
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
    Listeners paused;
    {
        const base::MutexLock lock(mutex_);
        vcpus_[index] = vcpu->get();
        if (++created_count_ == count_) changed_.notify_all();
        while (created_count_ != count_ && !end_) changed_.wait(mutex_);
        paused = take_paused();
    }
    for (const auto& tell : paused) tell();
    for (Next next = enter(index); next != Next::end; next = enter(index)) {
        if (next == Next::move) {
            move_one(index, *vcpu, counters);
            continue;
        }
        const hypervisor::Exit exit = (*vcpu)->run();
        if (const auto* shutdown = std::get_if<hypervisor::Shutdown>(&exit))
            end({{VmEnd::triple_fault,
                  fmt::format("triple fault on processor {}: {}", index, shutdown->report)}});
        else if (const auto* error = std::get_if<hypervisor::InternalError>(&exit))
            end({{VmEnd::host_error, fmt::format("processor {}: {}", index, error->reason)}});
        else if (const auto* mismatch = std::get_if<hypervisor::Mismatch>(&exit))
            end({{VmEnd::mismatch, mismatch->report}});
        else if (const auto* debug = std::get_if<hypervisor::Debug>(&exit); debug && on_debug_)
            on_debug_(index, *debug);
        leave();
    }
    if (*vcpu) retire(index, *vcpu, counters);
}

}  // namespace triune::machine
