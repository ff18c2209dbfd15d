// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/kvm/vcpu_state.h"

#include <gtest/gtest.h>

#include "hypervisor/kvm/cpuid.h"

namespace triune::hypervisor::kvm {
namespace {

TEST(KvmState, EverySegmentAttributeGoesBothWays) {
    for (u32 bit = 0; bit <= 16; ++bit) {
        if (bit >= 8 && bit <= 11) continue;  // reserved
        x86::Segment s{.selector = 0x1234, .attr = 1u << bit, .base = 0x123456789abc, .limit = 0xfffff};
        const x86::Segment back = from_kvm(to_kvm(s));
        EXPECT_EQ(back.attr, s.attr) << bit;
        EXPECT_EQ(back.selector, s.selector);
        EXPECT_EQ(back.base, s.base);
        EXPECT_EQ(back.limit, s.limit);
    }
}

TEST(KvmState, AnUnusableSegmentIsNotPresent) {
    const kvm_segment k = to_kvm({.selector = 0, .attr = 0x10093});
    EXPECT_TRUE(k.unusable);
    EXPECT_FALSE(k.present);
}

TEST(KvmState, RegistersGoBothWays) {
    x86::VcpuState s, back;
    for (size_t i = 0; i < s.gpr.size(); ++i) s.gpr[i] = 0x1111111111111111 * i;
    s.rip = 0xffffffff80000000;
    s.rflags = 0x246;
    from_kvm_regs(back, to_kvm_regs(s));
    EXPECT_EQ(back.gpr, s.gpr);
    EXPECT_EQ(back.rip, s.rip);
    EXPECT_EQ(back.rflags, s.rflags);
    EXPECT_EQ(to_kvm_regs(s).rsi, s.gpr[x86::rsi]);
}

TEST(KvmState, ControlRegistersGoBothWaysAndTheApicStays) {
    x86::VcpuState s, back;
    x86::reset_state(s, false);
    s.cr0 = 0x80050033, s.cr2 = 0x1234, s.cr3 = 0x5000, s.cr4 = 0x6f0, s.efer = 0xd01;
    s.gdtr = {.base = 0xffff888000000000, .limit = 0x7f};
    s.idtr = {.base = 0xfffffe0000000000, .limit = 0xfff};
    kvm_sregs r{};
    r.apic_base = 0xfee00900;
    r.cr8 = 3;
    to_kvm_sregs(r, s);
    EXPECT_EQ(r.apic_base, 0xfee00900u);
    EXPECT_EQ(r.cr8, 3u);
    from_kvm_sregs(back, r);
    EXPECT_EQ(back.cr0, s.cr0);
    EXPECT_EQ(back.cr2, s.cr2);
    EXPECT_EQ(back.cr3, s.cr3);
    EXPECT_EQ(back.cr4, s.cr4);
    EXPECT_EQ(back.efer, s.efer);
    EXPECT_EQ(back.gdtr.base, s.gdtr.base);
    EXPECT_EQ(back.idtr.limit, s.idtr.limit);
    for (size_t i = 0; i < s.seg.size(); ++i) EXPECT_EQ(back.seg[i].attr, s.seg[i].attr) << i;
    EXPECT_EQ(back.tr.attr, s.tr.attr);
}

kvm_cpuid_entry2 entry(u32 function, u32 index, u32 eax, u32 ebx, u32 ecx, u32 edx) {
    kvm_cpuid_entry2 e{};
    e.function = function;
    e.index = index;
    if (function == 7 || function == 0xd) e.flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
    e.eax = eax, e.ebx = ebx, e.ecx = ecx, e.edx = edx;
    return e;
}

TEST(KvmCpuid, OnlySupportedFeaturesRemain) {
    const x86::CpuModel model = x86::make_cpu_model("host", 2).value();
    ASSERT_TRUE(model.has("smep"));
    // A KVM that has SSE2, x2APIC and APIC, and neither SMEP nor NX.
    const CpuidTable supported{entry(1, 0, 0, 0, 1, 1u << 26 | 1u << 9), entry(7, 0, 0, 0, 0, 0),
                               entry(0x80000008, 0, 36, 0, 0, 0)};
    const x86::CpuModel limited = limit_model(model, supported, true);
    EXPECT_TRUE(limited.has("sse2"));
    EXPECT_TRUE(limited.has("apic"));
    EXPECT_TRUE(limited.has("hypervisor"));
    EXPECT_TRUE(limited.has("tsc_deadline"));
    EXPECT_FALSE(limited.has("smep"));
    EXPECT_FALSE(limited.has("nx"));
    EXPECT_LE(limited.phys_bits, 36u);
    EXPECT_EQ(limited.vendor(), model.vendor());
    EXPECT_FALSE(limit_model(model, supported, false).has("tsc_deadline"));
}

// A guest's XSAVE under KVM is the processor's own: PKRU must lie where the guest was told.
TEST(KvmCpuid, ProtectionKeysNeedTheirPlaceInTheXsaveArea) {
    const x86::CpuModel model = x86::make_cpu_model("host,+pku", 1).value();
    ASSERT_TRUE(model.has("pku"));
    const u32 offset = model.pkru_offset;
    const auto limited = [&](u32 pku, u32 xcr0, u32 at) {
        const CpuidTable supported{entry(1, 0, 0, 0, ~0u, ~0u), entry(7, 0, 0, ~0u, ~8u | pku, ~0u),
                                   entry(0xd, 0, xcr0, 0, 0, 0), entry(0xd, 9, 8, at, 0, 0)};
        return limit_model(model, supported, true);
    };
    const auto has_it = limited(8, 0x207, offset);
    EXPECT_TRUE(has_it.has("pku"));
    EXPECT_EQ(has_it.lookup(0xd, 9).ebx, offset);
    EXPECT_EQ(has_it.lookup(0xd, 0).ecx, offset + 8);
    for (const auto& without :
         {limited(0, 0x207, offset), limited(8, 7, offset), limited(8, 0x207, offset + 64)}) {
        EXPECT_FALSE(without.has("pku"));
        EXPECT_FALSE(without.xcr0_mask & x86::xcr0_pkru);
        EXPECT_FALSE(without.lookup(0xd, 0).eax & x86::xcr0_pkru);
        EXPECT_EQ(without.lookup(0xd, 9).eax, 0u);
        EXPECT_EQ(without.lookup(0xd, 0).ecx, without.xcr0_mask & x86::xcr0_avx ? x86::xsave_size : 576u);
    }
}

TEST(KvmCpuid, EachVcpuHasItsApicId) {
    const x86::CpuModel model = x86::make_cpu_model("host", 4).value();
    for (unsigned index : {0u, 3u})
        for (const kvm_cpuid_entry2& e : vcpu_cpuid(model, index)) {
            if (e.function == 1) {
                EXPECT_EQ(e.ebx >> 24, index);
            }
            if (e.function == 0xb) {
                EXPECT_EQ(e.edx, index);
                EXPECT_TRUE(e.flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX);
            }
        }
}

}  // namespace
}  // namespace triune::hypervisor::kvm
