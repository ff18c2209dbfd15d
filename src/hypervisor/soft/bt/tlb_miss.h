// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "hypervisor/soft/mmu/mmu.h"

namespace triune::hypervisor::soft::bt {

/// Fills the TLB for an access of translated code. The host address, or 0 when the access faults, is
/// not RAM, crosses a page or would write to code: the reference engine then takes the instruction.
u64 handle_tlb_miss(mmu::Mmu& mmu, u64 gva, u32 info);

}  // namespace triune::hypervisor::soft::bt
