// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/bt/tlb_miss.h"

#include "hypervisor/soft/bt/stubs.h"

// This file and what it calls are built without vector registers: the guest's are live.
namespace triune::hypervisor::soft::bt {

u64 handle_tlb_miss(mmu::Mmu& mmu, u64 gva, u32 info) {
    mmu.vcpu().counters.add(observe::Counter::tlb_misses);
    if ((gva & page_mask) + TlbMissInfo::size(info) > page_size) return 0;
    const bool write = TlbMissInfo::write(info);
    const auto t = mmu.fill(gva, write ? mmu::Access::write : mmu::Access::read, TlbMissInfo::mode(info));
    if (!t || !t->host || (write && !t->writable)) return 0;
    return reinterpret_cast<u64>(t->host);
}

}  // namespace triune::hypervisor::soft::bt
