// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "hypervisor/soft/interp/test_machine.h"

namespace triune::hypervisor::soft::interp {
namespace {

using test::Machine;

/// The test by which programs find out whether there is CPUID (Intel SDM 1 20.1.2).
u64 flag_id_after_popfd(const std::string& cpu) {
    Machine m(cpu);
    m.protected32();
    m.load({0x68, 0x00, 0x00, 0x20, 0x00, 0x9d});  // push 0x200000; popfd
    m.step(2);
    return m.state().rflags & x86::flag::id;
}

TEST(Models, CpuidShowsInTheFlags) {
    EXPECT_NE(flag_id_after_popfd("486"), 0u);
    EXPECT_EQ(flag_id_after_popfd("486,-cpuid"), 0u);
    EXPECT_NE(flag_id_after_popfd("host"), 0u);
}

TEST(Models, UserCodeSeesTheModelOnly) {
    Machine m("core2");
    m.user();
    EXPECT_EQ(m.run({0x0f, 0x38, 0xf0, 0x03}), x86::vec::ud) << "movbe eax, [rbx]";
    m.user();
    EXPECT_EQ(m.run({0xc4, 0xe2, 0x70, 0xf2, 0xc2}), x86::vec::ud) << "andn eax, ecx, edx";
    // TZCNT of 0 is BSF: the destination stays and ZF is set; of 8 it is 3 either way.
    m.supervisor();
    m.gpr(x86::rax) = 0x1234;
    m.gpr(x86::rcx) = 0;
    EXPECT_EQ(m.run({0xf3, 0x48, 0x0f, 0xbc, 0xc1, 0xf4}), -1);
    EXPECT_EQ(m.gpr(x86::rax), 0x1234u);
    EXPECT_TRUE(m.state().rflags & x86::flag::zf);
    // LZCNT of 0x100 is BSR: 8.
    m.gpr(x86::rcx) = 0x100;
    EXPECT_EQ(m.run({0xf3, 0x48, 0x0f, 0xbd, 0xc1, 0xf4}), -1);
    EXPECT_EQ(m.gpr(x86::rax), 8u);
}

}  // namespace
}  // namespace triune::hypervisor::soft::interp
