// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/bt/test_settings.h"

namespace triune::hypervisor::soft::bt {
namespace {

using namespace Xbyak::util;

class BtMemory : public BtTest {};
INSTANTIATE_TEST_SUITE_P(Settings, BtMemory, bt_settings);

TEST_P(BtMemory, MemoryOperands) {
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

TEST_P(BtMemory, RunsOfPushesAndPops) {
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

TEST_P(BtMemory, BitStrings) {
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

TEST_P(BtMemory, AccessAcrossPagesIsDeclinedExactly) {
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

TEST_P(BtMemory, MisalignedVectorAccessComesBackAtTheInstruction) {
    a.mov(rbx, data + 8);
    const size_t at = a.getSize();
    a.movaps(xmm0, ptr[rbx]);
    guest.load(TestGuest::code, a);
    EXPECT_FALSE(guest.run());
    EXPECT_EQ(guest.state().rip, TestGuest::code + at);
}

TEST_P(BtMemory, StaleCodeIsDropped) {
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

TEST_P(BtMemory, WritesToCodeAreDeclined) {
    a.mov(rbx, TestGuest::code + 0x800);
    const size_t at = a.getSize();
    a.mov(byte[rbx], 1);
    guest.load(TestGuest::code, a);
    EXPECT_FALSE(guest.run());
    EXPECT_EQ(guest.state().rip, TestGuest::code + at);
}

/// What is known of the stack's page goes when the page's translation or the right to write to it goes.
TEST_P(BtMemory, TheStacksPageIsForgottenWithItsTranslation) {
    a.push(rax);
    a.pop(rbx);
    reg(0) = 1;
    ASSERT_TRUE(run());
    // Another page there.
    constexpr u64 page = (TestGuest::stack_top - 0x1000) >> 12;
    guest.at<u64>(0x4000 + page * 8) = 0x280063;
    // Another page may have taken the TLB entry meanwhile.
    const unsigned slot = mmu::Tlb::index(TestGuest::stack_top - 8);
    for (auto& set : guest.mmu().tlb().set)
        set[slot].read_tag = set[slot].write_tag = mmu::Tlb::invalid_tag(slot);
    guest.mmu().flush_page(TestGuest::stack_top - 8);
    reg(0) = 2;
    ASSERT_TRUE(guest.run());
    EXPECT_EQ(reg(3), 2u);
    EXPECT_EQ(guest.at<u64>(0x280ff8), 2u);
    EXPECT_EQ(guest.at<u64>(TestGuest::stack_top - 8), 1u);
    // Code in it: the reference engine writes there.
    guest.mmu().mark_code(0x280000);
    reg(0) = 3;
    EXPECT_FALSE(guest.run());
    EXPECT_EQ(guest.state().rip, TestGuest::code);
    EXPECT_EQ(reg(x86::rsp), TestGuest::stack_top);
    EXPECT_EQ(guest.at<u64>(0x280ff8), 2u);
}

TEST_P(BtMemory, StacksInManyPagesAndAcrossThem) {
    Xbyak::Label next;
    // Calls whose return address and locals lie in two pages, and a stack that moves by a page each time.
    a.mov(rsp, data + 0x8008);
    a.mov(ecx, 7);
    a.xor_(edx, edx);
    a.L(next);
    Xbyak::Label callee, over;
    a.call(callee);
    a.jmp(over);
    a.L(callee);
    a.push(rcx);
    a.push(rdx);
    a.mov(qword[rsp - 8], 5);
    a.add(rdx, ptr[rsp + 8]);
    a.add(rdx, ptr[rsp - 8]);
    a.pop(rbx);
    a.pop(rbx);
    a.ret();
    a.L(over);
    a.sub(rsp, 0x1000);
    a.dec(ecx);
    a.jnz(next);
    ASSERT_TRUE(run());
    EXPECT_EQ(reg(2), 7u * 8 / 2 + 7 * 5);
    EXPECT_EQ(reg(x86::rsp), data + 0x1008);
    for (u64 k = 0; k < 7; ++k) EXPECT_EQ(guest.at<u64>(data + 0x7ff8 - k * 0x1000), 7 - k);
}

/// An address that is not canonical never hits, not even that of an empty entry.
TEST_P(BtMemory, StacksThatAreNotCanonicalAreDeclined) {
    for (const u64 rsp : {u64{1} << 63, (u64{1} << 63) + 0x800, u64{0x800000000008}}) {
        start_again();
        a.push(rax);
        reg(x86::rsp) = rsp;
        EXPECT_FALSE(run());
        EXPECT_EQ(reg(x86::rsp), rsp);
        EXPECT_EQ(guest.state().rip, TestGuest::code);
    }
}

}  // namespace
}  // namespace triune::hypervisor::soft::bt
