// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "x86/fixed_models.h"

#include <algorithm>

namespace triune::x86 {
namespace {

constexpr auto features_486 = std::to_array<std::string_view>({"cpuid", "fpu", "vme"});

constexpr auto features_pentium =
    std::to_array<std::string_view>({"cpuid", "fpu", "vme", "de", "pse", "tsc", "msr", "mce", "cx8", "apic"});

constexpr auto features_pentium3 = std::to_array<std::string_view>(
    {"cpuid", "p6",  "fpu",  "vme", "de",  "pse",  "tsc", "msr",   "pae", "mce",  "cx8",
     "apic",  "sep", "mtrr", "pge", "mca", "cmov", "pat", "pse36", "mmx", "fxsr", "sse"});

constexpr auto features_core2 = std::to_array<std::string_view>(
    {"cpuid", "p6",   "fpu",  "vme",   "de",   "pse",     "tsc",     "msr",   "pae",     "mce", "cx8",
     "apic",  "sep",  "mtrr", "pge",   "mca",  "cmov",    "pat",     "pse36", "clflush", "mmx", "fxsr",
     "sse",   "sse2", "sse3", "ssse3", "cx16", "lahf_lm", "syscall", "nx",    "lm"});

constexpr auto caches_core2 =
    std::to_array<FixedModel::Cache>({{1, 1, 8, 64, false}, {2, 1, 8, 64, false}, {3, 2, 16, 4096, true}});

constexpr auto all = std::to_array<FixedModel>({
    {
        .name = "486",
        .origin = "Intel486 DX4, model 8 stepping 0, one of those with CPUID: Intel AP-485 table \"Intel486 "
                  "processor signatures\"; leaves as in the dumps at ardent-tool.com/CPU/Docs_Intel.html",
        .brand = {},
        .signature = 0x480,
        .max_basic = 1,
        .max_extended = 0,
        .clflush_line = 0,
        .multi_core = false,
        .phys_bits = 32,
        .leaf2 = {},
        .caches = {},
        .l2 = 0,
        .features = features_486,
    },
    {
        .name = "pentium",
        .origin = "Pentium 75-200 (P54C), family 5 model 2 stepping 12: Intel AP-485; features 0x3bf as in "
                  "Intel 242480 (Pentium Processor Specification Update)",
        .brand = {},
        .signature = 0x52c,
        .max_basic = 1,
        .max_extended = 0,
        .clflush_line = 0,
        .multi_core = false,
        .phys_bits = 32,
        .leaf2 = {},
        .caches = {},
        .l2 = 0,
        .features = features_pentium,
    },
    {
        .name = "pentium3",
        .origin = "Pentium III (Katmai), family 6 model 7 stepping 3, serial number disabled: Intel AP-485; "
                  "leaves 0-2 as public CPUID dumps show them",
        .brand = {},
        .signature = 0x673,
        .max_basic = 2,
        .max_extended = 0,
        .clflush_line = 0,
        .multi_core = false,
        .phys_bits = 36,
        .leaf2 = {0x03020101, 0, 0, 0x0c040843},
        .caches = {},
        .l2 = 0,
        .features = features_pentium3,
    },
    {
        .name = "core2",
        .origin = "Core 2 Duo T7600 (Merom), family 6 model 15 stepping 6: Intel SDM 2A CPUID; leaves 0-10 "
                  "and 0x80000000-8 as public CPUID dumps show them",
        .brand = "Intel(R) Core(TM)2 CPU         T7600  @ 2.33GHz",
        .signature = 0x6f6,
        .max_basic = 0xa,
        .max_extended = 0x80000008,
        .clflush_line = 8,
        .multi_core = true,
        .phys_bits = 36,
        .leaf2 = {0x05b0b101, 0x005657f0, 0, 0x2cb43049},
        .caches = caches_core2,
        .l2 = 0x10008040,
        .features = features_core2,
    },
});

}  // namespace

const FixedModel* find_fixed_model(std::string_view name) {
    const auto* m = std::ranges::find(all, name, &FixedModel::name);
    return m == all.end() ? nullptr : m;
}

std::span<const FixedModel> fixed_models() { return all; }

}  // namespace triune::x86
