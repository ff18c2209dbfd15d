// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

/// What must hold before an instruction may touch extended state (Intel SDM 3A 13, 2A 2.4).
#include "hypervisor/soft/interp/exec.h"
#include "hypervisor/soft/interp/vector_state.h"

namespace triune::hypervisor::soft::interp {

/// #NM by CR0.EM or TS.
inline bool x87_usable(Exec& e) {
    return e.s.cr0 & (x86::cr0::em | x86::cr0::ts) ? e.raise(Fault::nm()) : true;
}

/// #MF for an unmasked x87 exception that is pending. With CR0.NE clear it goes out on FERR#, and the
/// processor waits here for the interrupt that a PC makes of it (Intel SDM 1 8.7.2).
inline bool x87_no_pending(Exec& e) {
    const bool pending = VectorState(e.s).status() & VectorState::es;
    if (e.s.cr0 & x86::cr0::ne) return pending ? e.raise({x86::vec::mf, false, 0, 0}) : true;
    if (e.vcpu.apic && !e.vcpu.apic->ferr(pending) && pending) {
        e.retry = true;
        return false;
    }
    return true;
}

inline bool mmx_usable(Exec& e) {
    if (e.s.cr0 & x86::cr0::em) return e.ud();
    if (e.s.cr0 & x86::cr0::ts) return e.raise(Fault::nm());
    return x87_no_pending(e);
}

inline bool sse_usable(Exec& e) {
    if ((e.s.cr0 & x86::cr0::em) || !(e.s.cr4 & x86::cr4::osfxsr)) return e.ud();
    return e.s.cr0 & x86::cr0::ts ? e.raise(Fault::nm()) : true;
}

inline bool avx_usable(Exec& e) {
    if (!e.s.protected_mode() || e.s.v8086() || !(e.s.cr4 & x86::cr4::osxsave) || (e.s.xcr0 & 6) != 6)
        return e.ud();
    return e.s.cr0 & x86::cr0::ts ? e.raise(Fault::nm()) : true;
}

}  // namespace triune::hypervisor::soft::interp
