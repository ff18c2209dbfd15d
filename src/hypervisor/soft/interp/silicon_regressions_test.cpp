// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
/// Differences from the host's processor that random programs (tests/differential/cpu) once found.
#include <gtest/gtest.h>

#include "hypervisor/soft/interp/test_machine.h"
#include "hypervisor/soft/interp/vector_state.h"

namespace triune::hypervisor::soft::interp {
namespace {

using test::Machine;

/// REP INS and OUTS with a count of 0 ask for the right to the port.
TEST(SiliconRegressions, NoPortIoAtAllWithoutTheRight) {
    Machine m;
    m.poke<u16>(test::tss + 0x66, 0xffff);
    for (const int opcode : {0x6c, 0x6d, 0x6e, 0x6f}) {
        m.user();
        m.gpr(x86::rcx) = 0;
        EXPECT_EQ(m.run({0xf3, opcode, 0x0f, 0x0b}), x86::vec::gp) << std::hex << opcode;
    }
    m.supervisor();
    EXPECT_EQ(m.run({0xf3, 0x6d, 0x0f, 0x0b}), x86::vec::ud) << "CPL 0 needs none";
}

/// FNDISI, FNENI and FNSETPM do not wait for a pending exception.
TEST(SiliconRegressions, OldX87NopsDoNotWait) {
    for (const int opcode : {0xe0, 0xe1, 0xe4}) {
        Machine m;
        VectorState v(m.state());
        v.settle(VectorState::x87_bit);
        v.set<u16>(VectorState::fcw, 0x37e);
        v.set<u16>(VectorState::fsw, 0x8081);
        EXPECT_EQ(m.run({0xdb, opcode, 0xd9, 0xc0}), x86::vec::mf);
        EXPECT_EQ(m.peek<u64>(m.state().gpr[x86::rsp]), test::code_base + 2) << "the FLD behind it waits";
    }
}

/// An instruction with MMX operands that raises #XM has entered MMX mode all the same.
TEST(SiliconRegressions, SimdExceptionAfterMmxModeIsEntered) {
    Machine m;
    VectorState v(m.state());
    v.settle(7);
    v.set<u16>(VectorState::fsw, 0x3000);
    v.set_mxcsr(0x1f80 & ~0x1000u);  // inexact is unmasked
    const u64 not_a_float = 0x7fffffff;
    std::memcpy(v.area + VectorState::st + 2 * 16, &not_a_float, 8);  // MM0, with TOP 6
    EXPECT_EQ(m.run({0x0f, 0x2a, 0xc8}), x86::vec::xm) << "cvtpi2ps xmm1, mm0";
    EXPECT_EQ(v.status() & 0x3800, 0);
    EXPECT_EQ(v.get<u8>(VectorState::ftw), 0xff);
    EXPECT_EQ(v.get<u64>(VectorState::st), not_a_float) << "turned with TOP";
}

/// An unmasked overflow is inexact only if the significand was rounded, which the masked one never shows.
TEST(SiliconRegressions, ExactUnmaskedSimdOverflow) {
    Machine m;
    VectorState v(m.state());
    v.settle(6);
    v.set_mxcsr(0x1f80 & ~0x400u);                            // overflow is unmasked
    const u64 exact = u64{0x7fe} << 52, inexact = exact | 1;  // both beyond single precision
    v.set<u64>(VectorState::xmm, exact);
    EXPECT_EQ(m.run({0x66, 0x0f, 0x5a, 0xc0}), x86::vec::xm) << "cvtpd2ps xmm0, xmm0";
    EXPECT_EQ(v.mxcsr() & 0x3f, 8u);
    EXPECT_EQ(v.get<u64>(VectorState::xmm), exact) << "nothing was written";
    v.set_mxcsr(0x1f80 & ~0x400u);
    v.set<u64>(VectorState::xmm, inexact);
    EXPECT_EQ(m.run({0x66, 0x0f, 0x5a, 0xc0}), x86::vec::xm);
    EXPECT_EQ(v.mxcsr() & 0x3f, 0x28u);
}

/// REPNE SCAS that faults at once leaves RCX alone; with 32-bit addresses writing ECX would clear its upper
/// half.
TEST(SiliconRegressions, FaultInTheFirstIterationLeavesTheCount) {
    for (const int opcode : {0xaf, 0xa7, 0xa5, 0xab, 0xad}) {
        Machine m;
        m.gpr(x86::rcx) = 0x123456789;
        m.gpr(x86::rdi) = m.gpr(x86::rsi) = 0x3fffff000;  // nothing is mapped at 0xfffff000
        EXPECT_EQ(m.run({0x67, 0xf2, opcode, 0xf4}), x86::vec::pf) << std::hex << opcode;
        EXPECT_EQ(m.gpr(x86::rcx), 0x123456789u);
        EXPECT_EQ(m.gpr(x86::rdi), 0x3fffff000u);
    }
}

/// ARPL that changes nothing writes nothing (test386.asm, test 17).
TEST(SuiteRegressions, ArplOfReadOnlyMemory) {
    Machine m;
    m.protected32();
    m.state().seg[x86::ds].attr &= ~2u;
    m.gpr(x86::rcx) = test::data_base;
    m.gpr(x86::rbx) = 2;
    m.poke<u16>(test::data_base, 0xfff3);
    EXPECT_EQ(m.run({0x63, 0x19, 0xf4}), -1) << "arpl [ecx], bx";
    EXPECT_FALSE(m.state().rflags & x86::flag::zf);
    m.poke<u16>(test::data_base, 0xfff0);
    EXPECT_NE(m.run({0x63, 0x19, 0xf4}), -1) << "a fault";
    EXPECT_EQ(m.peek<u16>(test::data_base), 0xfff0);
}

/// A data breakpoint that MOV SS has put off comes with the INT1 behind it, and not once more in its handler
/// (kvm-unit-tests debug).
TEST(SuiteRegressions, Int1TakesWhatMovSsHasPutOff) {
    Machine m;
    m.poke<u16>(test::data_base, test::kernel_ss);
    m.gpr(x86::rbx) = test::data_base;
    m.state().dr[0] = test::data_base;
    m.state().dr[7] = 0x000f0402;  // 4 bytes, read or write
    m.mmu.flush_all();
    EXPECT_EQ(m.run({0x8e, 0x13, 0xf1, 0xf4}), x86::vec::db) << "mov ss, [rbx]; int1";
    EXPECT_EQ(m.state().gpr[x86::rsp], test::stack_top - 40) << "one frame";
    EXPECT_EQ(m.state().dr[6] & 0xf, 1u);
}

/// MOV SS keeps Intel's processors from seeing the breakpoint on the instruction behind it, AMD's not
/// (kvm-unit-tests emulator).
TEST(SuiteRegressions, InstructionBreakpointBehindMovSs) {
    for (const char* cpu : {"host", "core2"}) {
        Machine m(cpu);
        const bool amd = m.model.lookup(0, 0).ecx == 0x444d4163;
        m.gpr(x86::rax) = test::kernel_ss;
        m.state().dr[0] = test::code_base + 2;
        m.state().dr[7] = 0x402;
        EXPECT_EQ(m.run({0x8e, 0xd0, 0x90, 0xf4}), amd ? x86::vec::db : -1) << cpu;
    }
}

/// C1 and the result of an x87 instruction with an unmasked exception are the processor's.
TEST(SiliconRegressions, UnmaskedX87OverflowWrapsTheExponent) {
    Machine m;
    VectorState v(m.state());
    v.settle(VectorState::x87_bit);
    v.set<u16>(VectorState::fcw, 0x377);  // overflow is unmasked
    v.set<u8>(VectorState::ftw, 0xc0);
    v.set<u16>(VectorState::fsw, 0x3000);  // TOP 6
    const u64 one = u64{1} << 63;
    const u16 largest = 0x7ffe;
    for (unsigned n = 0; n < 2; ++n) {
        std::memcpy(v.area + VectorState::st + n * 16, &one, 8);
        std::memcpy(v.area + VectorState::st + n * 16 + 8, &largest, 2);
    }
    EXPECT_EQ(m.run({0xd8, 0xc9, 0xf4}), -1) << "fmul st0, st1";
    EXPECT_EQ(v.status() & 0x8088, 0x8088) << "pending";
    EXPECT_EQ(v.get<u16>(VectorState::st + 8), static_cast<u16>(2 * 0x7ffe - 0x3fff - 24576))
        << "the exponent less 24576 (Intel SDM 1 8.5.4)";
}

}  // namespace
}  // namespace triune::hypervisor::soft::interp
