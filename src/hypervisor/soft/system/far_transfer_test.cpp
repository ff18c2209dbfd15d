// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/system/test_machine.h"

namespace triune::hypervisor::soft::system {
namespace {

class FarTransfer : public SystemTest {
protected:
    void call_gate64(u64 target, u16 selector, unsigned dpl) {
        set_gdt(sel::gate, (target & 0xffff) | u64{selector} << 16 | u64{0x8c | dpl << 5} << 40 |
                               (target >> 16 & 0xffff) << 48);
        poke(at::gdt + sel::gate + 8, target >> 32);
    }
    void call_gate32(u32 target, u16 selector, unsigned dpl, unsigned parameters, unsigned type = 12) {
        set_gdt(sel::gate, (target & 0xffff) | u64{selector} << 16 | u64{parameters} << 32 |
                               u64{0x80 | type | dpl << 5} << 40 | u64{target >> 16} << 48);
    }
};

TEST_F(FarTransfer, JumpBetweenCodeSizes) {
    EXPECT_OK(system.far_jump(sel::kcode32, 0x1234, 32));
    EXPECT_FALSE(st.code64());
    EXPECT_EQ(st.rip, 0x1234u);
    EXPECT_OK(system.far_jump(sel::kcode64, 0x5678, 32));
    EXPECT_TRUE(st.code64());
}

TEST_F(FarTransfer, JumpChecks) {
    const VcpuState before = st;
    EXPECT_FAULT(system.far_jump(0, 0, 64), Fault::gp(0));
    EXPECT_FAULT(system.far_jump(0x1000, 0, 64), Fault::gp(0x1000));
    EXPECT_FAULT(system.far_jump(sel::kdata, 0, 64), Fault::gp(sel::kdata));
    EXPECT_FAULT(system.far_jump(sel::ucode64, 0, 64), Fault::gp(sel::ucode64));
    EXPECT_FAULT(system.far_jump(sel::kcode64 | 3, 0, 64), Fault::gp(sel::kcode64));
    EXPECT_FAULT(system.far_jump(sel::kcode64, 0x8000'0000'0000, 64), Fault::gp(0));
    EXPECT_FAULT(system.far_jump(sel::kcode16, 0x10000, 32), Fault::gp(0));
    EXPECT_FAULT(system.far_jump(sel::tss2, 0, 64), Fault::gp(sel::tss2));  // no tasks in long mode
    EXPECT_FAULT(system.far_jump(sel::task_gate, 0, 64), Fault::gp(sel::task_gate));
    EXPECT_EQ(std::memcmp(&before, &st, sizeof st), 0);
}

TEST_F(FarTransfer, ConformingCodeKeepsTheCpl) {
    user();
    EXPECT_OK(system.far_jump(sel::conforming64, 0x100010, 64));
    EXPECT_EQ(st.seg[Seg::cs].selector, sel::conforming64 | 3);
    EXPECT_EQ(st.cpl(), 3u);
}

TEST_F(FarTransfer, CallAndReturn) {
    EXPECT_OK(system.far_call(sel::kcode64, 0x5000, 64, 0x11007));
    EXPECT_EQ(st.rip, 0x5000u);
    EXPECT_EQ(stack_item(0), 0x11007u);
    EXPECT_EQ(stack_item(1), sel::kcode64);
    EXPECT_OK(system.far_return(64, 8));
    EXPECT_EQ(st.rip, 0x11007u);
    EXPECT_EQ(st.gpr[x86::rsp], at::kernel_stack - 0x100 + 8);
}

TEST_F(FarTransfer, ReturnToUser) {
    const u64 sp = st.gpr[x86::rsp];
    poke(sp, u64{0x100100}), poke(sp + 8, u64{sel::ucode64 | 3}), poke(sp + 16, u64{0x120000}),
        poke(sp + 24, u64{sel::udata | 3});
    EXPECT_OK(system.far_return(64, 0));
    EXPECT_EQ(st.cpl(), 3u);
    EXPECT_EQ(st.gpr[x86::rsp], 0x120000u);
    EXPECT_EQ(st.rip, 0x100100u);
    // And not inwards.
    poke(0x120000, u64{0x5000}), poke(0x120008, u64{sel::kcode64});
    EXPECT_FAULT(system.far_return(64, 0), Fault::gp(sel::kcode64));
}

TEST_F(FarTransfer, CallGate64SwitchesStacks) {
    call_gate64(0xffff'8000'0000'1234, sel::kcode64, 3);
    user();
    EXPECT_OK(system.far_call(sel::gate | 3, 0x999, 64, at::user_code + 7));
    EXPECT_EQ(st.cpl(), 0u);
    EXPECT_EQ(st.rip, 0xffff'8000'0000'1234u);
    EXPECT_EQ(st.gpr[x86::rsp], at::kernel_stack - 32);
    EXPECT_EQ(stack_item(0), at::user_code + 7);
    EXPECT_EQ(stack_item(1), sel::ucode64 | 3u);
    EXPECT_EQ(stack_item(2), at::user_stack);
    EXPECT_EQ(stack_item(3), sel::udata | 3u);
    EXPECT_TRUE(st.seg[Seg::ss].unusable());
    EXPECT_OK(system.far_return(64, 0));
    EXPECT_EQ(st.cpl(), 3u);
    EXPECT_EQ(st.gpr[x86::rsp], at::user_stack);
}

TEST_F(FarTransfer, CallGateChecks) {
    call_gate64(0x1000, sel::kcode64, 0);
    EXPECT_FAULT(system.far_call(sel::gate | 3, 0, 64, 0), Fault::gp(sel::gate));  // the RPL counts
    user();
    call_gate64(0x1000, sel::kcode64, 0);
    EXPECT_FAULT(system.far_call(sel::gate, 0, 64, 0), Fault::gp(sel::gate));
    call_gate64(0x1000, sel::kcode32, 3);
    EXPECT_FAULT(system.far_call(sel::gate, 0, 64, 0), Fault::gp(sel::kcode32));
    call_gate64(0x8000'0000'0000, sel::kcode64, 3);
    EXPECT_FAULT(system.far_call(sel::gate, 0, 64, 0), Fault::gp(0));
    call_gate64(0x1000, 0, 3);
    EXPECT_FAULT(system.far_call(sel::gate, 0, 64, 0), Fault::gp(0));
    call_gate64(0x1000, sel::kcode64, 3);
    EXPECT_FAULT(system.far_jump(sel::gate, 0, 64), Fault::gp(sel::kcode64));  // JMP cannot go inwards
    poke(at::gdt + sel::gate + 8, u64{1} << 40);
    EXPECT_FAULT(system.far_call(sel::gate, 0, 64, 0), Fault::gp(sel::gate));  // type bits of the upper half
}

TEST_F(FarTransfer, CallGate32CopiesParameters) {
    protected_user();
    call_gate32(0x5000, sel::kcode32, 3, 2);
    poke<u32>(at::user_stack, 0xaaaa), poke<u32>(at::user_stack + 4, 0xbbbb);
    EXPECT_OK(system.far_call(sel::gate | 3, 0, 32, 0x100005));
    EXPECT_EQ(st.gpr[x86::rsp], at::kernel_stack - 24);
    EXPECT_EQ(stack_item(0, 4), 0x100005u);
    EXPECT_EQ(stack_item(2, 4), 0xaaaau);
    EXPECT_EQ(stack_item(3, 4), 0xbbbbu);
    EXPECT_EQ(stack_item(4, 4), at::user_stack);
    EXPECT_OK(system.far_return(32, 8));
    EXPECT_EQ(st.cpl(), 3u);
    EXPECT_EQ(st.gpr[x86::rsp], at::user_stack + 8);
}

TEST_F(FarTransfer, SamePrivilegeGate16) {
    protected_mode();
    call_gate32(0x5000, sel::kcode16, 0, 0, 4);
    EXPECT_OK(system.far_call(sel::gate, 0, 32, 0x1234));
    EXPECT_EQ(st.gpr[x86::rsp], at::kernel_stack - 0x104);
    EXPECT_EQ(stack_item(0, 2), 0x1234u);
    EXPECT_EQ(st.rip, 0x5000u);
}

TEST_F(FarTransfer, RealMode) {
    real_mode();
    st.gpr[x86::rsp] = 0x100;
    EXPECT_OK(system.far_call(0x2000, 0x1234, 16, 0x55));
    EXPECT_EQ(st.seg[Seg::cs].base, 0x20000u);
    EXPECT_EQ(peek<u16>(0xfc), 0x55);
    EXPECT_OK(system.far_return(16, 4));
    EXPECT_EQ(st.rip, 0x55u);
    EXPECT_EQ(st.gpr[x86::rsp], 0x104u);
    EXPECT_FAULT(system.far_jump(0x1000, 0x10000, 32), Fault::gp(0));
    EXPECT_OK(system.far_jump(0xf000, 0xfff0, 16));
    EXPECT_EQ(st.seg[Seg::cs].base + st.rip, 0xffff0u);
}

// -- task switches --------------------------------------------------------------------------------

class Tasks : public SystemTest {
protected:
    Tasks() {
        protected_mode();
        const auto put = [this](unsigned offset, u32 v) { poke(at::tss2 + offset, v); };
        put(0x20, 0x7000);  // EIP
        put(0x24, 0x202);   // EFLAGS
        put(0x28, 0x11), put(0x2c, 0x22);
        put(0x38, 0x24000);  // ESP
        put(0x48, sel::kdata), put(0x4c, sel::kcode32), put(0x50, sel::kdata), put(0x54, sel::kdata);
    }
};

TEST_F(Tasks, CallSavesLinksAndReturns) {
    st.gpr[x86::rbx] = 0x1234;
    EXPECT_OK(system.far_call(sel::tss2, 0, 32, 0x11007));
    EXPECT_EQ(st.rip, 0x7000u);
    EXPECT_EQ(st.gpr[x86::rax], 0x11u);
    EXPECT_EQ(st.gpr[x86::rsp], 0x24000u);
    EXPECT_EQ(st.tr.selector, sel::tss2);
    EXPECT_TRUE(st.rflags & flag::nt);
    EXPECT_TRUE(st.cr0 & x86::cr0::ts);
    EXPECT_EQ(peek<u16>(at::tss2), sel::tss);
    EXPECT_EQ(peek<u8>(at::gdt + sel::tss2 + 5), 0x8b);
    EXPECT_EQ(peek<u8>(at::gdt + sel::tss + 5), 0x8b);  // still busy: nested
    EXPECT_EQ(peek<u32>(at::tss + 0x20), 0x11007u);
    EXPECT_EQ(peek<u32>(at::tss + 0x34), 0x1234u);
    EXPECT_OK(system.iret(32, 0x7001));
    EXPECT_EQ(peek<u32>(at::tss2 + 0x20), 0x7001u);  // behind the IRET
    EXPECT_EQ(st.rip, 0x11007u);
    EXPECT_EQ(st.gpr[x86::rbx], 0x1234u);
    EXPECT_EQ(st.tr.selector, sel::tss);
    EXPECT_EQ(peek<u8>(at::gdt + sel::tss2 + 5), 0x89);
    EXPECT_FALSE(peek<u32>(at::tss2 + 0x24) & flag::nt);
}

TEST_F(Tasks, JumpThroughGateLeavesNoLink) {
    EXPECT_OK(system.far_jump(sel::task_gate, 0, 32, 0x11007));
    EXPECT_EQ(st.rip, 0x7000u);
    EXPECT_FALSE(st.rflags & flag::nt);
    EXPECT_EQ(peek<u8>(at::gdt + sel::tss + 5), 0x89);
    EXPECT_EQ(peek<u32>(at::tss + 0x20), 0x11007u);
}

TEST_F(Tasks, DoubleFaultThroughATaskGate) {
    poke(at::idt + 8 * 8, u64{sel::tss2} << 16 | u64{0x85} << 40);
    st.gpr[x86::rsp] = 0x24000;
    gate32(13, 0x1000, 0xff0, 14);
    EXPECT_EQ(system.deliver_fault(Fault::gp(0)), System::Delivered::ok);
    EXPECT_EQ(st.rip, 0x7000u);
    EXPECT_EQ(st.gpr[x86::rsp], 0x24000u - 4);
    EXPECT_EQ(stack_item(0, 4), 0u);  // #DF's error code
    EXPECT_EQ(peek<u32>(at::tss + 0x20), 0x11000u);
}

TEST_F(Tasks, BusyTssIsRefused) {
    set_gdt(sel::tss2, descriptor(at::tss2, 0x67, 0x8b, 0));
    const VcpuState before = st;
    EXPECT_FAULT(system.far_jump(sel::tss2, 0, 32), Fault::gp(sel::tss2));
    set_gdt(sel::tss2, descriptor(at::tss2, 0x60, 0x89, 0));
    EXPECT_FAULT(system.far_jump(sel::tss2, 0, 32), Fault::ts(sel::tss2));
    EXPECT_EQ(std::memcmp(&before, &st, sizeof st), 0);
}

TEST_F(Tasks, BadSegmentOfTheNewTaskFaultsInIt) {
    poke<u32>(at::tss2 + 0x50, sel::udata);
    EXPECT_FAULT(system.far_jump(sel::tss2, 0, 32), Fault::ts(sel::udata));
    EXPECT_EQ(st.rip, 0x7000u);
    EXPECT_EQ(st.tr.selector, sel::tss2);
    EXPECT_EQ(st.cpl(), 0u);
}

TEST_F(Tasks, ToVirtual8086) {
    poke<u32>(at::tss2 + 0x24, flag::vm | 0x3202);
    poke<u32>(at::tss2 + 0x4c, 0x2000);
    EXPECT_OK(system.far_jump(sel::tss2, 0, 32));
    EXPECT_TRUE(st.v8086());
    EXPECT_EQ(st.cpl(), 3u);
    EXPECT_EQ(st.seg[Seg::cs].base, 0x20000u);
}

TEST_F(Tasks, TrapBitRaisesDebug) {
    poke<u16>(at::tss2 + 0x64, 1);
    EXPECT_FAULT(system.far_jump(sel::tss2, 0, 32), Fault::db());
    EXPECT_TRUE(st.dr[6] & (1u << 15));
    EXPECT_EQ(st.rip, 0x7000u);
}

}  // namespace
}  // namespace triune::hypervisor::soft::system
