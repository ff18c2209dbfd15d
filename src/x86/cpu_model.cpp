// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "x86/cpu_model.h"

#include <algorithm>
#include <cstring>

#include "base/bits.h"
#include "x86/cpu_features.h"
#include "x86/vcpu_state.h"

namespace triune::x86 {
namespace {

const CpuModel::Leaf* find(const CpuModel& m, u32 function, u32 index) {
    for (const CpuModel::Leaf& l : m.leaves)
        if (l.function == function && (!l.has_index || l.index == index)) return &l;
    return nullptr;
}

/// Where a question goes. Intel answers one beyond the ranges with the highest basic leaf (SDM 2A
/// CPUID, "If a value entered for CPUID.EAX is higher…"); AMD with zeros.
u32 effective_function(const CpuModel& m, u32 function) {
    if (function == leaf_unseen) function = 0xffffffff;
    const u32 range = function & 0xffff0000;
    if (range == 0x40000000) return function;
    const u32 highest_basic = m.lookup(0, 0).eax;
    const bool inside = range == 0            ? function <= highest_basic
                        : range == 0x80000000 ? function <= m.lookup(0x80000000, 0).eax
                                              : false;
    return inside || m.vendor() != "GenuineIntel" ? function : highest_basic;
}

}  // namespace

u32 CpuModel::xsave_bytes(u64 xcr0) const {
    if (xcr0 & xcr0_pkru) return pkru_offset + 8;
    return xcr0 & xcr0_avx ? xsave_size : 576;
}

CpuidResult CpuModel::lookup(u32 function, u32 index) const {
    const Leaf* l = find(*this, function, index);
    return l ? l->value : CpuidResult{};
}

std::string CpuModel::vendor() const {
    const CpuidResult r = lookup(0, 0);
    std::array<char, 12> text;
    std::memcpy(&text[0], &r.ebx, 4);
    std::memcpy(&text[4], &r.edx, 4);
    std::memcpy(&text[8], &r.ecx, 4);
    return {text.begin(), text.end()};
}

bool CpuModel::has(std::string_view feature) const {
    const auto* f = std::ranges::find(cpu_features, feature, &Feature::name);
    if (f == cpu_features.end()) return false;
    const CpuidResult r = lookup(f->leaf, 0);
    const std::array<u32, 4> regs{r.eax, r.ebx, r.ecx, r.edx};
    return base::bit(regs[static_cast<size_t>(f->reg)], f->bit);
}

CpuidResult cpuid(const CpuModel& model, const CpuidContext& context, u32 function, u32 index) {
    function = effective_function(model, function);
    CpuidResult r = model.lookup(function, index);
    switch (function) {
        case 0:
            if (context.misc_enable & misc_enable_limit_cpuid) r.eax = std::min(r.eax, 2u);
            break;
        case 1:
            r.ebx = (r.ebx & 0x00ffffff) | context.apic_id << 24;
            if (context.cr4 & cr4::osxsave) r.ecx |= 1u << 27;
            if (!context.apic_enabled) r.edx &= ~(1u << 9);
            break;
        case 7:
            if (index == 0 && (context.cr4 & cr4::pke)) r.ecx |= 1u << 4;  // OSPKE
            break;
        case 0xb:
            // Subleaves beyond the last level give the number of the subleaf and the APIC id.
            r.ecx = (r.ecx & ~0xffu) | (index & 0xff);
            r.edx = context.apic_id;
            break;
        case 0xd:
            if (index == 0 && r.ecx) r.ebx = model.xsave_bytes(context.xcr0);
            break;
        case 0x80000001:
            if (!context.apic_enabled) r.edx &= ~(1u << 9);
            if (context.misc_enable & misc_enable_no_xd) r.edx &= ~(1u << 20);
            break;
        case 0x8000001e:
            if (model.lookup(0x80000001, 0).ecx & 1u << 22) {
                r.eax = context.apic_id;
                r.ebx = (r.ebx & ~0xffu) | (context.apic_id & 0xff);
            }
            break;
        default: break;
    }
    return r;
}

u64 arch_capabilities(const CpuModel& model) {
    if (!model.has("arch_capabilities")) return 0;
    constexpr u64 rdcl_no = 1 << 0, ibrs_all = 1 << 1, skip_l1dfl_vmentry = 1 << 3, ssb_no = 1 << 4,
                  mds_no = 1 << 5, if_pschange_mc_no = 1 << 6, taa_no = 1 << 8, sbdr_ssdp_no = 1 << 13,
                  fbsdp_no = 1 << 14, psdp_no = 1 << 15, bhi_no = 1 << 20, pbrsb_no = 1 << 24,
                  gds_no = 1 << 26, rfds_no = 1 << 27, its_no = u64{1} << 62;
    return rdcl_no | ibrs_all | skip_l1dfl_vmentry | ssb_no | mds_no | if_pschange_mc_no | taa_no |
           sbdr_ssdp_no | fbsdp_no | psdp_no | bhi_no | pbrsb_no | gds_no | rfds_no | its_no;
}

}  // namespace triune::x86
