// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cpuid.h>

#include "x86/cpu_model.h"

namespace triune::x86 {

/// The host's CPUID; zeros for leaves that it does not have.
inline CpuidResult host_cpuid(u32 function, u32 index = 0) {
    CpuidResult r;
    if (!__get_cpuid_count(function, index, &r.eax, &r.ebx, &r.ecx, &r.edx)) return {};
    return r;
}

}  // namespace triune::x86
