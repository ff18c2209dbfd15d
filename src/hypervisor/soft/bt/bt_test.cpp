// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/bt/test_guest.h"

namespace triune::hypervisor::soft::bt {
namespace {

using namespace Xbyak::util;
using x86::Gpr;
constexpr Gpa data = TestGuest::data;

struct Asm : Xbyak::CodeGenerator {
    Asm() : CodeGenerator(16384) {}
};

/// Every behaviour holds with whole blocks, with single instructions, and without chaining.
class Bt : public testing::TestWithParam<Options> {
protected:
    TestGuest guest{GetParam()};
    Asm a;
    u64& reg(unsigned g) { return guest.state().gpr[g]; }
    bool run() {
        a.hlt();
        guest.load(TestGuest::code, a);
        return guest.run();
    }
};
INSTANTIATE_TEST_SUITE_P(Settings, Bt,
                         testing::Values(Options{}, Options{.max_instructions = 1}, Options{.chain = false},
                                         Options{.continue_after_calls = false, .merge_accesses = false},
                                         Options{.chain = false, .cache_registers = false},
                                         Options{.add_in_address = false, .poll_everywhere = true}));

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

TEST_P(Bt, MemoryOperands) {
    guest.at<u64>(data) = 0x1122334455667788;
    a.mov(rbx, data);
    a.mov(r10, rbx);
    a.mov(ecx, 8);
    a.mov(rax, ptr[rbx]);
    a.mov(ptr[r10 + rcx * 2], rax);
    a.add(dword[rbx + 16], 1);
    a.movzx(r15d, word[r10 + 2]);
    a.mov(ah, byte[rbx]);
    a.mov(byte[rbx + 32], ah);
    a.lock();
    a.xadd(ptr[rbx + 16], r15);
    a.mov(r11, 0x99);
    a.cmpxchg(ptr[rbx], r11);
    a.mov(rsi, ptr[rbx]);
    ASSERT_TRUE(run());
    EXPECT_EQ(guest.at<u64>(data + 16), 0x1122334455667789u + 0x5566);
    EXPECT_EQ(reg(15), 0x1122334455667789u);
    EXPECT_EQ(guest.at<u8>(data + 32), 0x88);
    EXPECT_EQ(reg(6), 0x1122334455667788u);
    EXPECT_EQ(reg(0), 0x1122334455667788u);
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

TEST_P(Bt, RunsOfPushesAndPops) {
    // Through a page boundary of the stack, where one probe does not cover the run.
    for (const u64 sp : {TestGuest::stack_top, TestGuest::stack_top - 0x1000 + 0x18}) {
        Asm b;
        b.mov(rsp, sp);
        b.mov(eax, 1);
        b.mov(r10d, 2);
        b.mov(r15d, 3);
        b.mov(ebp, 4);
        b.cmp(eax, 1);  // flags live through the pushes
        b.push(rax);
        b.push(r10);
        b.push(r15);
        b.push(5);
        b.push(rbp);
        b.sete(bl);
        b.pop(rcx);
        b.pop(r11);
        b.pop(rsi);
        b.pop(r10);
        b.pop(r15);
        b.hlt();
        guest.load(TestGuest::code, b);
        guest.translator().invalidate(TestGuest::code, 4096);
        ASSERT_TRUE(guest.run());
        EXPECT_EQ(reg(1), 4u);
        EXPECT_EQ(reg(11), 5u);
        EXPECT_EQ(reg(6), 3u);
        EXPECT_EQ(reg(10), 2u);
        EXPECT_EQ(reg(15), 1u);
        EXPECT_EQ(reg(3) & 0xff, 1u);
        EXPECT_EQ(reg(4), sp);
    }
}

TEST_P(Bt, BitStrings) {
    a.mov(rbx, data + 0x100);
    a.mov(rax, static_cast<u64>(-70));
    a.lock();
    a.bts(ptr[rbx], rax);
    a.mov(r11d, 100);
    a.bts(dword[rbx], r11d);
    a.bt(ptr[rbx], r11);
    a.setc(cl);
    a.btr(ptr[rbx], rax);
    a.setc(dl);
    ASSERT_TRUE(run());
    EXPECT_EQ(guest.at<u64>(data + 0x100 - 16), 0u);
    EXPECT_EQ(guest.at<u64>(data + 0x108), u64{1} << 36);
    EXPECT_EQ(reg(1) & 0xff, 1u);
    EXPECT_EQ(reg(2) & 0xff, 1u);
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

TEST_P(Bt, AccessAcrossPagesIsDeclinedExactly) {
    a.mov(rbx, data + 0xffc);
    a.mov(ecx, 3);
    const size_t at = a.getSize();
    a.mov(rax, ptr[rbx]);
    a.hlt();
    guest.load(TestGuest::code, a);
    EXPECT_FALSE(guest.run());
    EXPECT_EQ(reg(1), 3u);
    EXPECT_EQ(guest.state().rip, TestGuest::code + at);
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

TEST_P(Bt, MisalignedVectorAccessComesBackAtTheInstruction) {
    a.mov(rbx, data + 8);
    const size_t at = a.getSize();
    a.movaps(xmm0, ptr[rbx]);
    guest.load(TestGuest::code, a);
    EXPECT_FALSE(guest.run());
    EXPECT_EQ(guest.state().rip, TestGuest::code + at);
}

TEST_P(Bt, StaleCodeIsDropped) {
    a.mov(eax, 1);
    a.hlt();
    guest.load(TestGuest::code, a);
    ASSERT_TRUE(guest.run());
    EXPECT_EQ(reg(0), 1u);
    guest.at<u8>(TestGuest::code + 1) = 2;
    guest.translator().invalidate(TestGuest::code + 1, 1);
    ASSERT_TRUE(guest.run());
    EXPECT_EQ(reg(0), 2u);
}

TEST_P(Bt, WritesToCodeAreDeclined) {
    a.mov(rbx, TestGuest::code + 0x800);
    const size_t at = a.getSize();
    a.mov(byte[rbx], 1);
    guest.load(TestGuest::code, a);
    EXPECT_FALSE(guest.run());
    EXPECT_EQ(guest.state().rip, TestGuest::code + at);
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

TEST_P(Bt, StringInstructions) {
    for (u64 i = 0; i < 10000; ++i) guest.at<u8>(data + i) = static_cast<u8>(i * 7);
    a.mov(rsi, data + 3);
    a.mov(rdi, data + 0x4005);
    a.mov(ecx, 9000);
    a.rep();
    a.movsb();
    a.mov(r8, rdi);
    a.mov(eax, 0x5a5a5a5a);
    a.mov(rdi, data + 0x8008);
    a.mov(ecx, 5000);
    a.rep();
    a.stosd();
    a.movsb();
    ASSERT_TRUE(run());
    EXPECT_EQ(memcmp(&guest.at<u8>(data + 3), &guest.at<u8>(data + 0x4005), 9000), 0);
    EXPECT_EQ(reg(8), data + 0x4005 + 9000);
    EXPECT_EQ(guest.at<u32>(data + 0x8008 + 4 * 4999), 0x5a5a5a5au);
    EXPECT_EQ(reg(1), 0u);
    EXPECT_EQ(reg(6), data + 3 + 9001);
    EXPECT_EQ(reg(7), data + 0x8008 + 20000 + 1);
}

TEST_P(Bt, StringInstructionsDownwards) {
    std::vector<u8> wanted(0x9000);
    for (u64 i = 0; i < wanted.size(); ++i)
        guest.at<u8>(data + i) = wanted[i] = static_cast<u8>(i * 11 + i / 256);
    // Overlapping, over pages, by eights that never cross one; then by ones; then stored.
    a.std();
    a.mov(rsi, data + 0x3ff8);
    a.mov(rdi, data + 0x4ff8);
    a.mov(ecx, 0x700);
    a.rep();
    a.movsq();
    a.mov(r8, rsi);
    a.mov(r9, rdi);
    a.mov(rsi, data + 0x7005);
    a.mov(rdi, data + 0x8002);
    a.mov(ecx, 0x1234);
    a.rep();
    a.movsb();
    a.mov(eax, 0x12345678);
    a.mov(rdi, data + 0x8ffc);
    a.mov(ecx, 20);
    a.rep();
    a.stosd();
    a.cld();
    ASSERT_TRUE(run());
    for (u64 k = 0; k < 0x700; ++k) std::memcpy(&wanted[0x4ff8 - 8 * k], &wanted[0x3ff8 - 8 * k], 8);
    for (u64 k = 0; k < 0x1234; ++k) wanted[0x8002 - k] = wanted[0x7005 - k];
    const u32 stored = 0x12345678;
    for (u64 k = 0; k < 20; ++k) std::memcpy(&wanted[0x8ffc - 4 * k], &stored, 4);
    EXPECT_EQ(std::memcmp(wanted.data(), &guest.at<u8>(data), wanted.size()), 0);
    EXPECT_EQ(reg(8), data + 0x3ff8 - 8 * 0x700);
    EXPECT_EQ(reg(9), data + 0x4ff8 - 8 * 0x700);
    EXPECT_EQ(reg(1), 0u);
    EXPECT_EQ(reg(7), data + 0x8ffc - 4 * 20);
    // An element that crosses a page is left to the reference engine, where it is.
    a.reset();
    a.std();
    a.mov(rdi, data + 0x2004);
    a.mov(ecx, 4);
    a.rep();
    a.stosq();
    guest.load(TestGuest::code, a);
    guest.translator().invalidate(TestGuest::code, page_size);
    EXPECT_FALSE(guest.run());
    EXPECT_EQ(reg(1), 3u);
    EXPECT_EQ(reg(7), data + 0x1ffc);
}

TEST_P(Bt, PageFaultInTheMiddleOfAString) {
    guest.state().idtr = {0, 0, 0};  // no IDT: the fault cannot be delivered
    a.mov(rdi, TestGuest::bytes - 0x1000);
    a.mov(ecx, 0x3000);
    a.rep();
    a.stosb();
    guest.load(TestGuest::code, a);
    guest.state().rip = TestGuest::code;
    EXPECT_EQ(guest.translator().run(), cpu::EngineExit::shutdown);
    EXPECT_EQ(reg(1), 0x2000u);
    EXPECT_EQ(reg(7), TestGuest::bytes);
    EXPECT_EQ(guest.state().cr2, TestGuest::bytes);
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
