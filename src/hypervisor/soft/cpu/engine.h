// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/types.h"

namespace triune::hypervisor::soft::cpu {

/// How an engine's run ended. In every case the architectural state is exact at an instruction
/// boundary.
enum class EngineExit : u8 {
    signalled,  ///< Signals::pending is not zero, or an interrupt window opened: the run loop looks
    declined,   ///< the instruction at RIP (or the mode) is not for this engine: the reference engine takes
                ///< one step
    budget,     ///< ran long enough; nothing happened
    halted,     ///< HLT was executed; state.halted is set
    shutdown,   ///< triple fault
    unsound,    ///< an engine that checks another has found a difference
};

/// Runs guest code from the current state until something happens that only others can settle.
class Engine {
public:
    virtual ~Engine() = default;
    virtual EngineExit run() = 0;
    /// Translations of guest-physical [gpa, gpa+size) are stale. On the vCPU's thread.
    virtual void invalidate(Gpa gpa, u64 size) = 0;
};

}  // namespace triune::hypervisor::soft::cpu
