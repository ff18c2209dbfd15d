// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/kvm/cpuid.h"

#include <algorithm>
#include <array>

#include "hypervisor/kvm/abi.h"
#include "x86/cpu_leaves.h"

namespace triune::hypervisor::kvm {
namespace {

/// Registers that are sets of features: a bit is shown only where KVM supports it.
struct FeatureWord {
    u32 function, index;
    u32 x86::CpuidResult::* model;
    __u32 kvm_cpuid_entry2::* kvm;
    u32 always;  ///< bits that do not depend on KVM's answer
};
using R = x86::CpuidResult;
using E = kvm_cpuid_entry2;
constexpr u32 hypervisor_bit = 1u << 31, x2apic_bit = 1u << 21, deadline_bit = 1u << 24, htt_bit = 1u << 28,
              cmp_legacy_bit = 1u << 1;
constexpr auto feature_words = std::to_array<FeatureWord>({
    {1, 0, &R::ecx, &E::ecx, hypervisor_bit | x2apic_bit},  // x2APIC is the in-kernel APIC's
    {1, 0, &R::edx, &E::edx, htt_bit},
    {6, 0, &R::eax, &E::eax, 1u << 2},  // ARAT: KVM's APIC timer never stops
    {7, 0, &R::ebx, &E::ebx, 0},
    {7, 0, &R::ecx, &E::ecx, 0},
    {7, 0, &R::edx, &E::edx, 0},
    {7, 1, &R::eax, &E::eax, 0},
    {0xd, 0, &R::eax, &E::eax, 3},
    {0xd, 0, &R::edx, &E::edx, 0},
    {0xd, 1, &R::eax, &E::eax, 0},
    {0x40000001, 0, &R::eax, &E::eax, 0},
    {0x80000001, 0, &R::ecx, &E::ecx, cmp_legacy_bit},
    {0x80000001, 0, &R::edx, &E::edx, 0},
    {0x80000007, 0, &R::edx, &E::edx, 0},
    {0x80000008, 0, &R::ebx, &E::ebx, 0},
    {0x80000021, 0, &R::eax, &E::eax, 0},
    {0x80000021, 0, &R::ecx, &E::ecx, 0},
});

const kvm_cpuid_entry2* find(const CpuidTable& table, u32 function, u32 index) {
    for (const kvm_cpuid_entry2& e : table)
        if (e.function == function && (!(e.flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) || e.index == index))
            return &e;
    return nullptr;
}

/// Protection keys need a component of XSAVE that lies where the processor's own instruction puts it.
void limit_protection_keys(x86::CpuModel& m, const CpuidTable& supported) {
    const kvm_cpuid_entry2* const place = find(supported, 0xd, 9);
    if (m.has("pku") && (m.xcr0_mask & x86::xcr0_pkru) && place && place->ebx == m.pkru_offset) return;
    constexpr u32 pku_bit = 1u << 3;
    for (x86::CpuModel::Leaf& leaf : m.leaves)
        if (leaf.function == 7 && leaf.index == 0) leaf.value.ecx &= ~pku_bit;
    m.xcr0_mask &= ~x86::xcr0_pkru;
    m.pkru_offset = 0;
}

}  // namespace

Result<CpuidTable> supported_cpuid(const Device& device) {
    // The kernel refuses a table that is too small with E2BIG.
    for (u32 entries = 64; entries <= 4096; entries *= 2) {
        abi::Table<kvm_cpuid_entry2> table(entries);
        if (call(device.fd(), abi::get_supported_cpuid, table.header()) == 0) return table.entries();
        if (errno != E2BIG) break;
    }
    return fail_errno("/dev/kvm: KVM_GET_SUPPORTED_CPUID");
}

x86::CpuModel limit_model(const x86::CpuModel& model, const CpuidTable& supported, bool tsc_deadline) {
    x86::CpuModel limited = model;
    for (x86::CpuModel::Leaf& leaf : limited.leaves) {
        const kvm_cpuid_entry2* const entry = find(supported, leaf.function, leaf.index);
        for (const FeatureWord& w : feature_words) {
            if (w.function != leaf.function || (leaf.has_index && w.index != leaf.index)) continue;
            u32 allowed = w.always | (entry ? entry->*w.kvm : 0);
            if (w.function == 1 && w.model == &R::ecx)
                allowed = tsc_deadline ? allowed | deadline_bit : allowed & ~deadline_bit;
            leaf.value.*w.model &= allowed;
        }
        if (leaf.function == 0x80000008 && entry && (entry->eax & 0xff)) {
            const u32 bits = std::min(leaf.value.eax & 0xff, entry->eax & 0xff);
            leaf.value.eax = (leaf.value.eax & ~0xffu) | bits;
            limited.phys_bits = bits;
        }
        if (leaf.function == 0xd && (!leaf.has_index || leaf.index == 0)) limited.xcr0_mask &= leaf.value.eax;
    }
    limit_protection_keys(limited, supported);
    if (model.has("xsave")) x86::state_xsave_components(limited);
    return limited;
}

Result<x86::CpuModel> model_for(const Device& device, const x86::CpuModel& model, bool kernel_chips) {
    const auto supported = supported_cpuid(device);
    if (!supported) return std::unexpected(supported.error());
    // KVM without a local APIC swallows writes of the deadline, unless they are kept from it.
    return limit_model(model, *supported,
                       kernel_chips ? device.has(KVM_CAP_TSC_DEADLINE_TIMER) : device.can_filter_msrs());
}

CpuidTable vcpu_cpuid(const x86::CpuModel& model, unsigned index) {
    // The kernel itself follows CR4.OSXSAVE, XCR0 and IA32_APIC_BASE (kvm_update_cpuid_runtime).
    const x86::CpuidContext context{.apic_id = index};
    CpuidTable table;
    for (const x86::CpuModel::Leaf& leaf : model.leaves) {
        const x86::CpuidResult r = x86::cpuid(model, context, leaf.function, leaf.index);
        kvm_cpuid_entry2 e{};
        e.function = leaf.function;
        e.index = leaf.has_index ? leaf.index : 0;
        e.flags = leaf.has_index ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0;
        e.eax = r.eax;
        e.ebx = r.ebx;
        e.ecx = r.ecx;
        e.edx = r.edx;
        table.push_back(e);
    }
    return table;
}

Result<void> set_cpuid(int vcpu, const CpuidTable& table) {
    abi::Table<kvm_cpuid_entry2> argument(table);
    if (call(vcpu, abi::set_cpuid2, argument.header()) < 0)
        return fail_errno("/dev/kvm: KVM refuses this processor model");
    return {};
}

}  // namespace triune::hypervisor::kvm
