// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "x86/vcpu_state.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <set>

#include "base/state_visitor.h"

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

class Filler final : public base::PathVisitor {
public:
    std::set<std::string> names;

private:
    void visit_path(const std::string& path, std::span<u8> bytes) override {
        EXPECT_TRUE(names.insert(path).second) << path << " twice";
        std::ranges::fill(bytes, u8{0xff});
    }
};

TEST(DescribeState, NamesEveryField) {
    VcpuState s;
    std::memset(static_cast<void*>(&s), 0, sizeof s);
    Filler v;
    describe(v, s);
    EXPECT_TRUE(v.names.contains("cs.base"));
    // What is left is padding: six bytes behind each segment and so on, at most 7 in a row but for the
    // alignment of the vector state.
    const std::span<const u8> bytes(reinterpret_cast<const u8*>(&s), offsetof(VcpuState, xsave));
    size_t run = 0, longest = 0;
    for (const u8 b : bytes) longest = std::max(longest, run = b ? 0 : run + 1);
    EXPECT_LT(longest, 64u);
    EXPECT_TRUE(std::ranges::all_of(s.xsave, [](u8 b) { return b == 0xff; }));
    EXPECT_EQ(s.gpr[r15] & s.mtrr_fixed.back() & s.pdpte.back() & s.amd_de_cfg, ~u64{0});
    EXPECT_EQ(s.nmi_pending & s.init_pending & s.sipi_pending & s.sipi_vector & s.halted, 0xff);
}

}  // namespace
}  // namespace triune::x86
