// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>

#include "base/result.h"
#include "boot/layout.h"
#include "memory/guest_memory.h"
#include "x86/vcpu_state.h"

namespace triune::boot {

struct BootConfig {
    std::string kernel;  ///< path of a bzImage or of an ELF kernel with a PVH note
    std::string initrd;  ///< path, empty for none
    std::string cmdline;
    Gpa acpi_rsdp = 0;  ///< what install_acpi() returned, 0 for none
};

/// Puts kernel, initrd and all they want to know into `memory`, whose slots are placed, and
/// returns the state in which the boot processor starts. May be called again for a reset: the
/// files are read anew and nothing is taken to be zero.
Result<x86::VcpuState> load_linux(memory::GuestMemory& memory, const BootConfig& config);

/// The same with the kernel's bytes at hand; config.kernel is only its name in messages.
Result<x86::VcpuState> load_linux_image(memory::GuestMemory& memory, const BootConfig& config,
                                        std::span<const u8> kernel);

}  // namespace triune::boot
