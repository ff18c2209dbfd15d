// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/bt/test_settings.h"

namespace triune::hypervisor::soft::bt {
namespace {

using namespace Xbyak::util;

class Bt : public BtTest {};
INSTANTIATE_TEST_SUITE_P(Settings, Bt, bt_settings);

TEST_P(Bt, RegistersThatLiveInMemory) {
    a.mov(r10, 5);
    a.mov(r11, 7);
    a.mov(r15, r10);
    a.imul(r15, r11);
    a.lea(rax, ptr[r10 + r11 * 4 + 3]);
    a.add(r10b, r11b);
    a.xchg(r10, rcx);
    a.mov(r11d, 0xffffffff);
    a.shl(r11, 4);
    a.cmovz(r15d, eax);
    a.andn(rdx, r15, r11);
    ASSERT_TRUE(run());
    EXPECT_EQ(reg(15), 35u);
    EXPECT_EQ(reg(0), 36u);
    EXPECT_EQ(reg(1), 12u);
    EXPECT_EQ(reg(11), 0xffffffff0u);
    EXPECT_EQ(reg(2), 0xffffffff0u & ~u64{35});
}

TEST_P(Bt, FlagsSurviveMemoryAccesses) {
    guest.at<u64>(data) = ~u64{0};
    guest.at<u64>(data + 8) = ~u64{0};
    a.mov(rbx, data);
    a.mov(eax, 1);
    a.xor_(ecx, ecx);
    a.add(ptr[rbx], rax);      // carry out
    a.mov(rdx, ptr[rbx + 8]);  // a probe between
    a.adc(ptr[rbx + 8], rcx);  // carry in and out
    a.mov(rsi, ptr[rbx]);
    a.setc(dil);
    a.cmp(esi, 5);
    a.push(rsi);
    a.pop(r8);
    a.setl(r9b);
    ASSERT_TRUE(run());
    EXPECT_EQ(guest.at<u64>(data + 8), 0u);
    EXPECT_EQ(reg(7) & 0xff, 1u);
    EXPECT_EQ(reg(9) & 0xff, 1u);
}

TEST_P(Bt, OverflowFlagSurvives) {
    a.mov(rbx, data);
    a.mov(eax, 0x7fffffff);
    a.inc(eax);
    a.mov(ptr[rbx], rax);
    a.seto(cl);
    a.sets(dl);
    a.mov(eax, 1);
    a.sub(eax, 2);
    a.mov(ptr[rbx], rax);
    a.seto(sil);
    a.setc(dil);
    ASSERT_TRUE(run());
    EXPECT_EQ(reg(1) & 0xff, 1u);
    EXPECT_EQ(reg(2) & 0xff, 1u);
    EXPECT_EQ(reg(6) & 0xff, 0u);
    EXPECT_EQ(reg(7) & 0xff, 1u);
}

TEST_P(Bt, LoopsAndBranches) {
    Xbyak::Label top, done, again, none;
    a.xor_(eax, eax);
    a.mov(ecx, 1000);
    a.L(top);
    a.add(rax, rcx);
    a.dec(ecx);
    a.jnz(top);
    a.mov(ecx, 10);
    a.L(again);
    a.inc(rax);
    a.loop(again);
    a.jrcxz(none);
    a.mov(eax, 0);
    a.L(none);
    a.cmp(rax, 500510);
    a.je(done);
    a.mov(eax, 1);
    a.L(done);
    ASSERT_TRUE(run());
    EXPECT_EQ(reg(0), 500510u);
}

TEST_P(Bt, CallsAndReturns) {
    Xbyak::Label fib, small, end;
    a.mov(edi, 15);
    a.call(fib);
    a.jmp(end, Xbyak::CodeGenerator::T_NEAR);
    a.L(fib);
    a.cmp(edi, 2);
    a.jb(small);
    a.push(rbx);
    a.push(rdi);
    a.dec(edi);
    a.call(fib);
    a.mov(rbx, rax);
    a.pop(rdi);
    a.sub(edi, 2);
    a.call(fib);
    a.add(rax, rbx);
    a.pop(rbx);
    a.ret();
    a.L(small);
    a.mov(eax, edi);
    a.ret();
    a.L(end);
    ASSERT_TRUE(run());
    EXPECT_EQ(reg(0), 610u);
    EXPECT_EQ(reg(4), TestGuest::stack_top);
}

TEST_P(Bt, UnbalancedCallsOverflowTheShadowStack) {
    Xbyak::Label top, next;
    a.mov(ecx, 100000);
    a.L(top);
    a.call(next);
    a.L(next);
    a.pop(rax);
    a.dec(ecx);
    a.jnz(top);
    a.mov(rdx, 1);
    ASSERT_TRUE(run());
    EXPECT_EQ(reg(2), 1u);
    EXPECT_EQ(reg(4), TestGuest::stack_top);
}

TEST_P(Bt, ReturnsWithoutCallsAndIndirectJumps) {
    Xbyak::Label top, target, out, f;
    a.mov(ecx, 2000);
    a.lea(rbx, ptr[rip + target]);
    a.L(top);
    a.push(rbx);
    a.ret();
    a.L(target);
    a.lea(r10, ptr[rip + f]);
    a.call(r10);
    a.dec(ecx);
    a.jz(out);
    a.lea(r15, ptr[rip + top]);
    a.mov(ptr[rsp - 64], r15);
    a.jmp(ptr[rsp - 64]);
    a.L(f);
    a.inc(rsi);
    a.ret();
    a.L(out);
    reg(6) = 0;
    ASSERT_TRUE(run());
    EXPECT_EQ(reg(6), 2000u);
}

TEST_P(Bt, VectorStateIsTheGuests) {
    for (int i = 0; i < 8; ++i) guest.at<float>(data + static_cast<u64>(i) * 4) = static_cast<float>(i);
    a.mov(rbx, data);
    a.vmovups(ymm3, ptr[rbx]);
    a.vaddps(ymm4, ymm3, ptr[rbx]);
    a.vmovups(ptr[rbx + 64], ymm4);
    a.movups(xmm1, ptr[rbx]);
    a.mulps(xmm1, xmm1);
    a.movups(ptr[rbx + 32], xmm1);
    a.fld(dword[rbx + 8]);
    a.fadd(dword[rbx + 12]);
    a.fstp(dword[rbx + 128]);
    ASSERT_TRUE(run());
    for (u64 i = 0; i < 8; ++i) EXPECT_EQ(guest.at<float>(data + 64 + i * 4), 2.0f * static_cast<float>(i));
    EXPECT_EQ(guest.at<float>(data + 32 + 12), 9.0f);
    EXPECT_EQ(guest.at<float>(data + 128), 5.0f);
    EXPECT_EQ(guest.context().vector_state_live, 0);
    EXPECT_EQ(guest.state().xsave[512] & 6, 6) << "SSE and AVX state are not initial any more";
}

TEST_P(Bt, DivideErrorComesBackAtTheInstruction) {
    a.mov(eax, 1);
    a.xor_(edx, edx);
    a.xor_(ecx, ecx);
    const size_t at = a.getSize();
    a.div(ecx);
    guest.load(TestGuest::code, a);
    EXPECT_FALSE(guest.run());
    EXPECT_EQ(guest.state().rip, TestGuest::code + at);
    EXPECT_EQ(reg(0), 1u);
    EXPECT_TRUE(guest.state().rflags & x86::flag::zf) << "flags of the XOR before it";
}

TEST_P(Bt, SignalsInterruptLoops) {
    Xbyak::Label top;
    a.L(top);
    a.inc(rax);
    a.jmp(top);
    guest.load(TestGuest::code, a);
    guest.context().signals.pending = 1;
    guest.state().rip = TestGuest::code;
    EXPECT_EQ(guest.translator().run(), cpu::EngineExit::signalled);
}

TEST_P(Bt, InstructionsAcrossPages) {
    // A loop whose body has an instruction that begins in one page and ends in the next.
    Xbyak::Label top;
    a.mov(ecx, 100);
    a.xor_(eax, eax);
    a.jmp(top, Xbyak::CodeGenerator::T_NEAR);
    a.nop(4096 - 2 - a.getSize());
    a.L(top);
    a.add(rax, 0x1234567);
    a.dec(ecx);
    a.jnz(top);
    ASSERT_TRUE(run());
    EXPECT_EQ(reg(0), 0x1234567u * 100);
    // The second half changes: the block goes, whichever page the write hits.
    guest.at<u8>(TestGuest::code + 0x1000) = 0x68;
    guest.translator().invalidate(TestGuest::code + 0x1000, 1);
    ASSERT_TRUE(guest.run());
    EXPECT_NE(reg(0), 0x1234567u * 100);
}

TEST_P(Bt, PagesThatShareACookieSlot) {
    // Two calls across pages whose cookies lie in one slot, each an instruction that crosses a page.
    constexpr Gpa far = TestGuest::code + 0x1000 * 512;
    Xbyak::Label top;
    a.mov(ecx, 50);
    a.mov(r8d, TestGuest::code + 0x1000 - 2);
    a.mov(r9d, far + 0x1000 - 2);
    a.L(top);
    a.call(r8);
    a.call(r9);
    a.dec(ecx);
    a.jnz(top);
    a.hlt();
    Asm f;
    f.add(rax, 0x1234567);
    f.ret();
    guest.load(TestGuest::code, a);
    guest.load(TestGuest::code + 0x1000 - 2, f);
    guest.load(far + 0x1000 - 2, f);
    ASSERT_TRUE(guest.run());
    EXPECT_EQ(reg(0), 0x1234567u * 100);
}

// Blocks that only decline (HLT) take no code, but 8 MiB bound their tables as well.
/// The same code jumps to the same address in two address spaces, where the one overwrites all flags first
/// and the other reads them.
TEST_P(Bt, FlagsReachCodeOfAnotherAddressSpace) {
    constexpr Gpa first = TestGuest::code, one = 0x110000, other = 0x120000, far_page = first + 0x1000;
    const auto map_far_page = [&](Gpa gpa) {
        guest.at<u64>(0x4000 + (far_page >> 12) * 8) = gpa | 0x63;
        guest.mmu().flush_page(far_page);
    };
    a.xor_(edi, edi);
    a.cmp(rax, rbx);
    a.db(0xe9);
    a.dd(static_cast<u32>(far_page - (first + a.getSize() + 4)));
    guest.load(first, a);
    Asm overwrites, reads;
    overwrites.test(rdi, rdi);
    overwrites.sete(cl);
    overwrites.hlt();
    guest.load(one, overwrites);
    reads.setc(cl);
    reads.setl(dl);
    reads.hlt();
    guest.load(other, reads);
    map_far_page(one);
    for (int n = 0; n < 3; ++n) {
        reg(x86::rax) = 5, reg(x86::rbx) = 3;
        guest.run();
        EXPECT_EQ(reg(x86::rcx), 1u);
    }
    map_far_page(other);
    reg(x86::rax) = 3, reg(x86::rbx) = 5;
    guest.run();
    EXPECT_EQ(reg(x86::rcx), 1u);
    EXPECT_EQ(reg(x86::rdx), 1u);
}

TEST_P(Bt, TablesCountAgainstTheBoundOfTheCodeCache) {
    std::memset(guest.memory().host(TestGuest::code, 128 << 10), 0xf4, 128 << 10);
    const u64 flushes = guest.context().counters.get(observe::Counter::code_flushes);
    for (u64 i = 0; i < 128 << 10; ++i) ASSERT_TRUE(guest.run(TestGuest::code + i));
    EXPECT_GE(guest.context().counters.get(observe::Counter::code_flushes) - flushes, 2u);
}

TEST_P(Bt, PushfShowsFlagsFromBothPlaces) {
    guest.state().rflags |= x86::flag::if_;
    a.mov(eax, 0x7fffffff);
    a.inc(eax);  // OF, SF, AF, PF
    a.stc();
    a.pushfq();
    a.pop(rcx);
    a.cli();
    a.std();
    a.pushfq();
    a.pop(rdx);
    a.cld();
    ASSERT_TRUE(run());
    using namespace x86::flag;
    EXPECT_EQ(reg(1), fixed | if_ | of | sf | af | pf | cf);
    EXPECT_EQ(reg(2), fixed | df | of | sf | af | pf | cf);
    EXPECT_EQ(guest.state().rflags & (df | if_), 0u);
}

TEST_P(Bt, CarryChainLoop) {
    // The loop's flags live around the back edge: ADC reads what the last round left.
    Xbyak::Label top;
    a.mov(rbx, data);
    a.mov(ecx, 4);
    a.stc();
    a.L(top);
    a.adc(qword[rbx], 0);
    a.lea(rbx, ptr[rbx + 8]);
    a.dec(ecx);
    a.jnz(top);
    a.setc(al);
    for (u64 i = 0; i < 4; ++i) guest.at<u64>(data + i * 8) = i < 3 ? ~u64{0} : 5;
    ASSERT_TRUE(run());
    EXPECT_EQ(guest.at<u64>(data), 0u);
    EXPECT_EQ(guest.at<u64>(data + 16), 0u);
    EXPECT_EQ(guest.at<u64>(data + 24), 6u);
    EXPECT_EQ(reg(0) & 0xff, 0u);
}

}  // namespace
}  // namespace triune::hypervisor::soft::bt
