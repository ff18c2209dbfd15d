// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "x86/vcpu_state.h"

namespace triune::hypervisor::soft::mmu {

/// One of DR0-3 as DR7 describes it (Intel SDM 3B 18.2.4).
struct Breakpoint {
    enum Kind : unsigned { execute, write, io, access };
    bool enabled;
    Kind kind;
    u64 address;  ///< aligned to `size`, as the processor takes it
    u64 size;

    [[nodiscard]] bool overlaps(u64 at, u64 bytes) const {
        return at - address < size || address - at < bytes;
    }
};

inline Breakpoint breakpoint(const x86::VcpuState& s, unsigned n) {
    constexpr u64 sizes[4] = {1, 2, 8, 4};
    const u64 control = s.dr[7];
    const u64 size = sizes[(control >> (18 + 4 * n)) & 3];
    return {((control >> (2 * n)) & 3) != 0, static_cast<Breakpoint::Kind>((control >> (16 + 4 * n)) & 3),
            s.dr[n] & ~(size - 1), size};
}

}  // namespace triune::hypervisor::soft::mmu
