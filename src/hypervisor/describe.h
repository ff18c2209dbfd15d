// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "memory/guest_memory.h"
#include "x86/vcpu_state.h"

/// A processor's state as text for a person: for reports of triple faults, and debuggers. Each text
/// is whole lines.
namespace triune::hypervisor {

/// General registers, segments, descriptor tables, control and debug registers.
std::string describe_registers(const x86::VcpuState& s);
/// The instruction at RIP disassembled, and some bytes before and after it.
std::string describe_code(const x86::VcpuState& s, const memory::GuestMemory& memory);
/// The page walk of a linear address, a line a level.
std::string describe_walk(const x86::VcpuState& s, const memory::GuestMemory& memory, Gva gva);

/// Linear address of the next instruction.
Gva code_address(const x86::VcpuState& s);

}  // namespace triune::hypervisor
