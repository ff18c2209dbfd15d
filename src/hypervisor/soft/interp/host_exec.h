// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Runs one vector or x87 instruction of the guest on the host: the guest's extended state and
/// registers are loaded, a copy of the instruction with its memory operand redirected to a buffer
/// is called, and everything is taken back.
#include <memory>

#include "x86/insn.h"
#include "x86/vcpu_state.h"

namespace triune::hypervisor::soft::interp {

class HostExecutor {
public:
    /// Throws std::system_error when the host has no memory for it.
    HostExecutor();
    ~HostExecutor();
    HostExecutor(const HostExecutor&) = delete;
    HostExecutor& operator=(const HostExecutor&) = delete;

    /// The memory operand, 64 bytes, 64-byte aligned.
    [[nodiscard]] u8* buffer();
    /// Executes `i` on state.xsave and state.gpr; the status flags go in and out. The host must have no
    /// reason for an exception (MXCSR masks them all, FSW has none pending): the caller sees to that.
    void run(const x86::Insn& i, x86::VcpuState& state);
    /// The same when MXCSR unmasks SIMD exceptions. False: one was raised. The flags in MXCSR then say
    /// which, and nothing else has changed, but that an instruction with MMX operands has entered MMX mode.
    [[nodiscard]] bool run_unmasked(const x86::Insn& i, x86::VcpuState& state);

private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace triune::hypervisor::soft::interp
