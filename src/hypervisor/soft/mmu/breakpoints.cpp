// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/mmu/breakpoints.h"

#include "hypervisor/soft/mmu/mmu.h"

namespace triune::hypervisor::soft::mmu {

// A page with a data breakpoint in it never gets a TLB entry (see fill.cpp), so every access to it
// comes here; others cost nothing.
void Mmu::note_breakpoints(Gva gva, unsigned size, Access access, Privilege privilege) {
    // The processor's own accesses to descriptor tables and TSSs are none of the program's.
    if (privilege == Privilege::implicit_supervisor) return;
    for (unsigned n = 0; n < 4; ++n) {
        const Breakpoint b = breakpoint(vcpu_.state, n);
        if (!b.enabled || !b.overlaps(gva, size)) continue;
        if (b.kind == Breakpoint::access || (b.kind == Breakpoint::write && access == Access::write))
            vcpu_.debug_hits |= 1u << n;
    }
}

}  // namespace triune::hypervisor::soft::mmu
