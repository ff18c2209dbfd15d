// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cstring>

#include "hypervisor/soft/interp/test_machine.h"
#include "hypervisor/soft/interp/vector_state.h"

namespace triune::hypervisor::soft::interp {
namespace {

using test::Machine;
using namespace x86;

struct Xmm {
    u64 low, high;
    bool operator==(const Xmm&) const = default;
};
Xmm xmm(Machine& m, unsigned n) {
    Xmm v{};
    VectorState(m.state()).read_vector(n, &v, 16);
    return v;
}
void set_xmm(Machine& m, unsigned n, u64 low, u64 high) {
    const Xmm v{low, high};
    VectorState(m.state()).write_vector(n, &v, 16, false);
}
u64 bits(double d) {
    u64 v;
    std::memcpy(&v, &d, 8);
    return v;
}

TEST(Vector, LoadAddStore) {
    Machine m;
    m.gpr(rbx) = test::data_base;
    m.poke<u64>(test::data_base, bits(1.5));
    m.poke<u64>(test::data_base + 8, bits(2.25));
    // movsd xmm1,[rbx]; addsd xmm1,[rbx+8]; movsd [rbx+16],xmm1
    EXPECT_EQ(m.run({0xf2, 0x0f, 0x10, 0x0b, 0xf2, 0x0f, 0x58, 0x4b, 8, 0xf2, 0x0f, 0x11, 0x4b, 16, 0xf4}),
              -1);
    EXPECT_EQ(m.peek<u64>(test::data_base + 16), bits(3.75));
}

TEST(Vector, GeneralRegistersIncludingTheStackPointer) {
    Machine m;
    m.gpr(r13) = 0x123456789abcdef0;
    m.run({0x66, 0x49, 0x0f, 0x6e, 0xc5, 0x66, 0x48, 0x0f, 0x7e, 0xc1, 0x66, 0x48, 0x0f, 0x6e, 0xd4, 0xf4});
    EXPECT_EQ(m.gpr(rcx), 0x123456789abcdef0u);  // movq xmm0,r13; movq rcx,xmm0; movq xmm2,rsp
    EXPECT_EQ(xmm(m, 2).low, test::stack_top);
    EXPECT_EQ(m.gpr(rbp), 0u);
}

TEST(Vector, MisalignedLegacyOperandFaults) {
    Machine m;
    m.gpr(rbx) = test::data_base + 8;
    EXPECT_EQ(m.run({0x0f, 0x28, 0x03, 0xf4}), vec::gp);  // movaps
    m.supervisor();
    EXPECT_EQ(m.run({0x0f, 0x10, 0x03, 0xf4}), -1);        // movups
    EXPECT_EQ(m.run({0xc5, 0xf8, 0x58, 0x03, 0xf4}), -1);  // vaddps does not care
}

TEST(Vector, FaultsBeforeTheFirstByteIsStored) {
    Machine m;
    m.gpr(rbx) = test::data_base + 0xff8;
    set_xmm(m, 0, ~u64{0}, ~u64{0});
    m.poke<u64>(Machine::pte(test::data_base + 0x1000), test::data_base + 0x1000 + 1);  // read-only
    m.mmu.flush_all();
    EXPECT_EQ(m.run({0x0f, 0x11, 0x03, 0xf4}), vec::pf);
    EXPECT_EQ(m.peek<u64>(test::data_base + 0xff8), 0u);
    EXPECT_EQ(m.state().cr2, test::data_base + 0x1000);
}

TEST(Vector, TaskSwitchedAndDisabled) {
    Machine m;
    m.state().cr0 |= cr0::ts;
    EXPECT_EQ(m.run({0x0f, 0x57, 0xc0, 0xf4}), vec::nm);
    m.state().cr0 &= ~cr0::ts;
    m.state().cr4 &= ~cr4::osfxsr;
    m.supervisor();
    EXPECT_EQ(m.run({0x0f, 0x57, 0xc0, 0xf4}), vec::ud);
    m.state().cr4 |= cr4::osfxsr;
    m.state().xcr0 = 3;
    m.supervisor();
    EXPECT_EQ(m.run({0xc5, 0xf8, 0x57, 0xc0, 0xf4}), vec::ud);  // vxorps without AVX enabled
}

TEST(Vector, UnmaskedDivideByZeroLeavesTheDestination) {
    Machine m;
    VectorState v(m.state());
    v.set_mxcsr(0x1f80 & ~0x200u);
    set_xmm(m, 0, bits(1.0), 7);
    set_xmm(m, 1, 0, 0);
    EXPECT_EQ(m.run({0xf2, 0x0f, 0x5e, 0xc1, 0xf4}), vec::xm);  // divsd xmm0,xmm1
    EXPECT_EQ(xmm(m, 0), (Xmm{bits(1.0), 7}));
    EXPECT_EQ(v.mxcsr() & 0x3f, 4u);
    m.state().cr4 &= ~cr4::osxmmexcpt;
    m.supervisor();
    EXPECT_EQ(m.run({0xf2, 0x0f, 0x5e, 0xc1, 0xf4}), vec::ud);
}

TEST(Vector, UnmaskedX87ErrorIsReportedByTheNextInstruction) {
    Machine m;
    VectorState v(m.state());
    v.settle(1);
    v.set<u16>(VectorState::fcw, 0x37b);  // ZM clear
    v.set<u8>(VectorState::ftw, 0);
    // fld1; fldz; fdivp st(1),st; fld1
    m.load({0xd9, 0xe8, 0xd9, 0xee, 0xde, 0xf9, 0xd9, 0xe8, 0xf4});
    m.step(3);
    EXPECT_TRUE(v.status() & VectorState::es);
    m.step();
    EXPECT_EQ(m.state().rip, test::handlers + vec::mf);
    EXPECT_EQ((v.status() >> 11) & 7, 6);  // nothing was popped
}

TEST(Vector, X87ArithmeticAndStatus) {
    Machine m;
    m.gpr(rbx) = test::data_base;
    m.poke<u32>(test::data_base, 42);
    // fninit; fild dword [rbx]; fld1; faddp; fistp dword [rbx+4]; fnstsw ax
    EXPECT_EQ(m.run({0xdb, 0xe3, 0xdb, 0x03, 0xd9, 0xe8, 0xde, 0xc1, 0xdb, 0x5b, 4, 0xdf, 0xe0, 0xf4}), -1);
    EXPECT_EQ(m.peek<u32>(test::data_base + 4), 43u);
    EXPECT_EQ(m.gpr(rax) & 0x3800, 0u);
}

TEST(Vector, EnvironmentKeepsTheRegistersInPlace) {
    Machine m;
    m.gpr(rbx) = test::data_base;
    // fninit; fld1; fldpi; fnstenv [rbx]; fninit; fldenv [rbx]; fstp qword [rbx+64]; fstp qword [rbx+72]
    EXPECT_EQ(m.run({0xdb, 0xe3, 0xd9, 0xe8, 0xd9, 0xeb, 0xd9, 0x33, 0xdb, 0xe3, 0xd9, 0x23, 0xdd, 0x5b, 64,
                     0xdd, 0x5b, 72, 0xf4}),
              -1);
    EXPECT_EQ(m.peek<u64>(test::data_base + 64), 0x400921fb54442d18u);
    EXPECT_EQ(m.peek<u64>(test::data_base + 72), bits(1.0));
    EXPECT_EQ(m.peek<u16>(test::data_base + 8), 0x0fff);  // tags: 7 and 6 valid
}

TEST(Vector, SaveAndRestoreEverything) {
    Machine m;
    m.gpr(rbx) = test::data_base;
    m.gpr(rax) = 7;
    const std::array<u64, 4> ymm = {1, 2, 3, 4};
    VectorState v(m.state());
    v.write_vector(3, ymm.data(), 32, true);
    // xsave [rbx]; vzeroall; xrstor [rbx]
    EXPECT_EQ(m.run({0x0f, 0xae, 0x23, 0xc5, 0xfc, 0x77, 0x0f, 0xae, 0x2b, 0xf4}), -1);
    std::array<u64, 4> got{};
    v.read_vector(3, got.data(), 32);
    EXPECT_EQ(got, ymm);
    EXPECT_EQ(m.peek<u64>(test::data_base + 512) & 6, 6u);
    m.poke<u64>(test::data_base + 520, u64{1} << 63);  // compacted
    EXPECT_EQ(m.run({0x0f, 0xae, 0x2b, 0xf4}), vec::gp);
}

TEST(Vector, XrstorOfAnInitialComponentClearsIt) {
    Machine m;
    m.gpr(rbx) = test::data_base;
    m.gpr(rax) = 2;
    m.poke<u32>(test::data_base + 24, 0x1f80);
    set_xmm(m, 5, 1, 2);
    EXPECT_EQ(m.run({0x0f, 0xae, 0x2b, 0xf4}), -1);
    EXPECT_EQ(xmm(m, 5), (Xmm{0, 0}));
}

TEST(Vector, MaskedLoadTouchesOnlySelectedElements) {
    Machine m;
    m.poke<u64>(Machine::pte(test::data_base + 0x1000), 0);
    m.mmu.flush_all();
    m.gpr(rbx) = test::data_base + 0xffc;
    m.poke<u32>(test::data_base + 0xffc, 77);
    set_xmm(m, 1, 0x80000000, 0);
    EXPECT_EQ(m.run({0xc4, 0xe2, 0x71, 0x2c, 0x03, 0xf4}), -1);  // vmaskmovps xmm0,xmm1,[rbx]
    EXPECT_EQ(xmm(m, 0), (Xmm{77, 0}));
    set_xmm(m, 1, 0x8000000080000000, 0);
    EXPECT_EQ(m.run({0xc4, 0xe2, 0x71, 0x2c, 0x03, 0xf4}), vec::pf);
}

TEST(Vector, GatherKeepsWhatItHasWhenItFaults) {
    Machine m;
    for (u32 n = 0; n < 16; ++n) m.poke<u32>(test::data_base + n * 4, 100 + n);
    m.gpr(rbx) = test::data_base;
    set_xmm(m, 1, 3 | u64{5} << 32, 0x100000000000000 | 7);  // indices 3, 5, 7, out of range
    set_xmm(m, 2, ~u64{0}, ~u64{0});
    EXPECT_EQ(m.run({0xc4, 0xe2, 0x69, 0x90, 0x04, 0x8b, 0xf4}),
              vec::pf);  // vpgatherdd xmm0,[rbx+xmm1*4],xmm2
    EXPECT_EQ(xmm(m, 0).low, 103 | u64{105} << 32);
    EXPECT_EQ(xmm(m, 2), (Xmm{0, 0xffffffff00000000}));
    set_xmm(m, 1, 3 | u64{5} << 32, 9 | u64{11} << 32);
    set_xmm(m, 2, ~u64{0}, 0x7fffffffffffffff);
    m.supervisor();
    EXPECT_EQ(m.run({0xc4, 0xe2, 0x69, 0x90, 0x04, 0x8b, 0xf4}), -1);
    EXPECT_EQ(xmm(m, 0), (Xmm{103 | u64{105} << 32, 109}));
    EXPECT_EQ(xmm(m, 2), (Xmm{0, 0}));
}

TEST(Vector, MaskedByteStore) {
    Machine m;
    m.gpr(rdi) = test::data_base;
    set_xmm(m, 0, 0x1122334455667788, 0);
    set_xmm(m, 1, 0x8000000000000080, 0);
    EXPECT_EQ(m.run({0x66, 0x0f, 0xf7, 0xc1, 0xf4}), -1);
    EXPECT_EQ(m.peek<u64>(test::data_base), 0x1100000000000088u);
}

/// Only x87 instructions change the last one's pointers, and one without a memory operand leaves FDP.
TEST(Vector, X87PointersAreTheLastX87Instructions) {
    Machine m;
    m.gpr(rbx) = test::data_base;
    // fninit; fld qword [rbx]; pxor mm0, mm0; fnstenv [rbx+64]; fld1; fnstenv [rbx+128]
    EXPECT_EQ(m.run({0xdb, 0xe3, 0xdd, 0x03, 0x0f, 0xef, 0xc0, 0xd9, 0x73, 0x40, 0xd9, 0xe8, 0xd9, 0xb3, 0x80,
                     0, 0, 0, 0xf4}),
              -1);
    EXPECT_EQ(m.peek<u32>(test::data_base + 64 + 12), test::code_base + 2);
    EXPECT_EQ(m.peek<u32>(test::data_base + 64 + 16), 0x5030000u);
    EXPECT_EQ(m.peek<u32>(test::data_base + 64 + 20), test::data_base);
    EXPECT_EQ(m.peek<u32>(test::data_base + 128 + 12), test::code_base + 10);
    EXPECT_EQ(m.peek<u32>(test::data_base + 128 + 16), 0x1e80000u);
    EXPECT_EQ(m.peek<u32>(test::data_base + 128 + 20), test::data_base);
}

/// On AMD's processors FXSAVE shows them while an unmasked exception is pending, on Intel's always.
TEST(Vector, X87PointersInFxsave) {
    Machine m;
    m.gpr(rbx) = test::data_base;
    // fninit; fld1; fdiv qword [rbx+1024]; fxsave64 [rbx]
    const auto code = {0xdb, 0xe3, 0xd9, 0xe8, 0xdc, 0xb3, 0, 4, 0, 0, 0x48, 0x0f, 0xae, 0x03, 0xf4};
    EXPECT_EQ(m.run(code), -1);
    const bool always = m.model.vendor() != "AuthenticAMD";
    EXPECT_EQ(m.peek<u64>(test::data_base + 8), always ? test::code_base + 4 : 0);
    EXPECT_EQ(m.peek<u64>(test::data_base + 16), always ? test::data_base + 1024 : 0);
    m.poke<u16>(test::data_base + 2048, 0x37b);
    // fldcw [rbx+2048]: the exception is pending from here; fxsave64 [rbx]
    EXPECT_EQ(m.run({0xd9, 0xab, 0, 8, 0, 0, 0x48, 0x0f, 0xae, 0x03, 0xf4}), -1);
    EXPECT_EQ(m.peek<u16>(test::data_base + 6), 0x4b3);
    EXPECT_EQ(m.peek<u64>(test::data_base + 8), test::code_base + 4);
    EXPECT_EQ(m.peek<u64>(test::data_base + 16), test::data_base + 1024);
}

}  // namespace
}  // namespace triune::hypervisor::soft::interp
