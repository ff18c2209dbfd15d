// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "hypervisor/soft/interp/test_machine.h"

namespace triune::hypervisor::soft::interp {
namespace {

using test::Machine;
using namespace x86;
namespace flag = x86::flag;

TEST(Integer, MovesAndAddressing) {
    Machine m;
    m.gpr(rbx) = test::data_base;
    m.gpr(rcx) = 2;
    m.poke<u64>(test::data_base + 0x18, 0x8877665544332211);
    // mov rax,[rbx+rcx*8+8]; mov edx,eax; movsx rsi,al; movzx edi,ah; lea r8,[rip+1]; hlt
    EXPECT_EQ(m.run({0x48, 0x8b, 0x44, 0xcb, 0x08, 0x89, 0xc2, 0x48, 0x0f, 0xbe, 0xf0,
                     0x0f, 0xb6, 0xfc, 0x4c, 0x8d, 0x05, 1,    0,    0,    0,    0xf4}),
              -1);
    EXPECT_EQ(m.gpr(rax), 0x8877665544332211u);
    EXPECT_EQ(m.gpr(rdx), 0x44332211u);
    EXPECT_EQ(m.gpr(rsi), 0x11u);
    EXPECT_EQ(m.gpr(rdi), 0x22u);
    EXPECT_EQ(m.gpr(r8), test::code_base + 22);
}

TEST(Integer, PartialRegisterWrites) {
    Machine m;
    m.gpr(rax) = ~u64{0};
    m.gpr(rbx) = ~u64{0};
    m.gpr(rcx) = ~u64{0};
    // mov al,1; mov bh,2; mov cx,3; xor edx... hlt
    m.run({0xb0, 1, 0xb7, 2, 0x66, 0xb9, 3, 0, 0xf4});
    EXPECT_EQ(m.gpr(rax), 0xffffffffffffff01u);
    EXPECT_EQ(m.gpr(rbx), 0xffffffffffff02ffu);
    EXPECT_EQ(m.gpr(rcx), 0xffffffffffff0003u);
}

TEST(Integer, AddSetsAllFlags) {
    Machine m;
    m.gpr(rax) = 0x7fffffffffffffff;
    m.run({0x48, 0x83, 0xc0, 1, 0xf4});  // add rax,1
    EXPECT_EQ(m.gpr(rax), u64{1} << 63);
    EXPECT_EQ(m.state().rflags & flag::arithmetic, flag::of | flag::sf | flag::af | flag::pf);
}

TEST(Integer, CallAndReturn) {
    Machine m;
    // call +1; hlt; mov eax,5; ret
    EXPECT_EQ(m.run({0xe8, 1, 0, 0, 0, 0xf4, 0xb8, 5, 0, 0, 0, 0xc3}), -1);
    EXPECT_EQ(m.gpr(rax), 5u);
    EXPECT_EQ(m.gpr(rsp), test::stack_top);
}

TEST(Integer, LoopCountsDown) {
    Machine m;
    m.gpr(rcx) = 1000;
    // xor eax,eax; L: add eax,ecx; dec rcx; jnz L; hlt
    m.run({0x31, 0xc0, 0x01, 0xc8, 0x48, 0xff, 0xc9, 0x75, 0xf9, 0xf4});
    EXPECT_EQ(m.gpr(rax), 500500u);
}

TEST(Integer, DivideErrorLeavesStateAlone) {
    Machine m;
    m.gpr(rax) = 7;
    m.gpr(rdx) = 1;
    m.gpr(rcx) = 1;
    EXPECT_EQ(m.run({0x48, 0xf7, 0xf1, 0xf4}), vec::de);  // div rcx: quotient too large
    EXPECT_EQ(m.gpr(rax), 7u);
    EXPECT_EQ(m.gpr(rdx), 1u);
    EXPECT_EQ(m.peek<u64>(m.gpr(rsp)), test::code_base);  // a fault: RIP at the instruction
    m.gpr(rcx) = 2;
    m.gpr(rdx) = 0;
    m.run({0x48, 0xf7, 0xf1, 0xf4});
    EXPECT_EQ(m.gpr(rax), 3u);
    EXPECT_EQ(m.gpr(rdx), 1u);
}

TEST(Integer, IdivOfTheMostNegativeNumber) {
    Machine m;
    m.gpr(rax) = 0;
    m.gpr(rdx) = u64{1} << 63;
    m.gpr(rcx) = ~u64{0};
    EXPECT_EQ(m.run({0x48, 0xf7, 0xf9, 0xf4}), vec::de);
}

TEST(Integer, LockedBitStringReachesBeyondItsOperand) {
    Machine m;
    m.gpr(rbx) = test::data_base + 16;
    m.gpr(rax) = static_cast<u64>(-3);
    m.run({0xf0, 0x48, 0x0f, 0xab, 0x03, 0xf4});  // lock bts [rbx],rax
    EXPECT_EQ(m.peek<u64>(test::data_base + 8), u64{1} << 61);
    EXPECT_FALSE(m.state().rflags & flag::cf);
}

TEST(Integer, CompareExchange16Bytes) {
    Machine m;
    m.gpr(rdi) = test::data_base;
    m.poke<u64>(test::data_base, 1);
    m.poke<u64>(test::data_base + 8, 2);
    m.gpr(rax) = 1;
    m.gpr(rdx) = 2;
    m.gpr(rbx) = 3;
    m.gpr(rcx) = 4;
    m.run({0xf0, 0x48, 0x0f, 0xc7, 0x0f, 0xf4});
    EXPECT_TRUE(m.state().rflags & flag::zf);
    EXPECT_EQ(m.peek<u64>(test::data_base), 3u);
    EXPECT_EQ(m.peek<u64>(test::data_base + 8), 4u);
    m.gpr(rdi) += 8;
    EXPECT_EQ(m.run({0xf0, 0x48, 0x0f, 0xc7, 0x0f, 0xf4}), vec::gp);
}

TEST(Integer, ReadModifyWriteOfAReadOnlyPageFaultsAsAWrite) {
    Machine m;
    m.gpr(rbx) = test::data_base;
    m.poke<u64>(Machine::pte(test::data_base), test::data_base | 5);
    EXPECT_EQ(m.run({0x48, 0xff, 0x03, 0xf4}), vec::pf);  // inc qword [rbx]
    EXPECT_EQ(m.state().cr2, test::data_base);
    EXPECT_EQ(m.peek<u64>(m.gpr(rsp)), 3u);  // present | write
}

TEST(Integer, SplitStoreThatFaultsChangesNothing) {
    Machine m;
    m.gpr(rbx) = test::data_base + 0xffc;
    m.gpr(rax) = ~u64{0};
    m.poke<u64>(Machine::pte(test::data_base + 0x1000), 0);
    EXPECT_EQ(m.run({0x48, 0x89, 0x03, 0xf4}), vec::pf);
    EXPECT_EQ(m.state().cr2, test::data_base + 0x1000);
    EXPECT_EQ(m.peek<u32>(test::data_base + 0xffc), 0u);
}

TEST(Integer, NonCanonicalAddresses) {
    Machine m;
    m.gpr(rbx) = u64{1} << 62;
    EXPECT_EQ(m.run({0x48, 0x8b, 0x03, 0xf4}), vec::gp);
    m.gpr(rbp) = u64{1} << 62;
    m.supervisor();
    EXPECT_EQ(m.run({0x48, 0x8b, 0x45, 0x00, 0xf4}), vec::ss);
}

TEST(Integer, PushPopOfTheStackPointer) {
    Machine m;
    m.run({0x54, 0x58, 0xf4});  // push rsp; pop rax
    EXPECT_EQ(m.gpr(rax), test::stack_top);
    m.poke<u64>(test::stack_top - 0x100, 0x1234);
    m.gpr(rsp) = test::stack_top - 0x100;
    m.run({0x5c, 0xf4});  // pop rsp
    EXPECT_EQ(m.gpr(rsp), 0x1234u);
}

TEST(Integer, EnterAndLeave) {
    Machine m;
    m.gpr(rbp) = 0x7777;
    m.run({0xc8, 0x20, 0, 0, 0xf4});
    EXPECT_EQ(m.gpr(rbp), test::stack_top - 8);
    EXPECT_EQ(m.gpr(rsp), test::stack_top - 8 - 0x20);
    m.run({0xc9, 0xf4});
    EXPECT_EQ(m.gpr(rbp), 0x7777u);
    EXPECT_EQ(m.gpr(rsp), test::stack_top);
}

TEST(Integer, ProtectedModeDecimal) {
    Machine m;
    m.protected32();
    m.gpr(rax) = 0x79;
    m.run({0x04, 0x35, 0x27, 0xf4});  // add al,0x35; daa
    EXPECT_EQ(m.gpr(rax) & 0xff, 0x14u);
    EXPECT_TRUE(m.state().rflags & flag::cf);
    m.gpr(rax) = 0x0307;
    m.run({0xd5, 0x0a, 0xf4});  // aad
    EXPECT_EQ(m.gpr(rax) & 0xffff, 37u);
}

TEST(Integer, BoundAndInto) {
    Machine m;
    m.protected32();
    m.real_mode();
    m.poke<u16>(test::data_base, 5);  // not used: DS is 0
    m.state().seg[ds].base = test::data_base;
    m.poke<u16>(test::data_base + 2, 9);
    m.gpr(rax) = 7;
    m.gpr(rbx) = 0;
    m.run({0x62, 0x07, 0xf4});  // bound ax,[bx]
    EXPECT_EQ(m.state().rip, 3u);
}

TEST(Integer, RealModeSegments) {
    Machine m;
    m.real_mode();
    m.poke<u16>(test::data_base + 0x10, 0xabcd);
    m.gpr(rsi) = 0x10;
    // mov ax,0x6000; mov ds,ax; mov cx,[si]; hlt
    m.run({0xb8, 0x00, 0x60, 0x8e, 0xd8, 0x8b, 0x0c, 0xf4});
    EXPECT_EQ(m.gpr(rcx) & 0xffff, 0xabcdu);
    EXPECT_EQ(m.state().rip, 8u);
}

TEST(Integer, SingleStepTrapsAfterEachInstruction) {
    Machine m;
    m.load({0x90, 0x90, 0xf4});
    m.state().rflags |= flag::tf;
    m.step();
    EXPECT_EQ(m.state().rip, test::handlers + vec::db);
    EXPECT_EQ(m.peek<u64>(m.gpr(rsp)), test::code_base + 1);
    EXPECT_TRUE(m.state().dr[6] & (1 << 14));
}

TEST(Integer, SelfModifyingCodeIsSeen) {
    Machine m;
    m.gpr(rbx) = test::code_base;
    m.load({0xc6, 0x43, 0x08, 0x02, 0xb8, 0x01, 0x00, 0x00, 0x00, 0xf4});
    // Run the mov eax,1 once so that it is cached, then patch its immediate's top byte.
    m.state().rip = test::code_base + 4;
    m.step();
    EXPECT_EQ(m.gpr(rax), 1u);
    struct Watch final : memory::CodeWatcher {
        Machine* m = nullptr;
        void code_written(Gpa gpa, u64 size) override { m->engine.invalidate(gpa, size); }
    } watch;
    watch.m = &m;
    m.memory->add_code_watcher(&watch);
    m.state().rip = test::code_base;
    m.step(2);
    EXPECT_EQ(m.gpr(rax), 0x02000001u);
    m.memory->remove_code_watcher(&watch);
}

TEST(Integer, InstructionAcrossPages) {
    Machine m;
    m.poke(test::code_base + 0xffe, {0xb8, 0x11, 0x22, 0x33, 0x44, 0xf4});
    m.state().rip = test::code_base + 0xffe;
    EXPECT_EQ(m.run_on(), -1);
    EXPECT_EQ(m.gpr(rax), 0x44332211u);
    m.poke<u64>(Machine::pte(test::code_base + 0x1000), 0);
    m.mmu.flush_all();
    m.state().rip = test::code_base + 0xffe;
    EXPECT_EQ(m.run_on(), vec::pf);
    EXPECT_EQ(m.state().cr2, test::code_base + 0x1000);
    EXPECT_EQ(m.peek<u64>(m.gpr(rsp)) & ~u64{16}, 0u);
}

}  // namespace
}  // namespace triune::hypervisor::soft::interp
