// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <functional>
#include <memory>

#include "machine/backends.h"
#include "machine/debug_target.h"
#include "machine/devices.h"
#include "machine/engine_switch.h"
#include "machine/firmware.h"
#include "machine/processors.h"
#include "machine/wiring.h"
#include "memory/guest_memory.h"

namespace triune::machine {

/// One boot of the machine: everything that a reset starts afresh (RAM, processors, interrupt chip,
/// devices, the loaded kernel). The backends outlive it. Members are destroyed in reverse: devices
/// first, then what they reach.
class Board {
public:
    /// Builds it all and loads the kernel. `end` is called by devices, on vCPU threads, when the
    /// guest powers off or resets.
    static std::expected<std::unique_ptr<Board>, VmError> create(const VmDefinition& definition,
                                                                 const x86::CpuModel& model,
                                                                 Backends& backends, base::EventLoop& loop,
                                                                 const Trace& trace);

    RunEnd run(observe::Counters& counters) { return processors_->run(start_, counters); }
    /// Any thread.
    void end(RunEnd how) { processors_->end(std::move(how)); }
    /// For a debugger; `kill` ends the VM. To be called once, before run().
    gdb::Target& debug(const x86::CpuModel& model, base::EventLoop& loop, std::function<void()> kill) {
        debug_target_ = std::make_unique<DebugTarget>(*processors_, *memory_, model, loop, std::move(kill));
        return *debug_target_;
    }
    /// Stops the VM at an instruction boundary and goes on under another engine. On a thread that no vCPU
    /// waits for, one at a time.
    Result<void> switch_engine(const std::string& engine);

private:
    Board() = default;
    /// Memory with what the first processor starts in.
    std::expected<void, VmError> load(const VmDefinition& definition);

    std::unique_ptr<memory::GuestMemory> memory_;
    MappedIo io_;
    std::unique_ptr<TracedIo> traced_io_;  ///< null: nothing is traced there
    hypervisor::VmConfig config_;
    std::unique_ptr<EngineSwitch> vm_;
    std::unique_ptr<Processors> processors_;
    std::unique_ptr<ShadowRam> shadow_;          ///< null without firmware
    std::unique_ptr<DebugTarget> debug_target_;  ///< null: there is no debugger
    std::unique_ptr<Devices> devices_;
    x86::VcpuState start_;
};

}  // namespace triune::machine
