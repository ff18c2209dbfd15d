// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

/// CPU models of real processors, as data. A guest sees what such a processor shows, less what no
/// engine of ours does (MONITOR/MWAIT, VMX, debug store, thermal monitoring, performance counters)
/// and with as many processors as the machine has.
#include <array>
#include <span>
#include <string_view>

#include "base/types.h"

namespace triune::x86 {

struct FixedModel {
    struct Cache {
        u8 type;  ///< 1: data, 2: instructions, 3: both
        u8 level;
        u16 ways;
        u32 sets;  ///< of 64-byte lines
        bool shared;
    };
    std::string_view name;
    std::string_view origin;      ///< where the numbers come from
    std::string_view brand;       ///< empty: no leaves for it
    u32 signature;                ///< EAX of leaf 1
    u32 max_basic, max_extended;  ///< highest leaves; 0: no extended ones
    u32 clflush_line;             ///< EBX bits 15:8 of leaf 1
    bool multi_core;              ///< processors are cores of one package, else packages of their own
    unsigned phys_bits;
    std::array<u32, 4> leaf2;       ///< cache descriptors (Intel SDM 2A table 3-12)
    std::span<const Cache> caches;  ///< leaf 4
    u32 l2;                         ///< ECX of leaf 0x80000006
    std::span<const std::string_view> features;
};

/// By name; null when there is none.
const FixedModel* find_fixed_model(std::string_view name);
std::span<const FixedModel> fixed_models();

}  // namespace triune::x86
