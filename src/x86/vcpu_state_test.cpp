// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "x86/vcpu_state.h"

#include <gtest/gtest.h>

namespace triune::x86 {
namespace {

TEST(ResetState, PowerOn) {
    VcpuState s;
    s.gpr.fill(~u64{0});
    s.cr4 = s.efer = s.lstar = s.xcr0 = 7;
    s.tsc_offset = 77;
    s.halted = 1;
    reset_state(s, false);
    EXPECT_EQ(s.seg[cs].base + s.rip, 0xfffffff0u);
    EXPECT_EQ(s.seg[cs].selector, 0xf000);
    EXPECT_EQ(s.seg[ds].limit, 0xffffu);
    EXPECT_TRUE(s.seg[ds].present());
    EXPECT_FALSE(s.seg[ds].system());
    EXPECT_TRUE(s.tr.system());
    EXPECT_EQ(s.cr0, 0x60000010u);
    EXPECT_EQ(s.cr4, 0u);
    EXPECT_EQ(s.efer, 0u);
    EXPECT_EQ(s.lstar, 0u);
    EXPECT_EQ(s.xcr0, 1u);
    EXPECT_EQ(s.rflags, 2u);
    EXPECT_EQ(s.gpr[rax], 0u);
    EXPECT_EQ(s.dr[6], 0xffff0ff0u);
    EXPECT_EQ(s.dr[7], 0x400u);
    EXPECT_EQ(s.gdtr.limit, 0xffffu);
    EXPECT_EQ(s.cpl(), 0u);
    EXPECT_EQ(s.xsave[0], 0x40);
    EXPECT_EQ(s.xsave[24] | s.xsave[25] << 8, 0x1f80);
    EXPECT_EQ(s.xsave[512], 3);
    EXPECT_EQ(s.tsc_offset, 77u);
    EXPECT_EQ(s.halted, 0);
}

TEST(ResetState, InitKeepsMsrsCachesAndVectorState) {
    VcpuState s;
    reset_state(s, false);
    s.cr0 = cr0::pe | cr0::pg | cr0::et;
    s.cr4 = cr4::pae;
    s.efer = efer::lme | efer::lma;
    s.lstar = 0x1234;
    s.xcr0 = 7;
    s.xsave[160] = 9;
    s.rip = 5;
    reset_state(s, true);
    EXPECT_EQ(s.cr0, cr0::et) << "CD and NW were clear and stay so";
    EXPECT_EQ(s.cr4, 0u);
    EXPECT_EQ(s.efer, 0u);
    EXPECT_FALSE(s.long_mode_active());
    EXPECT_EQ(s.lstar, 0x1234u);
    EXPECT_EQ(s.xcr0, 7u);
    EXPECT_EQ(s.xsave[160], 9);
    EXPECT_EQ(s.rip, 0xfff0u);
}

}  // namespace
}  // namespace triune::x86
