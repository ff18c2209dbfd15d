// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>

#include "differential/cpu/layout.h"

namespace triune::differential::cpu {

/// What the generator made, held against what the model has.
class Coverage {
public:
    Coverage(const x86::InsnSet& set, bool compat);

    void count(const Program& p);
    /// Forms (mnemonic; registers, memory or indexed vectors) that a program could hold and none did.
    [[nodiscard]] std::string missing() const;
    /// How often each was made, the rarest first.
    [[nodiscard]] std::string table() const;
    [[nodiscard]] size_t forms() const { return made_.size(); }

private:
    std::map<std::string, u64> made_;
};

}  // namespace triune::differential::cpu
