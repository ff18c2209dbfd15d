// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include "base/result.h"
#include "boot/boot_config.h"
#include "boot/multiboot_header.h"
#include "memory/guest_memory.h"
#include "x86/vcpu_state.h"

namespace triune::boot {

/// Loads a multiboot kernel, its modules and the information it gets, and returns the state in which
/// it is entered: 32-bit protected mode without paging, EAX the magic number, EBX the information
/// (Multiboot Specification 0.6.96, 3.2; Multiboot2 2.0, 3.3).
Result<x86::VcpuState> load_multiboot(memory::GuestMemory& memory, const BootConfig& config,
                                      const MultibootHeader& header, std::span<const u8> kernel);

}  // namespace triune::boot
