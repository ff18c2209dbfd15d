// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/system/test_machine.h"

namespace triune::hypervisor::soft::system {
namespace {

namespace cr0 = x86::cr0;
namespace cr4 = x86::cr4;
namespace efer = x86::efer;

class ControlRegisters : public SystemTest {
protected:
    /// True when the TLB still translates this page as it did at the last access to it.
    bool cached(Gva gva, u64 pte, auto&& action) {
        EXPECT_TRUE(mmu.read(gva, 8, mmu::Privilege::supervisor));
        const u64 old = peek(at::pt + (gva >> 12) * 8);
        poke(at::pt + (gva >> 12) * 8, pte);
        action();
        const bool hit = mmu.read(gva, 8, mmu::Privilege::supervisor).has_value();
        poke(at::pt + (gva >> 12) * 8, old);
        mmu.flush_all();
        return hit;
    }
    static constexpr Gva page = 0x50000;
    static constexpr u64 global_pte = page | 0x103, plain_pte = page | 3;
    void set_pte(u64 pte) {
        poke(at::pt + (page >> 12) * 8, pte);
        mmu.flush_all();
    }
};

TEST_F(ControlRegisters, PrivilegeAndNumbers) {
    EXPECT_FAULT(system.read_cr(1), Fault::ud());
    EXPECT_FAULT(system.write_cr(5, 0), Fault::ud());
    user();
    EXPECT_FAULT(system.read_cr(0), Fault::gp(0));
    EXPECT_FAULT(system.write_cr(3, 0), Fault::gp(0));
    EXPECT_FAULT(system.clts(), Fault::gp(0));
    EXPECT_FAULT(system.lmsw(1), Fault::gp(0));
}

TEST_F(ControlRegisters, Cr0Rules) {
    const u64 good = st.cr0;
    EXPECT_FAULT(system.write_cr(0, good | cr0::nw), Fault::gp(0));
    EXPECT_FAULT(system.write_cr(0, good & ~cr0::pe), Fault::gp(0));
    EXPECT_FAULT(system.write_cr(0, good | u64{1} << 32), Fault::gp(0));
    EXPECT_FAULT(system.write_cr(0, good & ~cr0::pg), Fault::gp(0));  // 64-bit mode
    EXPECT_EQ(st.cr0, good);
    EXPECT_OK(system.write_cr(0, good | cr0::ts));
    EXPECT_OK(system.clts());
    EXPECT_EQ(*system.read_cr(0), good);
}

TEST_F(ControlRegisters, LmaFollowsPaging) {
    protected_mode();
    st.cr3 = at::pml4;
    EXPECT_OK(system.wrmsr(0xc0000080, efer::lme));
    EXPECT_FAULT(system.write_cr(0, st.cr0 | cr0::pg), Fault::gp(0));  // no PAE
    EXPECT_OK(system.write_cr(4, cr4::pae));
    EXPECT_OK(system.write_cr(0, st.cr0 | cr0::pg));
    EXPECT_TRUE(st.long_mode_active());
    EXPECT_EQ(*system.rdmsr(0xc0000080), efer::lme | efer::lma);
    EXPECT_FAULT(system.wrmsr(0xc0000080, 0), Fault::gp(0));  // LME while paging
    EXPECT_FAULT(system.write_cr(4, 0), Fault::gp(0));        // PAE in long mode
    EXPECT_OK(system.far_jump(sel::kcode64, 0x5000, 32));
    EXPECT_TRUE(st.code64());
    st.seg[Seg::cs] = flat_code(sel::kcode32, 0, false);
    EXPECT_OK(system.write_cr(0, st.cr0 & ~cr0::pg));
    EXPECT_FALSE(st.long_mode_active());
    EXPECT_TRUE(st.efer & efer::lme);
}

TEST_F(ControlRegisters, SixteenBitTssForbidsLongMode) {
    protected_mode();
    st.cr4 = cr4::pae;
    st.efer = efer::lme;
    st.tr.attr = 0x83;
    EXPECT_FAULT(system.write_cr(0, st.cr0 | cr0::pg), Fault::gp(0));
}

TEST_F(ControlRegisters, LmswSetsButNeverClearsPe) {
    real_mode();
    EXPECT_OK(system.lmsw(0xffff));
    EXPECT_EQ(st.cr0, 0x1fu);
    EXPECT_OK(system.lmsw(0));
    EXPECT_EQ(st.cr0, 0x11u);
}

TEST_F(ControlRegisters, Cr3ReservedBitsAndWidth) {
    EXPECT_FAULT(system.write_cr(3, u64{1} << 40), Fault::gp(0));
    EXPECT_FAULT(system.write_cr(3, u64{1} << 63 | at::pml4), Fault::gp(0));  // without PCIDE
    EXPECT_OK(system.write_cr(3, at::pml4 | 0x18));
    EXPECT_EQ(*system.read_cr(3), at::pml4 | 0x18);
}

TEST_F(ControlRegisters, Cr3FlushesAllButGlobalPages) {
    set_pte(plain_pte);
    EXPECT_FALSE(cached(page, 0, [&] { EXPECT_OK(system.write_cr(3, at::pml4)); }));
    set_pte(global_pte);
    EXPECT_TRUE(cached(page, 0, [&] { EXPECT_OK(system.write_cr(3, at::pml4)); }));
    EXPECT_FALSE(cached(page, 0, [&] { EXPECT_OK(system.write_cr(4, st.cr4 ^ cr4::pge)); }));
}

TEST_F(ControlRegisters, PcidRules) {
    EXPECT_OK(system.write_cr(3, at::pml4 | 0x8));
    EXPECT_FAULT(system.write_cr(4, st.cr4 | cr4::pcide), Fault::gp(0));
    EXPECT_OK(system.write_cr(3, at::pml4));
    EXPECT_OK(system.write_cr(4, st.cr4 | cr4::pcide));
    EXPECT_OK(system.write_cr(3, at::pml4 | 5));
    set_pte(plain_pte);
    // Bit 63 with the same address space keeps the entries and is not stored.
    EXPECT_TRUE(cached(page, 0, [&] { EXPECT_OK(system.write_cr(3, u64{1} << 63 | at::pml4 | 5)); }));
    EXPECT_EQ(*system.read_cr(3), at::pml4 | 5);
    EXPECT_FALSE(cached(page, 0, [&] { EXPECT_OK(system.write_cr(3, u64{1} << 63 | at::pml4 | 6)); }));
    EXPECT_FALSE(cached(page, 0, [&] { EXPECT_OK(system.write_cr(3, at::pml4 | 6)); }));
    // Paging cannot be left with PCIDE set.
    st.seg[Seg::cs] = flat_code(sel::kcode32, 0, false);
    EXPECT_FAULT(system.write_cr(0, st.cr0 & ~cr0::pg), Fault::gp(0));
    EXPECT_OK(system.write_cr(4, st.cr4 & ~cr4::pcide));
    EXPECT_OK(system.write_cr(0, st.cr0 & ~cr0::pg));
    EXPECT_FAULT(system.write_cr(4, st.cr4 | cr4::pcide), Fault::gp(0));  // needs long mode
}

TEST_F(ControlRegisters, Cr4BitsFollowCpuid) {
    EXPECT_FAULT(system.write_cr(4, st.cr4 | u64{1} << 13), Fault::gp(0));  // VMXE
    EXPECT_FAULT(system.write_cr(4, st.cr4 | cr4::la57), Fault::gp(0));
    EXPECT_FAULT(system.write_cr(4, st.cr4 | cr4::pke), Fault::gp(0));
    EXPECT_FAULT(system.write_cr(4, st.cr4 | u64{1} << 40), Fault::gp(0));
    EXPECT_OK(system.write_cr(4, st.cr4 | cr4::smep | cr4::smap | cr4::umip | cr4::fsgsbase | cr4::osxsave));
}

TEST_F(ControlRegisters, WriteProtectTakesEffectAtOnce) {
    set_pte(page | 1);  // read-only
    EXPECT_OK(system.write_cr(0, st.cr0 & ~cr0::wp));
    EXPECT_TRUE(mmu.write(page, 1, 8, mmu::Privilege::supervisor));
    EXPECT_OK(system.write_cr(0, st.cr0 | cr0::wp));
    EXPECT_FALSE(mmu.write(page, 1, 8, mmu::Privilege::supervisor));
}

TEST_F(ControlRegisters, Cr8IsTheTaskPriority) {
    EXPECT_OK(system.write_cr(8, 9));
    EXPECT_EQ(apic.tpr, 9u);
    EXPECT_EQ(*system.read_cr(8), 9u);
    EXPECT_FAULT(system.write_cr(8, 16), Fault::gp(0));
}

TEST_F(ControlRegisters, DebugRegisters) {
    EXPECT_OK(system.write_dr(0, 0xffff'8000'0000'0000));
    EXPECT_EQ(*system.read_dr(0), 0xffff'8000'0000'0000u);
    EXPECT_OK(system.write_dr(7, 0xffff'ffff & ~0x2000u));
    EXPECT_EQ(*system.read_dr(7), 0xffff07ffu);
    EXPECT_OK(system.write_dr(4, 0xffff'ffff));  // DR6
    EXPECT_EQ(*system.read_dr(6), 0xffffeff0u | 0xf);
    EXPECT_FAULT(system.write_dr(7, u64{1} << 32), Fault::gp(0));
    st.cr4 |= cr4::de;
    EXPECT_FAULT(system.read_dr(5), Fault::ud());
    EXPECT_OK(system.write_dr(7, 0x2000));
    EXPECT_FAULT(system.read_dr(0), Fault::db());
    EXPECT_TRUE(st.dr[6] & 0x2000);
    user();
    EXPECT_FAULT(system.read_dr(0), Fault::gp(0));
}

TEST_F(ControlRegisters, Xcr0) {
    EXPECT_FAULT(system.xsetbv(0, 7), Fault::ud());
    EXPECT_FAULT(system.xgetbv(0), Fault::ud());
    st.cr4 |= cr4::osxsave;
    EXPECT_FAULT(system.xsetbv(0, 6), Fault::gp(0));
    EXPECT_FAULT(system.xsetbv(0, 5), Fault::gp(0));
    EXPECT_FAULT(system.xsetbv(0, 0xf), Fault::gp(0));
    EXPECT_FAULT(system.xsetbv(1, 7), Fault::gp(0));
    EXPECT_OK(system.xsetbv(0, 7));
    user();
    EXPECT_EQ(*system.xgetbv(0), 7u);
    EXPECT_FAULT(system.xgetbv(1), Fault::gp(0));  // XINUSE is not in this model
    EXPECT_FAULT(system.xsetbv(0, 3), Fault::gp(0));
}

TEST_F(ControlRegisters, Invlpg) {
    set_pte(global_pte);
    EXPECT_FALSE(cached(page, 0, [&] { EXPECT_OK(system.invlpg(page + 5)); }));
    EXPECT_TRUE(cached(page, 0, [&] { EXPECT_OK(system.invlpg(page + 0x1000)); }));
    EXPECT_OK(system.invlpg(u64{1} << 60));
    user();
    EXPECT_FAULT(system.invlpg(0), Fault::gp(0));
}

TEST_F(ControlRegisters, Invpcid) {
    set_pte(global_pte);
    EXPECT_FALSE(cached(page, 0, [&] { EXPECT_OK(system.invpcid(2, 0, 0)); }));
    EXPECT_TRUE(cached(page, 0, [&] { EXPECT_OK(system.invpcid(3, 0, 0)); }));
    EXPECT_TRUE(cached(page, 0, [&] { EXPECT_OK(system.invpcid(1, 0, 0)); }));
    set_pte(plain_pte);
    EXPECT_FALSE(cached(page, 0, [&] { EXPECT_OK(system.invpcid(1, 0, 0)); }));
    EXPECT_FALSE(cached(page, 0, [&] { EXPECT_OK(system.invpcid(0, 0, page)); }));
    EXPECT_FAULT(system.invpcid(4, 0, 0), Fault::gp(0));
    EXPECT_FAULT(system.invpcid(0, 1, 0), Fault::gp(0));  // PCIDE is clear
    EXPECT_FAULT(system.invpcid(1, 0x1000, 0), Fault::gp(0));
    EXPECT_FAULT(system.invpcid(0, 0, u64{1} << 60), Fault::gp(0));
    user();
    EXPECT_FAULT(system.invpcid(2, 0, 0), Fault::gp(0));
}

}  // namespace
}  // namespace triune::hypervisor::soft::system
