// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include "base/result.h"
#include "boot/boot_config.h"
#include "memory/guest_memory.h"
#include "x86/vcpu_state.h"

namespace triune::boot {

/// Puts `image` at flat.address and enters it at its first byte, interrupts off, all general registers
/// zero but these: the stack pointer is the end of conventional memory (0x9fc00; SS is 0x9000 in real
/// mode), and DL is 0x80 in real mode, as if a BIOS had loaded it from the first disk. Real mode: below
/// 1 MB, all other segments zero if the address is below 64 KB, else CS = address / 16. There is no BIOS:
/// the interrupt vectors are zero. Protected mode: flat 32-bit segments, no paging. Long mode: 64-bit code,
/// the first 4 GB mapped one to one.
Result<x86::VcpuState> load_flat(memory::GuestMemory& memory, const BootConfig& config, const FlatLoad& flat,
                                 std::span<const u8> image);

}  // namespace triune::boot
