// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/types.h"
#include "x86/insn_set.h"

namespace triune::x86 {

/// Bits of XCR0 beside x87 (0) and SSE (1).
inline constexpr u64 xcr0_avx = 1 << 2, xcr0_pkru = 1 << 9;

struct CpuidResult {
    u32 eax = 0, ebx = 0, ecx = 0, edx = 0;
};

/// What CPUID and feature-dependent behaviour the guest sees. Static part only; bits that follow
/// run-time state (OSXSAVE, APIC id, XSAVE size) are filled in by cpuid().
struct CpuModel {
    struct Leaf {
        u32 function, index;
        bool has_index;
        CpuidResult value;
    };
    std::string name;
    std::vector<Leaf> leaves;
    u64 tsc_hz = 0;
    u64 xcr0_mask = 3;        ///< XCR0 bits that the guest may set
    u32 pkru_offset = 0;      ///< of XSAVE component 9 in the standard format; 0: none
    unsigned phys_bits = 40;  ///< MAXPHYADDR
    bool pages_1g = true;     ///< page-directory-pointer entries may map 1 GiB
    unsigned cpus = 1;
    bool has_cpuid = true;  ///< RFLAGS.ID can be changed
    InsnSet insns;          ///< what decode() is to know

    /// The static value of one leaf; zeros where there is none.
    [[nodiscard]] CpuidResult lookup(u32 function, u32 index) const;
    /// Size of the standard-format XSAVE area for what XCR0 enables (Intel SDM 1 13.4).
    [[nodiscard]] u32 xsave_bytes(u64 xcr0) const;
    /// "GenuineIntel", "AuthenticAMD"…
    [[nodiscard]] std::string vendor() const;
    /// A feature by its name in cpu_features.h; false for unknown names.
    [[nodiscard]] bool has(std::string_view feature) const;
};

/// What lookup() does not know of: the asking vCPU's run-time state.
struct CpuidContext {
    unsigned apic_id = 0;
    u64 cr4 = 0;
    u64 xcr0 = 1;
    bool apic_enabled = true;
    u64 misc_enable = 0;  ///< IA32_MISC_ENABLE: some of its bits hide what there is (Intel SDM 4, table 2-2)
};
inline constexpr u64 misc_enable_limit_cpuid = u64{1} << 22, misc_enable_no_xd = u64{1} << 34;

/// CPUID as the guest sees it (Intel SDM 2A CPUID; AMD APM 3 appendix E).
CpuidResult cpuid(const CpuModel& model, const CpuidContext& context, u32 function, u32 index);

/// Builds a named model ("host", "x86-64-v2", "core2"…), with "+feature"/"-feature" items after
/// commas, limited to what the soft engines implement and the host has.
Result<CpuModel> make_cpu_model(std::string_view spec, unsigned cpus);
std::vector<std::string> cpu_model_names();
/// Feature names that make_cpu_model knows, host or not.
std::vector<std::string> cpu_feature_names();

/// IA32_ARCH_CAPABILITIES (MSR 0x10a, Intel SDM 4 table 2-2) for guests of this model; 0 where CPUID
/// does not announce the MSR. It tells guests that no mitigation is theirs to make.
u64 arch_capabilities(const CpuModel& model);

/// The host's TSC rate in Hz: from CPUID or the kernel where told, else measured (some ms).
u64 host_tsc_hz();

}  // namespace triune::x86
