// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

/// The one table of CPU features: what a guest may be offered, where CPUID shows it (Intel SDM 2A
/// CPUID, AMD APM 3 appendix E), which models have it, and whether the host must.
#include <array>
#include <string_view>

#include "base/types.h"

namespace triune::x86 {

enum class CpuidRegister : u8 { eax, ebx, ecx, edx };

/// Whose feature it is.
enum class Offer : u8 {
    native,    ///< guest code uses the host's own instruction: offered only where the host has it
    emulated,  ///< done by the engines and the interrupt chip alone
    intel,     ///< emulated, shown by Intel processors only
    amd,       ///< emulated, shown by AMD processors only
};

/// The first model that has it.
enum class Level : u8 {
    v1,     ///< every x86-64 processor: required by all models
    v2,     ///< x86-64-v2: required by it and by v3
    v3,     ///< x86-64-v3: required by it
    any,    ///< not part of a level; in every model where offered
    host,   ///< only in `host`, or by name
    named,  ///< by name alone: guests would use it, and be slower for it
};

/// Where CpuModel keeps what processors have or lack without a CPUID bit for it. Guests never see it.
inline constexpr u32 leaf_unseen = 0xfffffffe;

struct Feature {
    std::string_view name;
    u32 leaf;
    CpuidRegister reg;
    u8 bit;
    Level level;
    Offer offer;
};

inline constexpr auto cpu_features = [] {
    using enum CpuidRegister;
    using enum Level;
    using enum Offer;
    return std::to_array<Feature>({
        // leaf 1
        {"fpu", 1, edx, 0, v1, native},
        {"vme", 1, edx, 1, any, emulated},
        {"de", 1, edx, 2, any, emulated},
        {"pse", 1, edx, 3, v1, emulated},
        {"tsc", 1, edx, 4, v1, emulated},
        {"msr", 1, edx, 5, v1, emulated},
        {"pae", 1, edx, 6, v1, emulated},
        {"mce", 1, edx, 7, v1, emulated},
        {"cx8", 1, edx, 8, v1, native},
        {"apic", 1, edx, 9, v1, emulated},
        {"sep", 1, edx, 11, v1, emulated},
        {"mtrr", 1, edx, 12, v1, emulated},
        {"pge", 1, edx, 13, v1, emulated},
        {"mca", 1, edx, 14, v1, emulated},
        {"cmov", 1, edx, 15, v1, native},
        {"pat", 1, edx, 16, v1, emulated},
        {"pse36", 1, edx, 17, v1, emulated},
        {"clflush", 1, edx, 19, v1, native},
        {"mmx", 1, edx, 23, v1, native},
        {"fxsr", 1, edx, 24, v1, native},
        {"sse", 1, edx, 25, v1, native},
        {"sse2", 1, edx, 26, v1, native},
        {"sse3", 1, ecx, 0, v2, native},
        {"pclmulqdq", 1, ecx, 1, host, native},
        {"ssse3", 1, ecx, 9, v2, native},
        {"fma", 1, ecx, 12, v3, native},
        {"cx16", 1, ecx, 13, v2, native},
        {"pcid", 1, ecx, 17, any, emulated},
        {"sse4_1", 1, ecx, 19, v2, native},
        {"sse4_2", 1, ecx, 20, v2, native},
        {"x2apic", 1, ecx, 21, any, emulated},
        {"movbe", 1, ecx, 22, v3, native},
        {"popcnt", 1, ecx, 23, v2, native},
        {"tsc_deadline", 1, ecx, 24, any, emulated},
        {"aes", 1, ecx, 25, host, native},
        {"xsave", 1, ecx, 26, v3, native},
        {"avx", 1, ecx, 28, v3, native},
        {"f16c", 1, ecx, 29, v3, native},
        {"rdrand", 1, ecx, 30, any, native},
        {"hypervisor", 1, ecx, 31, any, emulated},
        // leaf 6
        {"arat", 6, eax, 2, any, emulated},
        // leaf 7
        {"fsgsbase", 7, ebx, 0, any, native},
        {"bmi1", 7, ebx, 3, v3, native},
        {"avx2", 7, ebx, 5, v3, native},
        {"smep", 7, ebx, 7, any, emulated},
        {"bmi2", 7, ebx, 8, v3, native},
        {"erms", 7, ebx, 9, any, native},
        {"invpcid", 7, ebx, 10, any, emulated},
        {"rdseed", 7, ebx, 18, any, native},
        {"adx", 7, ebx, 19, host, native},
        {"smap", 7, ebx, 20, any, emulated},
        {"clflushopt", 7, ebx, 23, host, native},
        {"clwb", 7, ebx, 24, host, native},
        {"sha_ni", 7, ebx, 29, host, native},
        {"umip", 7, ecx, 2, any, emulated},
        {"pku", 7, ecx, 3, named, emulated},
        {"vaes", 7, ecx, 9, host, native},
        {"vpclmulqdq", 7, ecx, 10, host, native},
        {"la57", 7, ecx, 16, named, emulated},
        {"rdpid", 7, ecx, 22, any, emulated},
        {"fsrm", 7, edx, 4, any, native},
        {"spec_ctrl", 7, edx, 26, any, intel},
        {"arch_capabilities", 7, edx, 29, any, intel},
        // leaf 0x80000001
        {"lahf_lm", 0x80000001, ecx, 0, v2, native},
        {"abm", 0x80000001, ecx, 5, v3, native},
        {"3dnowprefetch", 0x80000001, ecx, 8, any, native},
        {"topoext", 0x80000001, ecx, 22, any, amd},
        {"syscall", 0x80000001, edx, 11, v1, emulated},
        {"nx", 0x80000001, edx, 20, v1, emulated},
        {"mmxext", 0x80000001, edx, 22, any, native},
        {"pdpe1gb", 0x80000001, edx, 26, any, emulated},
        {"rdtscp", 0x80000001, edx, 27, any, emulated},
        {"lm", 0x80000001, edx, 29, v1, native},
        {"invtsc", 0x80000007, edx, 8, any, native},
        // AMD: what spares a translated guest its mitigations. Host code that runs on the guest's
        // behalf is protected by the host's kernel, whatever the guest does.
        {"ssb_no", 0x80000008, ebx, 26, any, amd},
        {"btc_no", 0x80000008, ebx, 29, any, amd},
        {"no_nested_data_bp", 0x80000021, eax, 0, any, amd},
        {"lfence_serializing", 0x80000021, eax, 2, any, amd},
        {"null_sel_clr_base", 0x80000021, eax, 6, any, amd},
        {"autoibrs", 0x80000021, eax, 8, any, amd},
        {"srso_no", 0x80000021, eax, 29, any, amd},
        {"tsa_sq_no", 0x80000021, ecx, 1, any, amd},
        {"tsa_l1_no", 0x80000021, ecx, 2, any, amd},
        // No CPUID bit: CPUID itself (RFLAGS.ID can be changed), and what came with the P6 family:
        // multi-byte NOPs, RDPMC, the machine-specific registers that the SDM calls architectural.
        {"cpuid", leaf_unseen, eax, 0, v1, emulated},
        {"p6", leaf_unseen, eax, 1, v1, emulated},
    });
}();

/// The second needs the first.
struct FeatureDependency {
    std::string_view needed, by;
};
inline constexpr auto feature_dependencies = std::to_array<FeatureDependency>({
    {"sse2", "sse3"},
    {"sse3", "ssse3"},
    {"ssse3", "sse4_1"},
    {"sse4_1", "sse4_2"},
    {"sse2", "aes"},
    {"sse2", "pclmulqdq"},
    {"sse2", "sha_ni"},
    {"sse4_2", "avx"},
    {"xsave", "avx"},
    {"avx", "avx2"},
    {"avx", "fma"},
    {"avx", "f16c"},
    {"avx", "vaes"},
    {"avx", "vpclmulqdq"},
    {"aes", "vaes"},
    {"pclmulqdq", "vpclmulqdq"},
    {"pcid", "invpcid"},
    {"apic", "x2apic"},
    {"apic", "tsc_deadline"},
    {"apic", "arat"},
    {"fxsr", "sse"},
    {"sse", "sse2"},
    {"fpu", "mmx"},
    {"fpu", "fxsr"},
    {"fxsr", "xsave"},
    {"msr", "sep"},
    {"msr", "mtrr"},
    {"msr", "syscall"},
    {"msr", "x2apic"},
    {"msr", "nx"},
    {"pae", "nx"},
    {"pae", "lm"},
    {"syscall", "lm"},
    {"sse2", "lm"},
    {"lm", "cx16"},
    {"lm", "lahf_lm"},
    {"lm", "pcid"},
    {"lm", "pku"},
    {"xsave", "pku"},
    {"lm", "fsgsbase"},
    {"lm", "pdpe1gb"},
    {"tsc", "rdtscp"},
    {"tsc", "tsc_deadline"},
});

}  // namespace triune::x86
