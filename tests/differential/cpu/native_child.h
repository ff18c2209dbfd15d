// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/result.h"
#include "differential/cpu/layout.h"

namespace triune::differential::cpu {

/// Runs programs on the host's processor, in a child that may do nothing but return from signals and
/// exit. Registers are loaded and read through signal frames, so that programs own all of them.
class NativeRunner {
public:
    static Result<std::unique_ptr<NativeRunner>> create();
    ~NativeRunner();
    NativeRunner(const NativeRunner&) = delete;
    NativeRunner& operator=(const NativeRunner&) = delete;

    /// Outcomes in the order of the programs; an error when the child died.
    Result<void> run(const Batch& batch);
    /// Selector of 32-bit code; 0: the host has none.
    [[nodiscard]] u16 code32() const { return code32_; }
    [[nodiscard]] const Outcome& outcome(size_t n) const { return outcomes_[n]; }

private:
    NativeRunner() = default;
    u16 code32_ = 0;
    Outcome* outcomes_ = nullptr;  ///< shared with the child
};

}  // namespace triune::differential::cpu
