// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

/// soft/interp: the reference engine: one instruction at a time, small, obvious, complete. Oracle
/// for the translator, the path for what it declines, and the emulator for MMIO.
#include <memory>

#include "hypervisor/soft/cpu/engine.h"
#include "hypervisor/soft/system/system.h"

namespace triune::hypervisor::soft::interp {

class Interpreter final : public cpu::Engine {
public:
    explicit Interpreter(system::System& system);
    ~Interpreter() override;

    /// Steps until a signal is pending, HLT, shutdown, or some thousand instructions (budget).
    cpu::EngineExit run() override;
    void invalidate(Gpa gpa, u64 size) override;

    /// Executes exactly one instruction (one iteration of a REP string instruction may count as
    /// several: it stops early when a signal is pending, RIP then still at it), or delivers the
    /// fault it raises. Also does what comes after it: single-step #DB, ending the interrupt shadow.
    enum class Step : u8 { ok, halted, shutdown };
    Step step();

private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace triune::hypervisor::soft::interp
