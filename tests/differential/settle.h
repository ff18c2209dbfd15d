// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstring>

#include "x86/vcpu_state.h"

namespace triune::differential {

/// Components that XSTATE_BV calls initial, as they then are.
inline void settle(std::array<u8, x86::xsave_size>& a) {
    u64 in_use;
    std::memcpy(&in_use, &a[512], 8);
    if (!(in_use & 1)) {
        std::memset(&a[0], 0, 24);
        std::memset(&a[32], 0, 128);
        a[0] = 0x7f;
        a[1] = 0x03;
    }
    if (!(in_use & 2)) std::memset(&a[160], 0, 256);
    if (!(in_use & 4)) std::memset(&a[576], 0, 256);
    std::memset(&a[6], 0, 18);  // FOP, FIP, FDP
    for (unsigned n = 0; n < 8; ++n) std::memset(&a[32 + n * 16 + 10], 0, 6);
}

}  // namespace triune::differential
