// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/kvm/guest_debug.h"

#include <gtest/gtest.h>

namespace triune::hypervisor::kvm {
namespace {

kvm_debug_exit_arch exit_with(u64 dr6) { return {.exception = 1, .pad = 0, .pc = 0, .dr6 = dr6, .dr7 = 0}; }

TEST(DebugRegisters, NothingIsOff) {
    const auto r = DebugRegisters::make({});
    ASSERT_TRUE(r);
    EXPECT_FALSE(r->any());
    EXPECT_EQ(r->for_kvm(true).control, 0u);
}

TEST(DebugRegisters, BreakpointsAndWatchpointsShareFour) {
    const auto r =
        DebugRegisters::make({.breakpoints = {0x1000, 0x2000},
                              .watchpoints = {{.address = 0x3004, .size = 4, .write = true},
                                              {.address = 0x5000, .size = 8, .read = true, .write = true}}});
    ASSERT_TRUE(r);
    const kvm_guest_debug d = r->for_kvm(true);
    EXPECT_EQ(d.control, u32{KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP});
    EXPECT_EQ(d.arch.debugreg[0], 0x1000u);
    EXPECT_EQ(d.arch.debugreg[3], 0x5000u);
    // LEN 4 bytes is 3, 8 bytes is 2; R/W 1 write, 3 both (Intel SDM 3B 18.2.4).
    EXPECT_EQ(d.arch.debugreg[7], 0xbd0004aau);
    const auto met = r->event(exit_with(4));
    ASSERT_TRUE(met);
    EXPECT_EQ(met->cause, Debug::Cause::watchpoint);
    EXPECT_EQ(met->address, 0x3004u);
    EXPECT_EQ(r->event(exit_with(2))->address, 0x2000u);
    EXPECT_FALSE(r->event(exit_with(1 << 14))) << "the guest's own trap flag";
    EXPECT_FALSE(DebugRegisters::make({.breakpoints = {1, 2, 3, 4, 5}}));
}

TEST(DebugRegisters, OddRangesTakeSeveral) {
    const auto r = DebugRegisters::make({.watchpoints = {{.address = 0x1003, .size = 7, .write = true}}});
    ASSERT_TRUE(r);
    const kvm_guest_debug d = r->for_kvm(false);
    EXPECT_EQ(d.arch.debugreg[0], 0x1003u);  // 1
    EXPECT_EQ(d.arch.debugreg[1], 0x1004u);  // 4
    EXPECT_EQ(d.arch.debugreg[2], 0x1008u);  // 2
    EXPECT_EQ(d.arch.debugreg[7], 0x05d1042au);
    EXPECT_EQ(r->event(exit_with(4))->address, 0x1003u);
    EXPECT_FALSE(DebugRegisters::make({.watchpoints = {{.address = 0x1003, .size = 64, .write = true}}}));
    EXPECT_FALSE(DebugRegisters::make({.watchpoints = {{.address = 0, .size = ~u64{0}, .write = true}}}));
    EXPECT_FALSE(DebugRegisters::make({.watchpoints = {{.address = 0x1000, .size = 1, .read = true}}}));
}

TEST(DebugRegisters, StepsHoldInterruptsWhereKvmCan) {
    const auto r = DebugRegisters::make({.single_step = true});
    ASSERT_TRUE(r);
    EXPECT_EQ(r->for_kvm(false).control, u32{KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP});
    EXPECT_EQ(r->for_kvm(true).control,
              u32{KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP | KVM_GUESTDBG_BLOCKIRQ});
    EXPECT_EQ(r->event(exit_with(1 << 14))->cause, Debug::Cause::step);
}

}  // namespace
}  // namespace triune::hypervisor::kvm
