// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/system/msr.h"

#include "hypervisor/soft/system/kvmclock.h"
#include "hypervisor/soft/system/test_machine.h"

namespace triune::hypervisor::soft::system {
namespace {

namespace efer = x86::efer;

class Msr : public SystemTest {
protected:
    void round_trip(u32 m, u64 v) {
        const auto w = system.wrmsr(m, v);
        EXPECT_TRUE(w) << std::hex << m;
        const auto r = system.rdmsr(m);
        ASSERT_TRUE(r) << std::hex << m;
        EXPECT_EQ(*r, v) << std::hex << m;
    }
    void refuses(u32 m, u64 v) {
        const auto w = system.wrmsr(m, v);
        ASSERT_FALSE(w) << std::hex << m << " took " << v;
        EXPECT_EQ(w.error(), Fault::gp(0));
    }
};
class AmdMsr : public AmdSystemTest {};

constexpr u64 noncanonical = 0x8000'0000'0000;

TEST_F(Msr, OnlyInRing0) {
    user();
    EXPECT_FAULT(system.rdmsr(msr::efer), Fault::gp(0));
    EXPECT_FAULT(system.wrmsr(msr::lstar, 0), Fault::gp(0));
}

TEST_F(Msr, UnknownOnesFault) {
    for (const u32 m : {0x2u, 0xc1u, 0x186u, 0x38du, 0x400u, 0x610u, 0x7ffu, 0x4b564d02u, 0xc0000104u,
                        0xc0010000u, 0xc0010200u, 0xffffffffu}) {
        EXPECT_FAULT(system.rdmsr(m), Fault::gp(0));
        refuses(m, 0);
    }
}

TEST_F(Msr, PlainRegisters) {
    round_trip(msr::star, 0x0023001000000000);
    round_trip(msr::sfmask, 0x47700);
    round_trip(msr::tsc_aux, 0x1003);
    round_trip(msr::sysenter_cs, 0x10);
    EXPECT_OK(system.wrmsr(msr::fs_base, 0x7fff00001000));
    EXPECT_EQ(st.seg[Seg::fs].base, 0x7fff00001000u);
    for (const u32 m : {msr::lstar, msr::cstar, msr::fs_base, msr::gs_base, msr::kernel_gs_base,
                        msr::sysenter_esp, msr::sysenter_eip}) {
        round_trip(m, 0xffff'8000'0000'1000);
        refuses(m, noncanonical);
    }
    refuses(msr::tsc_aux, u64{1} << 32);
}

TEST_F(Msr, Efer) {
    EXPECT_OK(system.wrmsr(msr::efer, efer::lme | efer::sce));  // LMA and NXE clear in the value
    EXPECT_EQ(*system.rdmsr(msr::efer), efer::lme | efer::lma | efer::sce);
    refuses(msr::efer, efer::lme | u64{1} << 12);  // SVME
    refuses(msr::efer, efer::sce);                 // LME while paging
    EXPECT_EQ(st.efer, efer::lme | efer::lma | efer::sce);
}

TEST_F(Msr, NxeFlushes) {
    const u64 pte = 0x51000 | 3 | u64{1} << 63;
    poke(at::pt + 0x51 * 8, pte);
    EXPECT_TRUE(mmu.read(0x51000, 8, mmu::Privilege::supervisor));
    EXPECT_OK(system.wrmsr(msr::efer, efer::lme | efer::sce));
    const auto r = mmu.read(0x51000, 8, mmu::Privilege::supervisor);
    ASSERT_FALSE(r);
    EXPECT_EQ(r.error().error_code, mmu::pf_error::present | mmu::pf_error::reserved);
}

TEST_F(Msr, TscWriteMovesTheOffset) {
    EXPECT_OK(system.wrmsr(msr::tsc, 1000));
    const u64 a = *system.rdmsr(msr::tsc);
    EXPECT_GE(a, 1000u);
    EXPECT_LT(a, 1000u + 3'000'000'000);
    EXPECT_GE(*system.rdtsc(), a);
}

TEST_F(Msr, TscWriteRearmsTheDeadline) {
    EXPECT_OK(system.wrmsr(msr::tsc_deadline, 12345));
    EXPECT_EQ(*system.rdmsr(msr::tsc_deadline), 12345u);
    EXPECT_OK(system.wrmsr(msr::tsc, 0));
    EXPECT_EQ(apic.deadline, 12345u);
    EXPECT_EQ(apic.deadline_writes, 2u);
}

TEST_F(Msr, RdtscObeysTsd) {
    st.cr4 |= x86::cr4::tsd;
    EXPECT_OK(system.rdtsc());
    user();
    EXPECT_FAULT(system.rdtsc(), Fault::gp(0));
    EXPECT_FAULT(system.rdpmc(), Fault::gp(0));
}

TEST_F(Msr, LocalApic) {
    EXPECT_EQ(*system.rdmsr(msr::apic_base), apic.base);
    refuses(msr::apic_base, 0xfee00801);
    EXPECT_OK(system.wrmsr(msr::apic_base, 0xfee00c00));
    EXPECT_FAULT(system.rdmsr(0x802), Fault::gp(0));
    apic.x2apic[0x802] = 3;
    EXPECT_EQ(*system.rdmsr(0x802), 3u);
    round_trip(0x802, 4);
    refuses(0x803, 0);
}

TEST_F(Msr, MemoryTypes) {
    EXPECT_EQ(*system.rdmsr(msr::mtrr_cap) & 0xff, 8u);
    round_trip(msr::pat, 0x0407050600070106);
    refuses(msr::pat, 0x0207050600070106);
    round_trip(msr::mtrr_def_type, 0xc06);
    refuses(msr::mtrr_def_type, 0xc02);
    refuses(msr::mtrr_def_type, 0x1c06);
    round_trip(0x200, 0xc0000000);
    round_trip(0x201, 0xff'c000'0800);
    round_trip(0x20f, 0xff'ffff'f800);
    refuses(0x200, u64{1} << 40);
    refuses(0x201, 0x1);
    EXPECT_FAULT(system.rdmsr(0x210), Fault::gp(0));
    for (const u32 m : {0x250u, 0x258u, 0x259u, 0x268u, 0x26fu})
        round_trip(m, 0x0606060606060600 + (m == 0x250));
    EXPECT_FAULT(system.rdmsr(0x251), Fault::gp(0));
    refuses(0x268, 0x03);
}

TEST_F(Msr, MachineCheckHasNoBanks) {
    EXPECT_EQ(*system.rdmsr(msr::mcg_cap), 0u);
    EXPECT_OK(system.wrmsr(msr::mcg_status, 0));
    refuses(msr::mcg_cap, 0);
    refuses(0x17b, 0);
}

TEST_F(Msr, SpeculationControlsFollowCpuid) {
    round_trip(msr::spec_ctrl, 1);
    refuses(msr::spec_ctrl, 2);  // no STIBP in the model
    EXPECT_OK(system.wrmsr(msr::pred_cmd, 1));
    refuses(msr::pred_cmd, 2);
    EXPECT_FAULT(system.rdmsr(msr::pred_cmd), Fault::gp(0));
    refuses(msr::flush_cmd, 1);
    EXPECT_EQ(*system.rdmsr(msr::arch_capabilities), x86::arch_capabilities(model));
    refuses(msr::arch_capabilities, 0);
}

TEST_F(Msr, IntelIdentification) {
    EXPECT_EQ(*system.rdmsr(msr::platform_info), 25u << 8);  // 2.5 GHz
    EXPECT_EQ(*system.rdmsr(msr::feature_control), 1u);
    EXPECT_OK(system.wrmsr(msr::microcode_revision, 0));
    EXPECT_NE(*system.rdmsr(msr::microcode_revision) >> 32, 0u);
    EXPECT_EQ(*system.rdmsr(msr::misc_enable), 0x1801u);
    EXPECT_OK(system.wrmsr(msr::misc_enable, u64{1} << 34 | u64{1} << 22 | 1));
    EXPECT_EQ(*system.rdmsr(msr::misc_enable), (u64{1} << 34 | u64{1} << 22 | 0x1801));
    st.gpr[x86::rax] = 0;
    EXPECT_OK(system.cpuid());
    EXPECT_EQ(st.gpr[x86::rax], 2u) << "leaves are limited";
    st.gpr[x86::rax] = 0x80000001;
    EXPECT_OK(system.cpuid());
    EXPECT_FALSE(st.gpr[x86::rdx] & 1u << 20) << "no XD";
    EXPECT_OK(system.wrmsr(msr::efer, st.efer & ~x86::efer::nxe));
    refuses(msr::efer, st.efer | x86::efer::nxe);
    EXPECT_OK(system.wrmsr(msr::misc_enable, 1));
    EXPECT_OK(system.wrmsr(msr::efer, st.efer | x86::efer::nxe));
    refuses(msr::misc_enable, 2);
    EXPECT_FAULT(system.rdmsr(msr::amd_hwcr), Fault::gp(0));
    refuses(msr::amd_de_cfg, 2);
}

TEST_F(AmdMsr, WhatLinuxReadsOnZen) {
    EXPECT_TRUE(*system.rdmsr(msr::amd_hwcr) & (u64{1} << 24));
    EXPECT_TRUE(*system.rdmsr(msr::amd_de_cfg) & 2);
    EXPECT_OK(system.wrmsr(msr::amd_hwcr, u64{1} << 30));
    EXPECT_EQ(*system.rdmsr(msr::amd_hwcr), u64{1} << 30 | u64{1} << 24);
    EXPECT_OK(system.wrmsr(msr::amd_de_cfg, 0x202));
    EXPECT_EQ(*system.rdmsr(msr::amd_de_cfg), 0x202u);
    for (const u32 m : {msr::amd_syscfg, msr::amd_nb_cfg, msr::amd_int_pending, msr::amd_dc_cfg,
                        msr::amd_cu_cfg, msr::amd_mmio_conf_base, msr::amd_top_mem, msr::amd_bu_cfg2})
        EXPECT_OK(system.rdmsr(m));
    EXPECT_OK(system.wrmsr(msr::amd_nb_cfg, u64{1} << 46));
    EXPECT_NE(*system.rdmsr(msr::microcode_revision) & 0xffffffff, 0u);
    for (u32 m = 0xc0010000; m < 0xc0010008; ++m) {
        EXPECT_OK(system.wrmsr(m, 0xabcd));
        EXPECT_EQ(*system.rdmsr(m), 0u);
    }
    for (const u32 m : {0xc0010008u, 0xc0010200u, 0xc0011020u, 0xc0010140u, 0x3au, 0xceu})
        EXPECT_FAULT(system.rdmsr(m), Fault::gp(0));
}

// -- kvmclock -------------------------------------------------------------------------------------

TEST(TscScale, IsAccurateForAllRates) {
    for (const u64 hz :
         {u64{500'000'000}, u64{999'999'999}, u64{1'000'000'000}, u64{1'000'000'001}, u64{2'000'000'000},
          u64{2'499'998'123}, u64{3'892'345'678}, u64{6'000'000'000}, u64{40'000'000}}) {
        const TscScale s = tsc_scale(hz);
        const u64 hour = tsc_to_ns(s, hz * 3600);
        EXPECT_NEAR(static_cast<double>(hour), 3600e9, 3600.0 * 2) << hz;  // 2 ns in a second
        EXPECT_GE(s.mul, 1u << 30);
    }
    EXPECT_EQ(tsc_scale(0).mul, 0u);
}

TEST_F(Msr, KvmclockTellsTime) {
    const Gpa where = 0x60020;
    EXPECT_OK(system.wrmsr(msr::kvm_system_time, where | 1));
    EXPECT_EQ(*system.rdmsr(msr::kvm_system_time), where | 1);
    const auto t = peek<PvclockTime>(where);
    EXPECT_EQ(t.version, 2u);
    EXPECT_EQ(t.flags, 1);
    const auto guest_now = [&](const PvclockTime& p) {
        return p.system_time +
               tsc_to_ns({p.tsc_to_system_mul, p.tsc_shift}, vcpu->guest_tsc() - p.tsc_timestamp);
    };
    const auto now = static_cast<i64>(guest_now(t));
    const auto expected = static_cast<i64>(base::monotonic_ns() - vcpu->kvmclock_system_time_base);
    // The model's TSC rate is not this host's, so only the order of magnitude can be compared.
    EXPECT_LT(std::abs(now - expected), 60'000'000'000);
    // A TSC write moves the time stamp and not the time.
    EXPECT_OK(system.wrmsr(msr::tsc, 0));
    const auto t2 = peek<PvclockTime>(where);
    EXPECT_EQ(t2.version, 4u);
    EXPECT_NE(t2.tsc_timestamp, t.tsc_timestamp);
    const auto later = static_cast<i64>(guest_now(t2));
    EXPECT_GE(later, now);
    EXPECT_LT(later - now, 5'000'000'000);
}

TEST_F(Msr, KvmclockIsTheSameLineOnAllProcessors) {
    EXPECT_OK(system.wrmsr(msr::kvm_system_time, 0x60001));
    cpu::VcpuContext second = {};
    second.memory = memory.get();
    second.model = &model;
    second.apic = &apic;
    second.kvmclock_system_time_base = vcpu->kvmclock_system_time_base;
    second.state = st;
    mmu::Tlb tlb2;
    mmu::Mmu mmu2(second, tlb2);
    System system2(second, mmu2);
    EXPECT_OK(system2.wrmsr(msr::kvm_system_time, 0x60041));
    EXPECT_EQ(std::memcmp(memory->host(0x60000, 32), memory->host(0x60040, 32), 32), 0);
}

TEST_F(Msr, KvmclockOutsideRamOrDisabledWritesNothing) {
    EXPECT_OK(system.wrmsr(msr::kvm_system_time, 0xfff0'0000'0001));
    EXPECT_OK(system.wrmsr(msr::kvm_system_time, ((16u << 20) - 16) | 1));  // runs past the end
    EXPECT_OK(system.wrmsr(msr::kvm_system_time, 0x60000));
    EXPECT_EQ(peek<u32>(0x60000), 0u);
}

TEST_F(Msr, KvmWallClock) {
    EXPECT_OK(system.wrmsr(msr::kvm_wall_clock, 0x60100));
    EXPECT_EQ(peek<u32>(0x60100), 2u);
    const u32 seconds = peek<u32>(0x60104);
    EXPECT_NEAR(static_cast<double>(seconds), static_cast<double>(std::time(nullptr)), 5);
    EXPECT_LT(peek<u32>(0x60108), 1'000'000'000u);
}

TEST_F(Msr, KvmclockNeedsItsCpuidBit) {
    for (auto& l : model.leaves)
        if (l.function == 0x40000001) l.value.eax = 0;
    x86::CpuModel without = model;
    vcpu->model = &without;
    EXPECT_FAULT(system.wrmsr(msr::kvm_system_time, 0x60001), Fault::gp(0));
    EXPECT_FAULT(system.rdmsr(msr::kvm_wall_clock), Fault::gp(0));
}

TEST_F(Msr, CpuidWritesFourRegisters) {
    user();
    for (const unsigned r : {x86::rax, x86::rbx, x86::rcx, x86::rdx}) st.gpr[r] = ~u64{0};
    st.gpr[x86::rax] = 0xffff'ffff'0000'0000;
    EXPECT_OK(system.cpuid());
    EXPECT_EQ(st.gpr[x86::rax], 0xdu);
    EXPECT_EQ(st.gpr[x86::rbx], 0x756e6547u);
    EXPECT_EQ(st.gpr[x86::rdx], 0x49656e69u);
    EXPECT_EQ(vcpu->counters.get(observe::Counter::cpuid), 1u);
}

}  // namespace
}  // namespace triune::hypervisor::soft::system
