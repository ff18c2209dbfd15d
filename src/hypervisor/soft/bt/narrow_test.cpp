// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/bt/narrow.h"

#include "hypervisor/soft/bt/test_guest.h"

namespace triune::hypervisor::soft::bt {
namespace {

using Bytes = std::initializer_list<u8>;
constexpr Gpa data = TestGuest::data;
constexpr u32 flat_data = 0xc093, flat_code = 0xc09b, small_data = 0x4093;

/// 16- and 32-bit code. It lies at `code`, as an offset of CS too where CS is flat; ends in HLT.
class Narrow : public testing::TestWithParam<Options> {
protected:
    static constexpr u32 real_code = 0x10000, real_data = 0x20000, real_stack = 0x30000;

    TestGuest guest{GetParam()};
    x86::VcpuState& s = guest.state();
    u64& reg(unsigned g) { return s.gpr[g]; }

    void segment(unsigned n, u32 base, u32 limit, u32 attr) { s.seg[n] = {8, 0, attr, base, limit, 0}; }
    /// 32-bit code in flat segments, in compatibility mode.
    void flat32() {
        for (const unsigned n : {x86::es, x86::ss, x86::ds, x86::fs, x86::gs})
            segment(n, 0, 0xffffffff, flat_data);
        segment(x86::cs, 0, 0xffffffff, flat_code);
    }
    void real() {
        s.efer = 0;
        s.cr0 = x86::cr0::et;
        guest.mmu().flush_all();
        for (unsigned n = 0; n < 6; ++n) segment(n, real_data, 0xffff, 0x93);
        s.seg[x86::cs].base = real_code;
        s.seg[x86::ss].base = real_stack;
        reg(x86::rsp) = 0x8000;
    }
    void load(Gpa at, Bytes code) {
        ASSERT_TRUE(guest.memory().write(at, code.begin(), code.size()));
        guest.translator().invalidate(at, code.size());
    }
    /// True if it got to the HLT at its end.
    bool run_flat(Bytes code) {
        load(TestGuest::code, code);
        s.rip = TestGuest::code;
        const auto exit = guest.translator().run();
        return exit == cpu::EngineExit::declined && s.rip == TestGuest::code + code.size() - 1;
    }
    bool run_real(Bytes code) {
        load(real_code, code);
        s.rip = 0;
        const auto exit = guest.translator().run();
        return exit == cpu::EngineExit::declined && s.rip == code.size() - 1;
    }
    /// Where it was declined.
    u64 declined_at() {
        EXPECT_EQ(guest.translator().run(), cpu::EngineExit::declined);
        return s.rip;
    }
};
INSTANTIATE_TEST_SUITE_P(Settings, Narrow,
                         testing::Values(Options{}, Options{.max_instructions = 1}, Options{.chain = false},
                                         Options{.continue_after_calls = false, .merge_accesses = false},
                                         Options{.chain = false, .cache_registers = false},
                                         Options{.add_in_address = false, .poll_everywhere = true}));

TEST_P(Narrow, FlatCode) {
    flat32();
    guest.at<u32>(data) = 7;
    reg(x86::rax) = 0x1234567800000000;
    reg(x86::rbx) = 0xffffffff00000000 | data;
    ASSERT_TRUE(run_flat({0xb9, 0x0a, 0,    0,    0,  // mov ecx, 10
                          0x03, 0x03,                 // add eax, [ebx]
                          0x40,                       // inc eax
                          0x89, 0x43, 0x04,           // mov [ebx+4], eax
                          0x49,                       // dec ecx
                          0x75, 0xf7,                 // jnz
                          0x82, 0xc0, 0x01,           // add al, 1: an alias of 80
                          0xe8, 0x03, 0,    0,    0,  // call
                          0xeb, 0x05, 0x90,           // jmp
                          0x87, 0x43, 0x04, 0xc3,     // xchg eax, [ebx+4]; ret
                          0xf4}));
    EXPECT_EQ(reg(x86::rax), 80u);
    EXPECT_EQ(guest.at<u32>(data + 4), 81u);
    EXPECT_EQ(reg(x86::rcx), 0u);
    EXPECT_EQ(reg(x86::rbx), 0xffffffff00000000 | data) << "nothing wrote it";
    EXPECT_EQ(reg(x86::rsp), TestGuest::stack_top);
}

TEST_P(Narrow, PushesAndPopsOfBothSizes) {
    flat32();
    reg(x86::rax) = 0x11112222;
    reg(x86::rcx) = 0xaaaaaaaa33334444;
    s.seg[x86::fs].selector = 0x55;
    ASSERT_TRUE(run_flat({0x50, 0x51, 0x66, 0x50, 0x0f, 0xa0, 0x6a, 0xff,  // push eax, ecx, ax, fs, -1
                          0x5a, 0x5e, 0x66, 0x5f, 0x5b, 0x58,              // pop edx, esi, di, ebx, eax
                          0xf4}));
    EXPECT_EQ(reg(x86::rdx), 0xffffffffu);
    EXPECT_EQ(reg(x86::rsi), 0x55u);
    EXPECT_EQ(reg(x86::rdi) & 0xffff, 0x2222u);
    EXPECT_EQ(reg(x86::rbx), 0x33334444u);
    EXPECT_EQ(reg(x86::rax), 0x11112222u);
    EXPECT_EQ(reg(x86::rsp), TestGuest::stack_top);
}

TEST_P(Narrow, BasesAndLimitsAreThoseOfNow) {
    flat32();
    for (u32 k = 0; k < 3; ++k) {
        guest.at<u32>(data + k * 0x100) = 10 + k;
        segment(x86::gs, static_cast<u32>(data) + k * 0x100, 3, small_data);
        ASSERT_TRUE(run_flat({0x65, 0xa1, 0, 0, 0, 0, 0xf4}));  // mov eax, gs:[0]
        EXPECT_EQ(reg(x86::rax), 10u + k);
    }
    s.seg[x86::gs].limit = 2;
    s.rip = TestGuest::code;
    EXPECT_EQ(declined_at(), TestGuest::code);
    s.seg[x86::gs] = {0, 0, 0x10000, 0, 0, 0};
    s.rip = TestGuest::code;
    EXPECT_EQ(declined_at(), TestGuest::code) << "a null selector";
}

TEST_P(Narrow, WritesNeedWritableSegments) {
    flat32();
    reg(x86::rbx) = data;
    segment(x86::ds, 0, 0xffffffff, 0xc091);
    ASSERT_TRUE(run_flat({0x8b, 0x03, 0xf4}));
    load(TestGuest::code, {0x90, 0x89, 0x03});
    s.rip = TestGuest::code;
    EXPECT_EQ(declined_at(), TestGuest::code + 1);
    segment(x86::ds, 0, 0xfff, 0x4097);  // expands down: for the reference engine to judge
    s.rip = TestGuest::code;
    EXPECT_EQ(declined_at(), TestGuest::code + 1);
}

/// Found by random programs: as 64-bit code they clear YMM8-15 too.
TEST_P(Narrow, RegistersBeyondSevenStay) {
    flat32();
    const Bytes all[] = {{0x90, 0xc5, 0xf8, 0x77}, {0x90, 0xc5, 0xfc, 0x77}};  // vzeroupper, vzeroall
    for (const Bytes& code : all) {
        load(TestGuest::code, code);
        s.rip = TestGuest::code;
        EXPECT_EQ(declined_at(), TestGuest::code + 1);
    }
}

TEST_P(Narrow, CodeEndsWithItsSegment) {
    flat32();
    // jmp, jnz, call, ret and jmp eax to one byte beyond the limit are declined where they are.
    const u32 limit = TestGuest::code + 0x7f, beyond = limit + 1;
    segment(x86::cs, 0, limit, 0x409b);
    reg(x86::rax) = beyond;
    const Bytes all[] = {{0x90, 0xeb, 0x7d}, {0x90, 0x75, 0x7d}, {0x90, 0xe8, 0x7a, 0, 0, 0},
                         {0x90, 0xff, 0xe0}, {0x90, 0xff, 0xd0}, {0x50, 0xc3}};
    for (const Bytes& code : all) {
        load(TestGuest::code, code);
        s.rip = TestGuest::code;
        EXPECT_EQ(declined_at(), TestGuest::code + 1);
    }
    // What does not fit is not begun.
    load(limit - 2, {0x90, 0x90, 0x66, 0x90});
    s.rip = limit - 2;
    EXPECT_EQ(declined_at(), limit);
}

TEST_P(Narrow, ReturnsDoNotLandInAnotherMode) {
    // Called with SS.B set; the callee's caller is gone by the time of RET: the mode has changed.
    flat32();
    load(TestGuest::code, {0xe8, 0x0b, 0, 0, 0,  // call f
                           0x66, 0xb8, 1, 0,     // mov ax, 1 (in 16-bit code: mov eax, …)
                           0xf4});
    load(TestGuest::code + 0x10, {0xf4, 0xc3});  // f: hlt; ret
    s.rip = TestGuest::code;
    ASSERT_EQ(declined_at(), TestGuest::code + 0x10);
    segment(x86::ds, 0, 0xfffff, 0x4093);
    s.rip = TestGuest::code + 0x11;
    reg(x86::rax) = 0;
    EXPECT_EQ(declined_at(), TestGuest::code + 9);
    EXPECT_EQ(reg(x86::rax), 1u);
    // And as 64-bit code, which has other instructions there.
    s.rip = TestGuest::code;
    ASSERT_EQ(declined_at(), TestGuest::code + 0x10);
    s.seg[x86::cs].attr = 0xa09b;
    reg(x86::rsp) -= 4;
    guest.at<u64>(reg(x86::rsp)) = TestGuest::code + 9;
    s.rip = TestGuest::code + 0x11;
    EXPECT_EQ(declined_at(), TestGuest::code + 9);
}

TEST_P(Narrow, RealModeWrapsAt64K) {
    real();
    reg(x86::rbx) = 0xffff;
    reg(x86::rax) = 0x77771234;
    reg(x86::rsp) = 0x5555'0000;
    const u16 odd = 0xbeef;
    ASSERT_TRUE(guest.memory().write_value(real_data + 1, odd));
    ASSERT_TRUE(run_real({0x8b, 0x4f, 0x02,  // mov cx, [bx+2]
                          0x50,              // push ax: to SS:FFFE
                          0xf4}));
    EXPECT_EQ(reg(x86::rcx) & 0xffff, 0xbeefu);
    EXPECT_EQ(reg(x86::rsp), 0x5555'fffeu);
    EXPECT_EQ(guest.at<u16>(real_stack + 0xfffe), 0x1234u);
    // A word at the last byte is beyond the limit.
    load(real_code, {0x90, 0x8b, 0x07});
    s.rip = 0;
    EXPECT_EQ(declined_at(), 1u);
    // Big real mode: the limit is 4 GiB.
    s.seg[x86::ds].limit = 0xffffffff;
    reg(x86::rbx) = data - real_data;
    guest.at<u32>(data) = 0x12345678;
    ASSERT_TRUE(run_real({0x67, 0x66, 0x8b, 0x03, 0xf4}));  // mov eax, [ebx]
    EXPECT_EQ(reg(x86::rax), 0x12345678u);
}

TEST_P(Narrow, RangesThatWrap) {
    // Accesses a constant distance apart, on both sides of the end of the address space.
    real();
    s.seg[x86::ds].limit = 0xffffffff;
    guest.at<u16>(real_data + 0xfffe) = 1;
    guest.at<u16>(real_data) = 2;
    guest.at<u16>(real_data + 0x10000) = 99;
    reg(x86::rsi) = 0xfffe;
    ASSERT_TRUE(run_real({0x8b, 0x04, 0x8b, 0x4c, 0x02, 0xf4}));  // mov ax, [si]; mov cx, [si+2]
    EXPECT_EQ(reg(x86::rax) & 0xffff, 1u);
    EXPECT_EQ(reg(x86::rcx) & 0xffff, 2u);
    reg(x86::rsp) = 2;
    ASSERT_TRUE(run_real({0x50, 0x51, 0x5a, 0x5b, 0xf4}));  // push ax, cx; pop dx, bx
    EXPECT_EQ(reg(x86::rdx) & 0xffff, 2u);
    EXPECT_EQ(reg(x86::rbx) & 0xffff, 1u);
    EXPECT_EQ(guest.at<u16>(real_stack + 0xfffe), 2u);
    EXPECT_EQ(reg(x86::rsp), 2u);
}

TEST_P(Narrow, RealModeLoadsSegments) {
    real();
    guest.at<u16>(0x41230 + 2) = 0x1111;
    guest.at<u16>(0x51230 + 2) = 0x2222;
    guest.at<u32>(real_data + 8) = 0x5123'0002;
    reg(x86::rax) = 0xffff4123, reg(x86::rbx) = 2, reg(x86::rsi) = 8;
    ASSERT_TRUE(run_real({0x8e, 0xc0,        // mov es, ax
                          0x26, 0x8b, 0x0f,  // mov cx, es:[bx]
                          0x06, 0x0f, 0xa1,  // push es; pop fs
                          0x64, 0x03, 0x0f,  // add cx, fs:[bx]
                          0xc5, 0x3c,        // lds di, [si]
                          0x8b, 0x15,        // mov dx, [di]
                          0xf4}));
    EXPECT_EQ(reg(x86::rcx) & 0xffff, 0x2222u);
    EXPECT_EQ(reg(x86::rdx) & 0xffff, 0x2222u);
    EXPECT_EQ(s.seg[x86::es].base, 0x41230u);
    EXPECT_EQ(s.seg[x86::fs].selector, 0x4123u);
    EXPECT_EQ(s.seg[x86::ds].base, 0x51230u);
    EXPECT_EQ(reg(x86::rsp), 0x8000u);
    // Rights that protected mode has left are for the reference engine to change.
    s.seg[x86::gs].attr = 0x91;
    load(real_code, {0x90, 0x8e, 0xc0});
    s.rip = 0;
    EXPECT_EQ(declined_at(), 1u);
    s.seg[x86::gs].attr = 0x93;
    load(real_code, {0x90, 0x8e, 0xd0});  // SS holds interrupts off
    s.rip = 0;
    EXPECT_EQ(declined_at(), 1u);
}

TEST_P(Narrow, AllRegisters) {
    real();
    for (u8 r = 0; r < 8; ++r)
        if (r != x86::rsp) reg(r) = 0x10001u * r + 0x100;
    ASSERT_TRUE(
        run_real({0x60, 0x66, 0x60, 0x31, 0xc0, 0x31, 0xed, 0x66, 0x61, 0xf4}));  // xor ax, ax; xor bp, bp
    for (u8 r = 0; r < 8; ++r) {
        if (r != x86::rsp) {
            EXPECT_EQ(reg(r), 0x10001u * r + 0x100);
        }
    }
    EXPECT_EQ(reg(x86::rsp), 0x7ff0u);
    EXPECT_EQ(guest.at<u16>(real_stack + 0x7ff0), 0x107u) << "DI";
    EXPECT_EQ(guest.at<u16>(real_stack + 0x7ff6), 0x8000u) << "SP";
    EXPECT_EQ(guest.at<u16>(real_stack + 0x7ffe), 0x100u) << "AX";
    reg(x86::rsp) = 6;  // wraps
    load(real_code, {0x90, 0x60});
    s.rip = 0;
    EXPECT_EQ(declined_at(), 1u);
    reg(x86::rsp) = 0xfff4;
    load(real_code, {0x90, 0x61});
    s.rip = 0;
    EXPECT_EQ(declined_at(), 1u);
    EXPECT_EQ(reg(x86::rsp), 0xfff4u);
}

TEST_P(Narrow, CountsInCx) {
    real();
    reg(x86::rcx) = 0xabcd0003;
    reg(x86::rax) = 0;
    ASSERT_TRUE(run_real({0x40, 0xe2, 0xfd, 0xe3, 0x02, 0xb0, 9, 0xf4}));  // inc ax; loop; jcxz over
    EXPECT_EQ(reg(x86::rax), 3u);
    EXPECT_EQ(reg(x86::rcx), 0xabcd0000u);
}

TEST_P(Narrow, StringsInRealMode) {
    real();
    for (u32 n = 0; n < 0x100; ++n) guest.at<u8>(real_data + n) = static_cast<u8>(n);
    s.seg[x86::es].base = real_data + 0x2000;
    reg(x86::rsi) = 0x99990000, reg(x86::rdi) = 0x88880ff0, reg(x86::rcx) = 0x77770080;
    ASSERT_TRUE(run_real({0xf3, 0xa5, 0xf4}));  // rep movsw, across a page
    EXPECT_EQ(std::memcmp(&guest.at<u8>(real_data), &guest.at<u8>(real_data + 0x2ff0), 0x100), 0);
    EXPECT_EQ(reg(x86::rsi), 0x99990100u);
    EXPECT_EQ(reg(x86::rdi), 0x888810f0u);
    EXPECT_EQ(reg(x86::rcx), 0x77770000u);
    // Stops where the segment does.
    s.seg[x86::es].limit = 0x0fff;
    reg(x86::rdi) = 0xff0, reg(x86::rcx) = 0x80;
    load(real_code, {0xf3, 0xab});  // rep stosw
    s.rip = 0;
    EXPECT_EQ(declined_at(), 0u);
    EXPECT_EQ(reg(x86::rdi), 0x1000u);
    EXPECT_EQ(reg(x86::rcx), 0x78u);
}

TEST_P(Narrow, CallsOfBothSizesInRealMode) {
    real();
    reg(x86::rsp) = 0x8000;
    ASSERT_TRUE(run_real({0xe8, 0x07, 0,              // call 10
                          0x66, 0xe8, 0x04, 0, 0, 0,  // call dword 13
                          0xf4,                       // 9
                          0x43, 0xc3, 0x90,           // 10: inc bx; ret
                          0x43, 0x66, 0xc3, 0xf4}) == false);
    EXPECT_EQ(s.rip, 9u);
    EXPECT_EQ(reg(x86::rsp), 0x8000u);
}

TEST_P(Narrow, SignalsInterruptLoops) {
    real();
    load(real_code, {0x40, 0xeb, 0xfd});
    guest.context().signals.pending = 1;
    s.rip = 0;
    EXPECT_EQ(guest.translator().run(), cpu::EngineExit::signalled);
}

TEST_P(Narrow, BreakpointsAreLinearAddresses) {
    real();
    load(real_code, {0x40, 0x40, 0x40, 0xf4});
    guest.translator().set_breakpoints({real_code + 2});
    reg(x86::rax) = 0;
    s.rip = 0;
    EXPECT_EQ(declined_at(), 2u);
    EXPECT_EQ(reg(x86::rax), 2u);
}

TEST_P(Narrow, Virtual8086ModeLeavesSensitiveInstructionsAlone) {
    real();
    s.cr0 |= x86::cr0::pe;
    s.rflags |= x86::flag::vm;
    for (x86::Segment& seg : s.seg) seg.attr = 0xf3;
    const Bytes sensitive[] = {{0x40, 0xfa}, {0x40, 0xfb}, {0x40, 0x9c}, {0x40, 0x9d}, {0x40, 0xcf}};
    for (const Bytes& code : sensitive) {
        load(real_code, code);
        s.rip = 0;
        EXPECT_EQ(declined_at(), 1u);
    }
    // VEX is LES and LDS there.
    load(real_code, {0x40, 0xc5, 0xf8, 0x77});
    s.rip = 0;
    EXPECT_EQ(declined_at(), 1u);
}

TEST(NarrowModes, AreManyButBounded) {
    TestGuest guest;
    x86::VcpuState& s = guest.state();
    s.efer = 0;
    s.cr0 = x86::cr0::et;
    guest.mmu().flush_all();
    for (x86::Segment& seg : s.seg) seg = {8, 0, 0x93, 0, 0xffff, 0};
    const Bytes code{0x40, 0xf4};
    ASSERT_TRUE(guest.memory().write(TestGuest::code, code.begin(), code.size()));
    s.gpr[x86::rax] = 0;
    for (u32 n = 0; n < 10000; ++n) {
        s.seg[x86::cs].base = TestGuest::code - n;
        s.rip = n;
        ASSERT_EQ(guest.translator().run(), cpu::EngineExit::declined);
        ASSERT_EQ(s.rip, n + 1);
    }
    EXPECT_EQ(s.gpr[x86::rax], 10000u);
}

}  // namespace
}  // namespace triune::hypervisor::soft::bt
