// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "hypervisor/soft/bt/engine_data.h"
#include "hypervisor/soft/mmu/mmu.h"

namespace triune::hypervisor::soft::bt {

/// Fills the TLB for an access of translated code. The host address, or 0: EngineData::reason says
/// whether it is a page fault, or for the reference engine to sort out (not RAM, not canonical,
/// across pages, a write to code).
u64 handle_tlb_miss(mmu::Mmu& mmu, EngineData& data, u64 value, u64 index, const u8* resume);

/// MOVS and STOS upwards, page by page, on the registers in VcpuState. 1 when done; 0 when the rest
/// is for somebody else, with exact registers and EngineData::reason.
u64 run_string(mmu::Mmu& mmu, EngineData& data, u32 info);

}  // namespace triune::hypervisor::soft::bt
