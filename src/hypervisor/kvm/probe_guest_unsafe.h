// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include "base/types.h"

namespace triune::hypervisor::kvm {

/// The probe's guest: position-independent 64-bit code that is entered at ring 0, one to one mapped. It
/// writes its progress to port 0xf4 and halts after the last step; a wrong result shows as step `failed`.
namespace probe_guest {

enum Step : u32 {
    began = 1,    ///< kernel loop begins
    kernel_done,  ///< page-table work begins
    tables_done,  ///< user loop begins
    user_done,    ///< system calls begin
    calls_done,
    failed = 0xff,
};
inline constexpr u16 port = 0xf4;
inline constexpr u64 loop_count = 400'000;  ///< of each loop: read-modify-write, decrement, branch
inline constexpr u64 table_count = 200;     ///< each: two new mappings, used after INVLPG and after MOV CR3
inline constexpr u64 call_count = 2000;     ///< SYSCALL, SYSRET

// Guest-physical places; the page at `window` is mapped by the page table at `page_table`.
inline constexpr Gpa pml4 = 0x1000, pdpt = 0x2000, directory = 0x3000, page_table = 0x4000,
                     first_page = 0x6000, second_page = 0x7000, variable = 0x8000, code = 0x10000,
                     window = 0x200000;
inline constexpr u32 first_word = 0x11111111, second_word = 0x22222222;

std::span<const u8> image();
/// Offset of the system-call entry in the image.
u64 syscall_entry();

}  // namespace probe_guest

/// The loop of the guest, run here. `variable` is what it counts in.
void run_probe_loop(u64& variable);

}  // namespace triune::hypervisor::kvm
