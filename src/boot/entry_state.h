// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>

#include "memory/guest_memory.h"
#include "x86/vcpu_state.h"

namespace triune::boot {

/// 64-bit mode with the first 4 GB mapped one to one, flat segments, interrupts off (Linux
/// Documentation/arch/x86/boot.rst, "64-bit boot protocol"). Writes GDT and page tables. Empty if
/// these places are not RAM.
std::optional<x86::VcpuState> enter_long_mode(memory::GuestMemory& memory, Gpa rip);

/// 32-bit protected mode without paging, flat segments, interrupts off (the same, "32-bit boot
/// protocol"; Xen docs/misc/pvh.pandoc).
std::optional<x86::VcpuState> enter_protected_mode(memory::GuestMemory& memory, Gpa eip);

}  // namespace triune::boot
