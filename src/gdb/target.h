// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "hypervisor/hypervisor.h"

namespace triune::gdb {

/// What a processor stopped with.
struct Stop {
    unsigned vcpu = 0;
    hypervisor::Debug debug;
};

/// What a debugger needs of a running machine. Called on the event loop's thread.
class Target {
public:
    virtual ~Target() = default;

    [[nodiscard]] virtual unsigned vcpus() const = 0;
    /// Who is told that all processors are stopped: after stop(), or when one of them stopped of its
    /// own and took the others along. Never from within a call of this.
    virtual void on_stopped(std::function<void()> listener) = 0;
    /// Stops all processors at an instruction boundary. Where they are stopped, just tells it again.
    virtual void stop() = 0;
    /// Lets all go on but those that are held.
    virtual void go() = 0;
    /// Only while stopped.
    virtual void hold(unsigned vcpu, bool held) = 0;
    /// The next of the stops that processors had since they went on.
    virtual std::optional<Stop> take_stop() = 0;
    /// Calls f with the processor; false without a call when it is gone.
    virtual bool with_vcpu(unsigned vcpu, const std::function<void(hypervisor::Vcpu&)>& f) = 0;
    virtual memory::GuestMemory& memory() = 0;
    virtual const x86::CpuModel& model() = 0;
    /// Ends the VM.
    virtual void kill() = 0;
};

}  // namespace triune::gdb
