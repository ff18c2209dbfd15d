// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include "base/result.h"
#include "boot/boot_config.h"
#include "boot/layout.h"
#include "memory/guest_memory.h"
#include "x86/vcpu_state.h"

namespace triune::boot {

/// Puts a Linux kernel (bzImage, or ELF with a PVH note), initrd and all they want to know into
/// `memory`, whose slots are placed, and returns the state in which the boot processor starts. May be
/// called again for a reset: the initrd is read anew and nothing is taken to be zero. config.kernel is
/// only the kernel's name in messages.
Result<x86::VcpuState> load_linux_image(memory::GuestMemory& memory, const BootConfig& config,
                                        std::span<const u8> kernel);

}  // namespace triune::boot
