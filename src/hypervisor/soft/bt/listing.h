// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>

#include "base/result.h"
#include "base/types.h"
#include "x86/insn.h"

namespace triune::hypervisor::soft::bt {

/// Guest code beside its translation, for people and for reviewed text in the tree. Translates what
/// would be one block of `code` that runs at guest address `rip`, and runs nothing. The text
/// is the same from run to run and from host to host:
///
///     ; guest: 1 instructions, 3 bytes; flags wanted: in memory
///     ; host: 9 instructions in the body, 31 in all, 192 bytes
///     0x1000  mov rax, [rbx]
///                 mov r10, rbx
///                 …
///       L1:       mov rax, qword ptr [r10]
///     entries:
///       ; entry host_full, host
///                 …
///     cold paths:
///       L2:       …
///
/// Host R15 is guest RSP; R10 and R11 are scratch (registers.h). Addresses in the vCPU's own memory
/// have names (`[guest.r10]`, `[r11+tlb.read]`); jumps go to labels or to named stubs. `user`: code
/// of CPL 3, whose entries check the page's mapping; otherwise supervisor code in a global page under
/// SMAP.
///
/// 32-bit code runs with flat segments, 16-bit code in real mode with a code segment at 0.
Result<std::string> list_translation(std::span<const u8> code, u64 rip, bool user,
                                     x86::CodeSize size = x86::CodeSize::bits64);

}  // namespace triune::hypervisor::soft::bt
