// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/bt/test_settings.h"

namespace triune::hypervisor::soft::bt {
namespace {

using namespace Xbyak::util;

/// AH to BH as a source with ESP as the destination: found by random programs against the host's processor.
TEST(SiliconRegressions, HighByteIntoEsp) {
    struct {
        std::initializer_list<u8> code;
        u64 rsp;
    } const cases[] = {
        {{0x0f, 0xb6, 0xe7, 0xf4}, 0x12},              // movzx esp, bh
        {{0x0f, 0xbe, 0xe7, 0xf4}, 0x12},              // movsx esp, bh
        {{0x89, 0xe0, 0x0f, 0xb6, 0xe5, 0xf4}, 0x56},  // mov eax, esp; movzx esp, ch
    };
    for (const auto& c : cases) {
        TestGuest guest;
        ASSERT_TRUE(guest.memory().write(TestGuest::code, c.code.begin(), c.code.size()));
        guest.state().gpr[x86::rbx] = 0x1234;
        guest.state().gpr[x86::rcx] = 0x5678;
        // Declined or translated: never wrong.
        if (guest.run()) {
            EXPECT_EQ(guest.state().gpr[x86::rsp], c.rsp);
        } else {
            EXPECT_EQ(guest.state().gpr[x86::rsp], TestGuest::stack_top);
        }
    }
}

/// The alignment of a vector operand is checked before its page is looked for: #GP, not #PF.
TEST(SiliconRegressions, UnalignedOperandInAMissingPage) {
    const std::initializer_list<u8> all[] = {
        {0x0f, 0x2b, 0x03},        // movntps [rbx], xmm0
        {0x0f, 0x58, 0x03},        // addps xmm0, [rbx]
        {0xc5, 0xfc, 0x2b, 0x03},  // vmovntps [rbx], ymm0
    };
    for (const auto& code : all) {
        TestGuest guest;
        ASSERT_TRUE(guest.memory().write(TestGuest::code, code.begin(), code.size()));
        guest.state().gpr[x86::rbx] = TestGuest::bytes + 0x1001;  // not mapped
        guest.state().rip = TestGuest::code;
        EXPECT_EQ(guest.translator().run(), cpu::EngineExit::declined) << "a page fault here shuts down";
        EXPECT_EQ(guest.state().rip, TestGuest::code);
    }
}

/// A 32-bit address wraps before the segment's base is added, not after.
TEST(SiliconRegressions, BitStringWithShortAddressAndSegmentBase) {
    TestGuest guest;
    const u8 btc[] = {0x67, 0x65, 0x0f, 0xbb, 0x31, 0xf4};  // btc gs:[ecx], esi
    ASSERT_TRUE(guest.memory().write(TestGuest::code, btc, sizeof btc));
    x86::VcpuState& s = guest.state();
    s.seg[x86::gs].base = TestGuest::data;
    s.gpr[x86::rcx] = 0xfffffff0;
    s.gpr[x86::rsi] = 0x81;  // bit 1 of the word 16 bytes on: the offset is 0 again
    EXPECT_TRUE(guest.run());
    EXPECT_EQ(guest.at<u32>(TestGuest::data), 2u);
    s.gpr[x86::rsi] = 0x61;  // 12 bytes on: 4 GB beyond the data, where nothing is
    s.rip = TestGuest::code;
    EXPECT_EQ(guest.translator().run(), cpu::EngineExit::shutdown);
    EXPECT_EQ(guest.at<u32>(TestGuest::data - 4), 0u);
}

/// A pending x87 exception goes before the page fault of the x87 or MMX instruction that waits for it: the
/// reference engine sorts it out. Other instructions do not wait.
TEST(SiliconRegressions, PendingX87ExceptionBeforeThePageFault) {
    for (const bool mmx : {true, false}) {
        TestGuest guest;
        Xbyak::CodeGenerator g;
        if (mmx) {
            g.psignb(g.mm7, g.ptr[g.rbx]);
        } else {
            g.mov(g.rax, g.ptr[g.rbx]);
        }
        guest.load(TestGuest::code, g);
        x86::VcpuState& s = guest.state();
        s.xsave[0] = 0x7e;                     // FCW: invalid operation is unmasked
        s.xsave[2] = 0x81, s.xsave[3] = 0x80;  // FSW: IE, ES, B
        s.xsave[512] = 1;                      // XSTATE_BV: x87
        s.gpr[x86::rbx] = u64{1} << 30;        // no page is there
        s.rip = TestGuest::code;
        EXPECT_EQ(guest.translator().run(), mmx ? cpu::EngineExit::declined : cpu::EngineExit::shutdown);
    }
}

/// What the processor model lacks is left to the reference engine, which raises #UD.
TEST(Models, TranslatedCodeSeesTheModelOnly) {
    const x86::CpuModel core2 = *x86::make_cpu_model("core2", 1);
    const std::initializer_list<u8> lacking[] = {
        {0x0f, 0x38, 0xf0, 0x03},        // movbe eax, [rbx]
        {0xc4, 0xe2, 0x70, 0xf2, 0xc2},  // andn eax, ecx, edx
        {0xf3, 0x0f, 0xb8, 0xc1},        // popcnt eax, ecx
        {0x66, 0x0f, 0x38, 0x39, 0xc1},  // pminsd xmm0, xmm1
    };
    for (const auto& code : lacking) {
        TestGuest guest;
        guest.context().model = &core2;
        ASSERT_TRUE(guest.memory().write(TestGuest::code, code.begin(), code.size()));
        EXPECT_FALSE(guest.run());
        EXPECT_EQ(guest.state().rip, TestGuest::code);
    }
    // TZCNT is BSF there, although the host has it: a source of 0 leaves the destination.
    const u8 tzcnt[] = {0xf3, 0x48, 0x0f, 0xbc, 0xc1, 0xf4};
    for (const bool as_bsf : {true, false}) {
        TestGuest guest;
        if (as_bsf) guest.context().model = &core2;
        ASSERT_TRUE(guest.memory().write(TestGuest::code, tzcnt, sizeof tzcnt));
        guest.state().gpr[x86::rax] = 0x1234;
        guest.state().gpr[x86::rcx] = 0;
        EXPECT_TRUE(guest.run());
        EXPECT_EQ(guest.state().gpr[x86::rax], as_bsf || !guest.context().model->has("bmi1") ? 0x1234u : 64u);
    }
}

}  // namespace
}  // namespace triune::hypervisor::soft::bt
