// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/types.h"

namespace triune::hypervisor::soft::system {

/// struct pvclock_vcpu_time_info of KVM's ABI.
struct PvclockTime {
    u32 version = 0;
    u32 pad0 = 0;
    u64 tsc_timestamp = 0;
    u64 system_time = 0;  ///< ns at tsc_timestamp
    u32 tsc_to_system_mul = 0;
    i8 tsc_shift = 0;
    u8 flags = 0;
    u8 pad[2] = {};
};
static_assert(sizeof(PvclockTime) == 32);

/// How KVM's ABI turns TSC ticks into nanoseconds.
struct TscScale {
    u32 mul = 0;
    i8 shift = 0;
};
TscScale tsc_scale(u64 tsc_hz);
/// As a guest computes it.
u64 tsc_to_ns(const TscScale& scale, u64 delta);

}  // namespace triune::hypervisor::soft::system
