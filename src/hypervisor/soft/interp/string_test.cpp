// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "hypervisor/soft/interp/test_machine.h"

namespace triune::hypervisor::soft::interp {
namespace {

using test::Machine;
using namespace x86;
namespace flag = x86::flag;

TEST(String, MovsAcrossPagesAndMisaligned) {
    Machine m;
    for (u64 n = 0; n < 10000; ++n) m.poke<u8>(test::data_base + 5 + n, static_cast<u8>(n * 7));
    m.gpr(rsi) = test::data_base + 5;
    m.gpr(rdi) = test::data_base + 0x8003;
    m.gpr(rcx) = 10000;
    m.run({0xf3, 0xa4, 0xf4});
    for (u64 n = 0; n < 10000; ++n)
        ASSERT_EQ(m.peek<u8>(test::data_base + 0x8003 + n), static_cast<u8>(n * 7)) << n;
    EXPECT_EQ(m.gpr(rcx), 0u);
    EXPECT_EQ(m.gpr(rsi), test::data_base + 5 + 10000);
    EXPECT_EQ(m.peek<u8>(test::data_base + 0x8003 + 10000), 0);
}

TEST(String, OverlappingMovsRepeats) {
    Machine m;
    m.poke<u32>(test::data_base, 0x04030201);
    m.gpr(rsi) = test::data_base;
    m.gpr(rdi) = test::data_base + 4;
    m.gpr(rcx) = 16;
    m.run({0xf3, 0xa5, 0xf4});
    for (u64 n = 0; n <= 16; ++n) EXPECT_EQ(m.peek<u32>(test::data_base + n * 4), 0x04030201u);
    EXPECT_EQ(m.peek<u32>(test::data_base + 17 * 4), 0u);
}

TEST(String, DownwardsMovs) {
    Machine m;
    for (u64 n = 0; n < 16; ++n) m.poke<u16>(test::data_base + n * 2, static_cast<u16>(n + 1));
    m.gpr(rsi) = test::data_base + 30;
    m.gpr(rdi) = test::data_base + 0x130;
    m.gpr(rcx) = 16;
    m.state().rflags |= flag::df;
    m.run({0xf3, 0x66, 0xa5, 0xf4});
    EXPECT_EQ(m.peek<u16>(test::data_base + 0x112), 1);
    EXPECT_EQ(m.peek<u16>(test::data_base + 0x130), 16);
    EXPECT_EQ(m.gpr(rsi), test::data_base - 2);
}

TEST(String, FaultLeavesExactCounts) {
    Machine m;
    m.poke<u64>(Machine::pte(test::data_base + 0x1000), 0);
    m.gpr(rdi) = test::data_base + 0xff0;
    m.gpr(rcx) = 10;
    m.gpr(rax) = ~u64{0};
    EXPECT_EQ(m.run({0xf3, 0x48, 0xab, 0xf4}), vec::pf);
    EXPECT_EQ(m.gpr(rcx), 8u);
    EXPECT_EQ(m.gpr(rdi), test::data_base + 0x1000);
    EXPECT_EQ(m.state().cr2, test::data_base + 0x1000);
    EXPECT_EQ(m.peek<u64>(m.gpr(rsp) + 8), test::code_base);
}

TEST(String, StosOverTheFaultingPageBoundaryIsSplitExactly) {
    Machine m;
    m.gpr(rdi) = test::data_base + 0xffc;
    m.gpr(rcx) = 3;
    m.gpr(rax) = 0x1122334455667788;
    EXPECT_EQ(m.run({0xf3, 0x48, 0xab, 0xf4}), -1);
    EXPECT_EQ(m.peek<u64>(test::data_base + 0xffc), 0x1122334455667788u);
    EXPECT_EQ(m.peek<u64>(test::data_base + 0x100c), 0x1122334455667788u);
}

TEST(String, SignalsStopItEarly) {
    Machine m;
    m.load({0xf3, 0xaa, 0xf4});
    m.gpr(rdi) = test::data_base;
    m.gpr(rcx) = 0x10000;
    m.vcpu->signals.raise(cpu::Signal::kick);
    EXPECT_EQ(m.engine.step(), Interpreter::Step::ok);
    EXPECT_EQ(m.state().rip, test::code_base);
    EXPECT_EQ(m.gpr(rdi) - test::data_base, 0x10000 - m.gpr(rcx));
    EXPECT_GT(m.gpr(rcx), 0u);
    EXPECT_LT(m.gpr(rcx), 0x10000u);
}

TEST(String, ScasAndCmpsEndOnTheCondition) {
    Machine m;
    m.poke(test::data_base, {'a', 'b', 'c', 0, 'd'});
    m.gpr(rdi) = test::data_base;
    m.gpr(rcx) = ~u64{0};
    m.gpr(rax) = 0;
    m.run({0xf2, 0xae, 0xf4});  // repne scasb
    EXPECT_EQ(m.gpr(rdi), test::data_base + 4);
    EXPECT_EQ(m.gpr(rcx), ~u64{0} - 4);
    EXPECT_TRUE(m.state().rflags & flag::zf);
    m.poke(test::data_base + 0x100, {'a', 'b', 'x', 0});
    m.gpr(rsi) = test::data_base;
    m.gpr(rdi) = test::data_base + 0x100;
    m.gpr(rcx) = 4;
    m.run({0xf3, 0xa6, 0xf4});  // repe cmpsb
    EXPECT_EQ(m.gpr(rcx), 1u);
    EXPECT_TRUE(m.state().rflags & flag::cf);
    EXPECT_FALSE(m.state().rflags & flag::zf);
}

TEST(String, CountOfZeroDoesNothing) {
    Machine m;
    m.gpr(rcx) = 0;
    m.gpr(rdi) = u64{1} << 62;
    EXPECT_EQ(m.run({0xf3, 0xaa, 0xf4}), -1);
}

TEST(String, OutsAndIns) {
    Machine m;
    m.poke(test::data_base, {1, 2, 3});
    m.gpr(rsi) = test::data_base;
    m.gpr(rdx) = 0x3f8;
    m.gpr(rcx) = 3;
    m.run({0xf3, 0x6e, 0xf4});
    ASSERT_EQ(m.io.writes.size(), 3u);
    EXPECT_EQ(m.io.writes[2].value, 3u);
    m.gpr(rdi) = test::data_base + 0x40;
    m.gpr(rcx) = 2;
    m.run({0xf3, 0x6d, 0xf4});
    EXPECT_EQ(m.peek<u64>(test::data_base + 0x40), 0x5566778855667788u);
}

}  // namespace
}  // namespace triune::hypervisor::soft::interp
