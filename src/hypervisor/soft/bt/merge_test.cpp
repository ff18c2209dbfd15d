// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/bt/merge.h"

#include "hypervisor/soft/bt/test_guest.h"

namespace triune::hypervisor::soft::bt {
namespace {

using namespace Xbyak::util;

struct Asm : Xbyak::CodeGenerator {
    Asm() : CodeGenerator(4096) {}
};

/// What AccessPlanner says of a piece of code, as "group.offset" of each access, leaders with "*bytes".
std::string plan(const Asm& a, unsigned slots = 16) {
    std::vector<x86::Insn> insns;
    std::vector<Treatment> treatment;
    for (size_t at = 0; at < a.getSize();) {
        x86::Insn insn;
        const std::span code(a.getCode() + at, a.getSize() - at);
        if (x86::decode(code, x86::CodeSize::bits64, insn) != x86::DecodeStatus::ok) return "not decoded";
        insns.push_back(insn);
        treatment.push_back(classify(insn, mmu::TlbMode::user, nullptr));
        at += insn.length;
    }
    std::string text;
    AccessPlanner planner;
    for (const auto& kinds : planner.plan(insns, treatment, 0x1000, nullptr, slots))
        for (const AccessPlan& p : kinds)
            if (p.group >= 0)
                text += (text.empty() ? "" : " ") + std::to_string(p.group) + "." + std::to_string(p.offset) +
                        (p.leader ? "*" + std::to_string(p.bytes) : "");
    return text;
}

TEST(Merge, AccessesThroughOneBase) {
    Asm a;
    a.mov(rax, ptr[rbx + 8]);
    a.mov(ecx, ptr[rbx + 32]);
    a.mov(dl, ptr[rbx]);
    EXPECT_EQ(plan(a), "0.8*36 0.32 0.0");
}

TEST(Merge, ConstantsAddedToTheBaseAreFollowed) {
    Asm a;
    a.mov(rax, ptr[rbx]);
    a.add(rbx, 8);
    a.mov(rcx, rbx);
    a.inc(rcx);
    a.mov(dl, ptr[rcx]);
    a.lea(rsi, ptr[rbx + 16]);
    a.mov(edi, ptr[rsi - 4]);
    a.mov(rbx, ptr[rbx]);
    a.mov(rbx, ptr[rbx]);  // another base
    EXPECT_EQ(plan(a), "0.0*24 0.9 0.20 0.8");
}

TEST(Merge, NarrowResultsAreOtherBases) {
    Asm a;
    a.mov(rax, ptr[rbx]);
    a.add(ebx, 8);
    a.mov(rax, ptr[rbx]);
    a.lea(ebx, ptr[rbx + 8]);
    a.mov(rax, ptr[rbx]);
    a.mov(bl, 8);
    a.mov(rax, ptr[rbx]);
    EXPECT_EQ(plan(a), "");
}

TEST(Merge, IndexAndScaleAndSegmentBelongToTheBase) {
    Asm a;
    a.mov(al, ptr[rbx + rcx * 2]);
    a.mov(al, ptr[rbx + rcx * 4]);
    a.inc(rcx);
    a.mov(al, ptr[rbx + rcx * 2]);
    a.putSeg(gs);
    a.mov(al, ptr[rbx + rcx * 2]);
    EXPECT_EQ(plan(a), "0.0*3 0.2");
}

TEST(Merge, WritesDoNotFollowALeaderThatReads) {
    Asm a;
    a.mov(rax, ptr[rbx]);
    a.mov(ptr[rbx + 8], rax);
    a.mov(rcx, ptr[rbx + 16]);
    a.mov(ptr[rbx + 24], rcx);
    EXPECT_EQ(plan(a), "0.0*24 0.8 0.16");
}

TEST(Merge, PushesPopsAndReturn) {
    Asm a;
    a.push(rbx);
    a.push(rbp);
    a.mov(rax, ptr[rsp + 8]);
    a.pop(rbp);
    a.pop(rbx);
    a.ret();
    EXPECT_EQ(plan(a), "0.8*24 0.0 0.8 0.0 0.8 0.16");
}

TEST(Merge, NothingOutlivesACall) {
    Asm a;
    Xbyak::Label next;
    a.mov(rax, ptr[rbx]);
    a.call(next);
    a.L(next);
    a.mov(rax, ptr[rbx]);
    EXPECT_EQ(plan(a), "");
}

TEST(Merge, RangesAreShortAndKnownPagesAreNotCrossed) {
    Asm a;
    a.mov(rax, ptr[rbx]);
    a.mov(rax, ptr[rbx + 249]);
    a.mov(eax, ptr[size_t{0x5ff8}]);
    a.mov(eax, ptr[size_t{0x6000}]);
    a.mov(eax, ptr[size_t{0x6004}]);
    EXPECT_EQ(plan(a), "0.0*8 0.4");
}

TEST(Merge, AsManyGroupsAsThereIsRoomFor) {
    Asm a;
    for (const auto& r : {rbx, rsi}) {
        a.mov(rax, ptr[r]);
        a.mov(rax, ptr[r + 8]);
    }
    EXPECT_EQ(plan(a, 1), "0.0*16 0.8");
    EXPECT_EQ(plan(a, 2), "0.0*16 0.8 1.0*16 1.8");
}

class MergedRun : public testing::TestWithParam<Options> {
protected:
    static constexpr Gpa data = TestGuest::data;
    TestGuest guest{GetParam()};
    Asm a;
    u64& reg(unsigned g) { return guest.state().gpr[g]; }
    bool run() {
        a.hlt();
        guest.load(TestGuest::code, a);
        return guest.run();
    }
};
INSTANTIATE_TEST_SUITE_P(Settings, MergedRun,
                         testing::Values(Options{}, Options{.chain = false},
                                         Options{.chain = false, .merge_accesses = false}));

/// Every way in which a range can lie across a page boundary, with vector state in use.
TEST_P(MergedRun, RangesAcrossPages) {
    Xbyak::Label top;
    for (unsigned n = 0; n < 64; ++n) guest.at<u8>(data + 0xfe0 + n) = static_cast<u8>(n);
    a.mov(rbx, data + 0xfd8);
    a.lea(r10, ptr[rbx + 0x2000]);
    a.xor_(eax, eax);
    a.mov(ecx, 40);
    a.pxor(xmm0, xmm0);
    a.L(top);
    a.movzx(edx, byte[rbx + 8]);
    a.add(eax, edx);
    a.mov(ptr[r10 + 8], al);
    a.movzx(edx, byte[rbx + 15]);
    a.movd(xmm1, edx);
    a.paddd(xmm0, xmm1);
    a.adc(byte[r10 + 23], 0);
    a.mov(ptr[r10 + 15], dl);
    a.inc(rbx);
    a.inc(r10);
    a.dec(ecx);
    a.jnz(top);
    a.movd(esi, xmm0);
    ASSERT_TRUE(run());
    EXPECT_EQ(reg(0), 39u * 40 / 2);
    EXPECT_EQ(reg(6), 46u * 47 / 2 - 6u * 7 / 2);
    for (unsigned n = 0; n < 47; ++n)
        EXPECT_EQ(guest.at<u8>(data + 0x2fe0 + n), static_cast<u8>(n < 40 ? n * (n + 1) / 2 : n)) << n;
}

TEST_P(MergedRun, StackFramesAcrossPages) {
    Xbyak::Label function, top, done;
    a.mov(ecx, 600);
    a.L(top);
    a.mov(ebx, ecx);
    a.push(rbx);
    a.call(function);
    a.pop(rdx);
    a.cmp(edx, ecx);
    a.jnz(done);
    a.sub(rsp, 8);
    a.dec(ecx);
    a.jnz(top);
    a.L(done);
    a.hlt();
    a.L(function);
    a.push(rbp);
    a.push(r15);
    a.sub(rsp, 0x40);
    a.mov(ptr[rsp + 0x38], rbx);
    a.mov(rsi, ptr[rsp + 0x58]);  // the argument
    a.add(rdi, rsi);
    a.add(rdi, ptr[rsp + 0x38]);
    a.add(rsp, 0x40);
    a.pop(r15);
    a.pop(rbp);
    a.ret();
    ASSERT_TRUE(run());
    EXPECT_EQ(reg(1), 0u);
    EXPECT_EQ(reg(7), u64{2} * 600 * 601 / 2);
    EXPECT_EQ(reg(4), TestGuest::stack_top - 600 * 8);
}

/// The fault of the access itself, not of the range that is probed for several.
TEST_P(MergedRun, FaultsAreTheAccessesOwn) {
    guest.state().idtr = {0, 0, 0};  // no IDT: the fault cannot be delivered
    a.mov(rbx, TestGuest::bytes - 16);
    a.mov(rax, ptr[rbx]);
    a.mov(rcx, ptr[rbx + 8]);
    a.mov(edx, 5);
    a.mov(rsi, ptr[rbx + 0x28]);  // leads: its page is not there
    a.mov(edx, 6);
    a.mov(rsi, ptr[rbx + 0x20]);
    guest.load(TestGuest::code, a);
    guest.state().rip = TestGuest::code;
    EXPECT_EQ(guest.translator().run(), cpu::EngineExit::shutdown);
    EXPECT_EQ(guest.state().cr2, TestGuest::bytes + 0x18);
    EXPECT_EQ(reg(2), 5u);
}

TEST_P(MergedRun, WritesToCodeAreSeenInTheMiddleOfARange) {
    a.mov(rbx, TestGuest::code);
    a.mov(rax, ptr[rbx + 0x800]);
    a.mov(ptr[rbx + 0x808], rax);
    EXPECT_FALSE(run());  // declined: the page holds code
    EXPECT_EQ(guest.state().rip, TestGuest::code + 12);
}

}  // namespace
}  // namespace triune::hypervisor::soft::bt
