// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "boot/layout.h"
#include "x86/vcpu_state.h"

namespace triune::boot {

/// What a PC's BIOS leaves behind for a kernel that a boot loader starts, and that goes back to real mode or
/// turns interrupts on before it has set up its own: interrupt vectors with handlers that end the interrupt
/// and count the timer's, the BIOS data area. Writes [0, 0x500) and the page at bios_gpa.
bool install_bios_state(memory::GuestMemory& memory);

/// Lets the processor, about to enter a kernel in 32-bit protected mode without paging, first run a few
/// instructions at bios_gpa that set up the chips as a BIOS does: the 8259A pair at vectors 0x08 and 0x70
/// with the timer's interrupt alone unmasked, PCI's interrupts level-triggered, the 8254's first counter
/// at 18.2 Hz. They change ECX, EDX, ESI and status flags; interrupts stay off.
bool enter_after_bios(memory::GuestMemory& memory, x86::VcpuState& state);

}  // namespace triune::boot
