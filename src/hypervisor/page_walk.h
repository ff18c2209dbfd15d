// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <optional>
#include <string>

#include "memory/guest_memory.h"
#include "x86/vcpu_state.h"

namespace triune::hypervisor {

/// A walk of the guest's page tables for people and debuggers: checks no rights and changes nothing,
/// neither A and D bits nor a TLB. (What the processor itself would hold in its TLB may differ.)
struct PageWalk {
    struct Level {
        const char* name = "";  ///< "PML4E"
        Gpa at = 0;             ///< of the entry
        u64 value = 0;
        bool ram = true;    ///< false: there is no memory at `at`
        bool leaf = false;  ///< maps a page
    };
    bool paging = false;
    const char* format = "";  ///< "4-level paging"
    std::array<Level, 5> levels{};
    unsigned count = 0;
    u64 page_bytes = 4096;
    std::optional<Gpa> gpa;  ///< none: not mapped, or not canonical
    bool canonical = true;
};

/// Intel SDM 3A 4: no paging, 32-bit with PSE-36, PAE, 4- and 5-level.
PageWalk walk_pages(const x86::VcpuState& s, const memory::GuestMemory& memory, Gva gva);

/// Guest-physical address of a linear address, without side effects.
std::optional<Gpa> translate(const x86::VcpuState& s, const memory::GuestMemory& memory, Gva gva);

}  // namespace triune::hypervisor
