// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "x86/cpu_model.h"
#include "x86/fixed_models.h"

namespace triune::x86 {

/// Who a processor says it is: CPUID leaves 0, 1 EAX and 0x80000002-4.
struct CpuIdentity {
    CpuidResult vendor;                 ///< EBX, ECX, EDX of leaf 0
    u32 signature = 0;                  ///< EAX of leaf 1: family, model, stepping
    std::string brand;                  ///< at most 47 characters
    const FixedModel* fixed = nullptr;  ///< its leaves are to be those of a real processor
    [[nodiscard]] bool intel() const { return vendor.ebx == 0x756e6547; }  // "Genu"
};

/// Adds every leaf to `model` whose cpus, phys_bits, tsc_hz and xcr0_mask are set. Which features
/// are offered: enabled[i] for cpu_features[i]. pkru_offset is set too where XCR0 has the component.
void add_leaves(CpuModel& model, const CpuIdentity& id, const std::vector<bool>& enabled);

/// Has the model's leaves state another rate of the TSC than the one it runs at: a guest's clocks then run by
/// that much faster or slower.
void state_tsc_rate(CpuModel& model, u64 hz);

/// Leaf 0xd by the model's xcr0_mask and pkru_offset (Intel SDM 1 13.2).
void state_xsave_components(CpuModel& model);

/// Ratio of `hz` to a clock of 1 GHz as leaf 0x15 shows it: EBX / EAX. Kept so small that guests that
/// multiply kHz in 32 bits do not overflow: exact for whole MHz, else mostly within 1 ppm, at worst (just
/// beside simple ratios) 120 ppm. Guests that know the hypervisor leaves take the rate from there.
struct TscRatio {
    u32 denominator, numerator;
};
TscRatio tsc_ratio(u64 hz);

}  // namespace triune::x86
