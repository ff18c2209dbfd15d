// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Runs one user-mode instruction on the host's processor.
#include <array>
#include <memory>
#include <span>

#include "x86/vcpu_state.h"

namespace triune::differential {

/// Address of the data that memory operands use, the same in the host's process and in the guest.
inline constexpr u64 data_address = 0x60000;
inline constexpr u64 data_bytes = 0x2000;

/// Registers and extended state, before and after.
struct alignas(64) Registers {
    std::array<u8, x86::xsave_size> xsave{};
    alignas(64) std::array<u64, 16> gpr{};  ///< RSP is not the guest's
    u64 flags = 0;                          ///< status flags and DF
};

class Native {
public:
    Native();
    ~Native();
    Native(const Native&) = delete;
    Native& operator=(const Native&) = delete;

    /// False: the host would not give the fixed data address or executable memory.
    [[nodiscard]] bool usable() const;
    [[nodiscard]] std::span<u8> data();
    /// Exception vector that it raised (`r` is then meaningless), or -1.
    int run(std::span<const u8> instruction, Registers& r);

private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace triune::differential
