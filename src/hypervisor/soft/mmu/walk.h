// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "hypervisor/soft/mmu/mmu.h"

namespace triune::hypervisor::soft::mmu {

/// Result of a page walk that found a mapping which grants the access.
struct Mapping {
    Gpa gpa = 0;
    u64 page_bytes = 4096;
    bool global = false;
    /// A write through this mapping would be granted and the dirty bit is already set.
    bool write_granted = false;
    /// The protection key whose rights in PKRU were asked; -1: PKRU does not matter to the page.
    int key = -1;
};

/// Walks the guest's page tables (Intel SDM 3A 4): no paging, 32-bit with PSE, PAE, 4- and
/// 5-level.
/// Checks every right that `mode` calls for (WP, NX, SMEP, SMAP, protection keys, reserved bits), then sets A
/// and D.
///
///     CR3 -> [PML5E ->] [PML4E ->] [PDPTE ->] PDE -> PTE -> page
///                                     |1G       |2M/4M
std::expected<Mapping, PageFault> walk(cpu::VcpuContext& vcpu, Gva gva, Access access, TlbMode mode);

}  // namespace triune::hypervisor::soft::mmu
