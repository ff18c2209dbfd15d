// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include "base/result.h"
#include "boot/boot_config.h"
#include "memory/guest_memory.h"
#include "x86/vcpu_state.h"

namespace triune::boot {

/// Finds out what config.kernel is, loads it with what belongs to it into `memory`, whose slots are
/// placed, and returns the state in which the boot processor starts. Files are read anew at every
/// call, and nothing is taken to be zero. A Linux without a command line gets `console=ttyS0`.
Result<x86::VcpuState> load_kernel(memory::GuestMemory& memory, const BootConfig& config);

/// The same with the kernel's bytes at hand; config.kernel is only its name in messages.
Result<x86::VcpuState> load_kernel_image(memory::GuestMemory& memory, const BootConfig& config,
                                         std::span<const u8> kernel);

}  // namespace triune::boot
