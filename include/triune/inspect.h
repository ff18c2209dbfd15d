// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

/// The public API: see what the translator does, without a VM.
#include <cstdint>
#include <expected>
#include <string>
#include <vector>

#include "triune/vm.h"

namespace triune {

/// Guest machine code beside the host code that the `bt` engine makes of it, as text that is the
/// same on every host. `code` is code at guest address `rip`; its first block is translated,
/// nothing runs. `user`: as code of privilege level 3, otherwise as kernel code. `bits`: 64, 32 (with flat
/// segments) or 16 (in real mode).
std::expected<std::string, VmError> disassemble_block(const std::vector<std::uint8_t>& code,
                                                      std::uint64_t rip, bool user, unsigned bits = 64);

}  // namespace triune
