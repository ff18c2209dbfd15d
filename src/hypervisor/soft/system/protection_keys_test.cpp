// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/system/test_machine.h"

/// Protection keys for user pages (Intel SDM 3A 4.6.2, 4.7; 2B RDPKRU, WRPKRU).
namespace triune::hypervisor::soft::system {
namespace {

namespace cr0 = x86::cr0;
namespace cr4 = x86::cr4;
namespace pf = mmu::pf_error;
using mmu::Privilege;

class ProtectionKeys : public SystemTest {
protected:
    ProtectionKeys() {
        for (x86::CpuModel::Leaf& l : model.leaves)
            if (l.function == 7) l.value.ecx |= 1u << 3;
        EXPECT_TRUE(system.write_cr(4, st.cr4 | cr4::pke));
        key(page, 1);
        key(other, 2);
    }
    /// The user page at `gva` gets protection key `k`.
    void key(Gva gva, u64 k) {
        poke(at::pt + (gva >> 12) * 8, gva | 7 | k << 59);
        mmu.flush_all();
    }
    void pkru(u32 value) { EXPECT_TRUE(system.wrpkru(0, 0, value)); }
    /// The page fault's error code of a read or a write.
    u32 read(Gva gva, Privilege p) {
        const auto r = mmu.read(gva, 8, p);
        return r ? allowed : r.error().error_code;
    }
    u32 write(Gva gva, Privilege p) {
        const auto r = mmu.write(gva, 1, 8, p);
        return r ? allowed : r.error().error_code;
    }
    [[nodiscard]] bool in_tlb(Gva gva) const {
        const auto& set = tlb->set[static_cast<unsigned>(mmu::TlbMode::user)];
        return (gva ^ set[mmu::Tlb::index(gva)].read_tag) < page_size;
    }

    static constexpr Gva page = 0x150000, other = 0x151000, plain = 0x152000, supervisor_page = 0x50000;
    static constexpr auto user_mode = Privilege::user, supervisor = Privilege::supervisor;
    static constexpr u32 ad1 = 1 << 2, wd1 = 2 << 2, ad2 = 1 << 4;
    static constexpr u32 denied = pf::present | pf::pk, allowed = ~0u;
};

TEST_F(ProtectionKeys, TheInstructionsCheckTheirOperands) {
    pkru(0xfffffffc);
    EXPECT_EQ(*system.rdpkru(0), 0xfffffffcu);
    EXPECT_FAULT(system.rdpkru(1), Fault::gp(0));
    EXPECT_FAULT(system.wrpkru(1, 0, 0), Fault::gp(0));
    EXPECT_FAULT(system.wrpkru(0, 1, 0), Fault::gp(0));
    EXPECT_EQ(st.pkru, 0xfffffffcu);
    user();  // at any privilege
    pkru(4);
    EXPECT_EQ(*system.rdpkru(0), 4u);
    kernel();
    EXPECT_OK(system.write_cr(4, st.cr4 & ~cr4::pke));
    EXPECT_FAULT(system.rdpkru(1), Fault::ud());
    EXPECT_FAULT(system.wrpkru(1, 1, 0), Fault::ud());
}

TEST_F(ProtectionKeys, WhatTheyForbidIsForbiddenAtOnce) {
    for (const auto who : {user_mode, supervisor}) {
        const u32 u = who == user_mode ? pf::user : 0;
        pkru(0);
        EXPECT_EQ(read(page, who), allowed);
        EXPECT_EQ(write(page, who), allowed);
        pkru(wd1);
        EXPECT_EQ(read(page, who), allowed);
        EXPECT_EQ(write(page, who), denied | pf::write | u);
        pkru(ad1);
        EXPECT_EQ(read(page, who), denied | u);
        EXPECT_EQ(write(page, who), denied | pf::write | u);
        EXPECT_EQ(write(other, who), allowed);
        EXPECT_EQ(write(plain, who), allowed);
        pkru(ad2);
        EXPECT_EQ(write(page, who), allowed);
        EXPECT_EQ(read(other, who), denied | u);
    }
    pkru(~3u);
    EXPECT_EQ(write(supervisor_page, supervisor), allowed) << "keys are user pages' only";
}

TEST_F(ProtectionKeys, WithoutWpTheSupervisorMayWriteInSpiteOfWd) {
    pkru(wd1);
    EXPECT_OK(system.write_cr(0, st.cr0 & ~cr0::wp));
    EXPECT_EQ(write(page, supervisor), allowed);
    EXPECT_EQ(write(page, user_mode), denied | pf::write | pf::user);
    EXPECT_OK(system.write_cr(0, st.cr0 | cr0::wp));
    EXPECT_EQ(write(page, supervisor), denied | pf::write);
    pkru(ad1);
    EXPECT_OK(system.write_cr(0, st.cr0 & ~cr0::wp));
    EXPECT_EQ(write(page, supervisor), denied | pf::write);
}

TEST_F(ProtectionKeys, Key0IsOneToo) {
    pkru(0);
    EXPECT_EQ(write(plain, user_mode), allowed);
    pkru(1);
    EXPECT_EQ(read(plain, user_mode), denied | pf::user);
}

TEST_F(ProtectionKeys, WithoutCr4PkeTheyMeanNothing) {
    pkru(ad1);
    EXPECT_EQ(read(page, user_mode), denied | pf::user);
    EXPECT_OK(system.write_cr(4, st.cr4 & ~cr4::pke));
    EXPECT_EQ(write(page, user_mode), allowed);
    EXPECT_OK(system.write_cr(4, st.cr4 | cr4::pke));
    EXPECT_EQ(read(page, user_mode), denied | pf::user);
}

TEST_F(ProtectionKeys, InstructionFetchDoesNotAsk) {
    user();
    pkru(ad1);
    EXPECT_TRUE(mmu.fetch(page));
    EXPECT_EQ(read(page, user_mode), denied | pf::user) << "what was fetched from is not readable for it";
}

// A switch between threads whose PKRU differs in keys that nobody has used costs no translation.
TEST_F(ProtectionKeys, OnlyTranslationsThatLostARightGo) {
    pkru(0);
    EXPECT_EQ(write(page, user_mode), allowed);
    EXPECT_EQ(write(plain, user_mode), allowed);
    pkru(~0xfu);  // keys 2 to 15, which no translation has
    EXPECT_TRUE(in_tlb(page));
    pkru(0);
    EXPECT_TRUE(in_tlb(page));
    pkru(wd1);
    EXPECT_FALSE(in_tlb(page));
    EXPECT_TRUE(in_tlb(plain));
    pkru(2);
    EXPECT_FALSE(in_tlb(plain));
}

}  // namespace
}  // namespace triune::hypervisor::soft::system
