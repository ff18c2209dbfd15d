// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "differential/cpu/guest.h"
#include "differential/cpu/native_child.h"

namespace triune::differential::cpu {

/// Empty when both ended alike; else a table of what differs, marked with stars.
/// `dead_flags`: may differ in the frame of a fault, because the program overwrites them before it
/// reads them (docs/ARCHITECTURE.md).
std::string difference(const Program& program, const Outcome& native, const Outcome& other, const char* name,
                       bool dead_flags);

/// The host's processor and every engine, side by side.
class Engines {
public:
    Engines(NativeRunner& native, const x86::CpuModel& model);

    /// Runs each program everywhere. What differs, program by program; stops at the first when told.
    struct Failure {
        size_t program;
        std::string text;
    };
    Result<std::vector<Failure>> run(const Batch& batch, bool first_only);

private:
    struct Engine {
        const char* name;
        std::unique_ptr<FuzzGuest> guest;
        bool translates;
        unsigned every;  ///< runs each n-th program
    };
    NativeRunner& native_;
    std::vector<Engine> engines_;
    Outcome outcome_;
};

}  // namespace triune::differential::cpu
