// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/system/test_machine.h"

namespace triune::hypervisor::soft::system {
namespace {

using Kind = System::EventKind;
using Delivered = System::Delivered;
using observe::Counter;

class Events : public SystemTest {};

TEST_F(Events, UserPageFaultPushesTheWholeFrame) {
    user();
    st.gpr[x86::rsp] = 0x12345;
    st.halted = 1;
    EXPECT_EQ(system.deliver_fault(Fault::pf({0xdead000, 7})), Delivered::ok);
    EXPECT_EQ(st.cr2, 0xdead000u);
    EXPECT_EQ(st.rip, handler(14));
    EXPECT_EQ(st.cpl(), 0u);
    EXPECT_EQ(st.seg[Seg::cs].selector, sel::kcode64);
    EXPECT_TRUE(st.code64());
    EXPECT_EQ(st.seg[Seg::ss].selector, 0);
    EXPECT_TRUE(st.seg[Seg::ss].unusable());
    EXPECT_EQ(st.gpr[x86::rsp], at::kernel_stack - 48);
    EXPECT_EQ(stack_item(0), 7u);
    EXPECT_EQ(stack_item(1), at::user_code);
    EXPECT_EQ(stack_item(2), sel::ucode64 | 3u);
    EXPECT_EQ(stack_item(3), 0x202u | flag::rf);
    EXPECT_EQ(stack_item(4), 0x12345u);
    EXPECT_EQ(stack_item(5), sel::udata | 3u);
    EXPECT_EQ(st.rflags & (flag::if_ | flag::rf), 0u);
    EXPECT_EQ(st.halted, 0);
    EXPECT_EQ(vcpu->counters.get(Counter::page_faults), 1u);
    EXPECT_EQ(vcpu->counters.get(Counter::exceptions), 1u);
}

TEST_F(Events, KernelInterruptAlignsTheStackAndKeepsSs) {
    st.gpr[x86::rsp] = at::kernel_stack - 0x103;
    st.rflags |= flag::tf | flag::ac;
    st.interrupt_shadow = 1;
    EXPECT_EQ(system.deliver_interrupt(0x20), Delivered::ok);
    EXPECT_EQ(st.gpr[x86::rsp], ((at::kernel_stack - 0x103) & ~15ull) - 40);
    EXPECT_EQ(stack_item(0), 0x11000u);
    EXPECT_EQ(stack_item(2), 0x202u | flag::tf | flag::ac);  // no RF for interrupts
    EXPECT_EQ(stack_item(3), at::kernel_stack - 0x103);
    EXPECT_EQ(stack_item(4), sel::kdata);
    EXPECT_EQ(st.seg[Seg::ss].selector, sel::kdata);
    EXPECT_EQ(st.rflags, flag::ac | flag::fixed);
    EXPECT_EQ(st.interrupt_shadow, 0);
    EXPECT_EQ(vcpu->counters.get(Counter::interrupts), 1u);
}

TEST_F(Events, TrapGateKeepsIf) {
    gate64(3, handler(3), sel::kcode64, 15, 3);
    user();
    EXPECT_OK(system.software_interrupt(3, Kind::software_bp_of, at::user_code + 1));
    EXPECT_TRUE(st.rflags & flag::if_);
    EXPECT_EQ(stack_item(0), at::user_code + 1);
}

TEST_F(Events, IstReplacesTheStackAtTheSamePrivilege) {
    gate64(2, handler(2), sel::kcode64, 14, 0, 1);
    EXPECT_EQ(system.deliver_interrupt(2, Kind::nmi), Delivered::ok);
    EXPECT_EQ(st.gpr[x86::rsp], at::ist1 - 40);
    EXPECT_EQ(st.seg[Seg::ss].selector, sel::kdata);
    EXPECT_EQ(st.nmi_blocked, 1);
    EXPECT_OK(system.iret(64));
    EXPECT_EQ(st.nmi_blocked, 0);
    EXPECT_EQ(st.rip, 0x11000u);
}

TEST_F(Events, SoftwareInterruptChecksGatePrivilegeAndChangesNothing) {
    user();
    const VcpuState before = st;
    EXPECT_FAULT(system.software_interrupt(0x80, Kind::software_int, st.rip + 2), Fault::gp(0x80 * 8 + 2));
    EXPECT_EQ(std::memcmp(&before, &st, sizeof st), 0);
    gate64(0x80, handler(0x80), sel::kcode64, 14, 3);
    EXPECT_OK(system.software_interrupt(0x80, Kind::software_int, st.rip + 2));
    EXPECT_EQ(st.cpl(), 0u);
    user();
    // ICEBP ignores the gate's DPL.
    EXPECT_OK(system.software_interrupt(1, Kind::icebp, st.rip + 1));
}

TEST_F(Events, ErrorCodesHaveExtOnlyWhenTheEventIsExternal) {
    gate64(0x40, handler(0x40), 0x7f8, 14, 3);  // an empty descriptor
    user();
    EXPECT_FAULT(system.software_interrupt(0x40, Kind::software_int, st.rip), Fault::gp(0x7f8));
    EXPECT_EQ(system.deliver_interrupt(0x40), Delivered::ok);  // becomes #GP
    EXPECT_EQ(st.rip, handler(13));
    EXPECT_EQ(stack_item(0), 0x7f9u);
}

TEST_F(Events, GateChecks) {
    user();
    gate64(0x40, handler(0x40), sel::kcode64, 14, 3, 0, false);
    EXPECT_FAULT(system.software_interrupt(0x40, Kind::software_int, 0), Fault::np(0x40 * 8 + 2));
    gate64(0x40, handler(0x40), sel::kcode64, 12, 3);  // a call gate
    EXPECT_FAULT(system.software_interrupt(0x40, Kind::software_int, 0), Fault::gp(0x40 * 8 + 2));
    gate64(0x40, handler(0x40), 0, 14, 3);
    EXPECT_FAULT(system.software_interrupt(0x40, Kind::software_int, 0), Fault::gp(0));
    gate64(0x40, handler(0x40), sel::kcode32, 14, 3);  // not a 64-bit segment
    EXPECT_FAULT(system.software_interrupt(0x40, Kind::software_int, 0), Fault::gp(sel::kcode32));
    gate64(0x40, handler(0x40), sel::kdata, 14, 3);
    EXPECT_FAULT(system.software_interrupt(0x40, Kind::software_int, 0), Fault::gp(sel::kdata));
    gate64(0x40, 0x8000'0000'0000, sel::kcode64, 14, 3);
    EXPECT_FAULT(system.software_interrupt(0x40, Kind::software_int, 0), Fault::gp(0));
    st.idtr.limit = 0x40 * 16 + 14;
    EXPECT_FAULT(system.software_interrupt(0x40, Kind::software_int, 0), Fault::gp(0x40 * 8 + 2));
}

TEST_F(Events, TssChecks) {
    user();
    gate64(0x40, handler(0x40), sel::kcode64, 14, 3);
    poke(at::tss + 4, u64{0x8000'0000'0000});
    EXPECT_FAULT(system.software_interrupt(0x40, Kind::software_int, 0), Fault::ss(0));
    st.tr.limit = 10;
    EXPECT_FAULT(system.software_interrupt(0x40, Kind::software_int, 0), Fault::ts(sel::tss));
}

TEST_F(Events, ConformingHandlerKeepsTheCpl) {
    gate64(0x40, handler(0x40), sel::conforming64, 14, 3);
    user();
    EXPECT_OK(system.software_interrupt(0x40, Kind::software_int, 0));
    EXPECT_EQ(st.cpl(), 3u);
    EXPECT_EQ(st.seg[Seg::cs].selector, sel::conforming64 | 3);
    EXPECT_EQ(st.gpr[x86::rsp], at::user_stack - 40);
}

TEST_F(Events, PageFaultWhileDeliveringPageFaultIsDoubleFault) {
    user();
    poke(at::tss + 4, at::unmapped);
    gate64(8, handler(8), sel::kcode64, 14, 0, 1);
    EXPECT_EQ(system.deliver_fault(Fault::pf({0x1234000, 4})), Delivered::ok);
    EXPECT_EQ(st.rip, handler(8));
    EXPECT_EQ(st.gpr[x86::rsp], at::ist1 - 48);
    EXPECT_EQ(stack_item(0), 0u);
    EXPECT_EQ(stack_item(1), at::user_code);
    EXPECT_EQ(st.cr2, at::unmapped - 48);
}

TEST_F(Events, ContributoryThenPageFaultIsSerial) {
    user();
    gate64(13, handler(13), sel::kcode64, 14, 0, 2);  // IST 2 is not mapped
    poke(at::tss + 0x2c, at::unmapped);
    EXPECT_EQ(system.deliver_fault(Fault::gp(0)), Delivered::ok);
    EXPECT_EQ(st.rip, handler(14));
    EXPECT_EQ(st.cr2, at::unmapped - 48);
    EXPECT_EQ(stack_item(0), mmu::pf_error::write);
}

TEST_F(Events, BenignThenContributoryIsSerial) {
    user();
    gate64(6, handler(6), 0x7f8, 14);
    EXPECT_EQ(system.deliver_fault(Fault::ud()), Delivered::ok);
    EXPECT_EQ(st.rip, handler(13));
    EXPECT_EQ(stack_item(0), 0x7f9u);
}

TEST_F(Events, TwoContributoryAreDoubleFault) {
    user();
    gate64(13, handler(13), 0x7f8, 14);
    EXPECT_EQ(system.deliver_fault(Fault::gp(0x10)), Delivered::ok);
    EXPECT_EQ(st.rip, handler(8));
}

TEST_F(Events, FaultInDoubleFaultIsShutdownWithAReport) {
    user();
    st.idtr.limit = 0;
    const VcpuState before = st;
    EXPECT_EQ(system.deliver_fault(Fault::ud()), Delivered::shutdown);
    EXPECT_EQ(std::memcmp(&before, &st, sizeof st), 0);
    const std::string report = system.report();
    EXPECT_NE(report.find("#UD"), std::string::npos) << report;
    EXPECT_NE(report.find("#DF"), std::string::npos) << report;
    EXPECT_NE(report.find("64-bit mode, CPL 3"), std::string::npos) << report;
    EXPECT_NE(report.find("RIP=0000000000100000"), std::string::npos) << report;
}

TEST_F(Events, ExternalInterruptWithBadGateBecomesGpThenShutdown) {
    st.idtr.limit = 0;
    EXPECT_EQ(system.deliver_interrupt(0x30), Delivered::shutdown);
}

TEST_F(Events, DebugExceptionClearsGeneralDetectAndPushesNoRf) {
    st.dr[7] = 0x2400;
    EXPECT_EQ(system.deliver_fault(Fault::db()), Delivered::ok);
    EXPECT_EQ(st.dr[7], 0x400u);
    EXPECT_EQ(stack_item(2), 0x202u);
}

TEST_F(Events, FrameAcrossAPageThatIsMissingWritesNothing) {
    st.gpr[x86::rsp] = 0x21010;
    poke(0x21000, u64{0x5555});
    poke(0x21008, u64{0x6666});
    unmap(0x20000);
    gate64(14, handler(14), sel::kcode64, 14, 0, 1);
    EXPECT_EQ(system.deliver_interrupt(0x20), Delivered::ok);
    EXPECT_EQ(st.rip, handler(14));
    EXPECT_EQ(peek(0x21000), 0x5555u);
    EXPECT_EQ(peek(0x21008), 0x6666u);
    EXPECT_EQ(st.cr2, 0x20fe8u);
}

TEST_F(Events, CompatibilityModeGoesTo64Bit) {
    compat_user();
    EXPECT_EQ(system.deliver_fault(Fault::gp(0)), Delivered::ok);
    EXPECT_TRUE(st.code64());
    EXPECT_EQ(stack_item(2), sel::ucode32 | 3u);
    EXPECT_OK(system.pop(64));
    EXPECT_OK(system.iret(64));
    EXPECT_FALSE(st.code64());
    EXPECT_EQ(st.cpl(), 3u);
    EXPECT_EQ(st.rip, at::user_code);
}

TEST_F(Events, SmapDoesNotStopDescriptorReads) {
    st.cr4 |= x86::cr4::smap;
    user();
    EXPECT_EQ(system.deliver_interrupt(0x20), Delivered::ok);
    EXPECT_EQ(st.rip, handler(0x20));
    // But a kernel stack in user pages is refused.
    user();
    poke(at::tss + 4, at::user_stack);
    gate64(8, handler(8), sel::kcode64, 14, 0, 1);
    EXPECT_EQ(system.deliver_fault(Fault::pf({0, 4})), Delivered::ok);
    EXPECT_EQ(st.rip, handler(8));
}

// -- protected mode -----------------------------------------------------------------------------

TEST_F(Events, ProtectedInnerPrivilegeUsesTheTssStack) {
    protected_user();
    EXPECT_EQ(system.deliver_fault(Fault::gp(0x123)), Delivered::ok);
    EXPECT_EQ(st.rip, handler(13));
    EXPECT_EQ(st.seg[Seg::ss].selector, sel::kdata);
    EXPECT_EQ(st.gpr[x86::rsp], at::kernel_stack - 24);
    EXPECT_EQ(stack_item(0, 4), 0x123u);
    EXPECT_EQ(stack_item(1, 4), at::user_code);
    EXPECT_EQ(stack_item(2, 4), sel::ucode32 | 3u);
    EXPECT_EQ(stack_item(4, 4), at::user_stack);
    EXPECT_EQ(stack_item(5, 4), sel::udata | 3u);
    EXPECT_EQ(st.seg[Seg::ds].selector, sel::udata | 3);  // kept
}

TEST_F(Events, ProtectedSamePrivilegePushesThree) {
    protected_mode();
    EXPECT_EQ(system.deliver_interrupt(0x20), Delivered::ok);
    EXPECT_EQ(st.gpr[x86::rsp], at::kernel_stack - 0x100 - 12);
    EXPECT_OK(system.iret(32));
    EXPECT_EQ(st.rip, 0x11000u);
    EXPECT_EQ(st.gpr[x86::rsp], at::kernel_stack - 0x100);
}

TEST_F(Events, SixteenBitGatePushesWords) {
    protected_mode();
    gate32(0x20, 0x1234, sel::kcode16, 6);
    EXPECT_EQ(system.deliver_interrupt(0x20), Delivered::ok);
    EXPECT_EQ(st.gpr[x86::rsp], at::kernel_stack - 0x100 - 6);
    EXPECT_EQ(st.rip, 0x1234u);
    EXPECT_EQ(stack_item(0, 2), 0x1000u);  // low half of EIP
}

TEST_F(Events, ProtectedTssStackChecks) {
    protected_user();
    gate32(0x40, 0x1000, sel::kcode32, 14, 3);
    poke<u32>(at::tss + 8, sel::udata);
    EXPECT_FAULT(system.software_interrupt(0x40, Kind::software_int, 0), Fault::ts(sel::udata));
    poke<u32>(at::tss + 8, 0);
    EXPECT_FAULT(system.software_interrupt(0x40, Kind::software_int, 0), Fault::ts(0));
    poke<u32>(at::tss + 8, sel::kcode32);
    EXPECT_FAULT(system.software_interrupt(0x40, Kind::software_int, 0), Fault::ts(sel::kcode32));
}

// -- virtual-8086 and real mode -----------------------------------------------------------------

TEST_F(Events, V8086InterruptSavesAllSegmentsAndIretRestoresThem) {
    v8086(3);
    EXPECT_EQ(system.deliver_interrupt(0x20), Delivered::ok);
    EXPECT_FALSE(st.v8086());
    EXPECT_EQ(st.cpl(), 0u);
    EXPECT_EQ(st.gpr[x86::rsp], at::kernel_stack - 36);
    EXPECT_TRUE(st.seg[Seg::ds].unusable());
    EXPECT_EQ(stack_item(0, 4), 0x100u);
    EXPECT_EQ(stack_item(2, 4) & flag::vm, flag::vm);
    EXPECT_EQ(stack_item(8, 4), 0x1000u);
    EXPECT_OK(system.iret(32));
    EXPECT_TRUE(st.v8086());
    EXPECT_EQ(st.cpl(), 3u);
    EXPECT_EQ(st.seg[Seg::gs].base, 0x10000u);
    EXPECT_EQ(st.gpr[x86::rsp], 0x800u);
    EXPECT_EQ(st.rip, 0x100u);
}

TEST_F(Events, V8086SoftwareInterruptNeedsIopl3) {
    v8086(0);
    EXPECT_FAULT(system.software_interrupt(0x21, Kind::software_int, 0x102), Fault::gp(0));
}

TEST_F(Events, VmeRedirectsSoftwareInterrupts) {
    v8086(0);
    st.cr4 |= x86::cr4::vme;
    poke<u16>(at::tss + 0x66, 0x100);
    poke<u32>(0x21 * 4, 0x20001234);
    st.rflags |= flag::vif;
    EXPECT_OK(system.software_interrupt(0x21, Kind::software_int, 0x102));
    EXPECT_TRUE(st.v8086());
    EXPECT_EQ(st.seg[Seg::cs].selector, 0x2000);
    EXPECT_EQ(st.rip, 0x1234u);
    EXPECT_EQ(st.gpr[x86::rsp], 0x7fau);
    EXPECT_EQ(peek<u16>(0x10000 + 0x7fa), 0x102);
    EXPECT_EQ(peek<u16>(0x10000 + 0x7fe) & 0x3200, 0x3200);  // IOPL 3 and IF = VIF in the image
    EXPECT_FALSE(st.rflags & flag::vif);
    EXPECT_TRUE(st.rflags & flag::if_);
    // With the bit set it goes to the monitor, which needs IOPL 3.
    poke<u8>(at::tss + 0x100 - 32 + 0x21 / 8, 1 << (0x21 & 7));
    EXPECT_FAULT(system.software_interrupt(0x21, Kind::software_int, 0x102), Fault::gp(0));
}

TEST_F(Events, RealModeInterruptAndIret) {
    real_mode();
    st.seg[Seg::ss] = {0x2000, 0, 0x93, 0x20000, 0xffff, 0};
    st.seg[Seg::cs] = {0x1000, 0, 0x9b, 0x10000, 0xffff, 0};
    st.gpr[x86::rsp] = 0xabcd0002;  // wraps around
    st.rip = 0x777;
    st.rflags = 0x302;
    EXPECT_EQ(system.deliver_interrupt(8), Delivered::ok);
    EXPECT_EQ(st.gpr[x86::rsp], 0xabcdfffcu);
    EXPECT_EQ(st.rip, 0x80u);
    EXPECT_EQ(st.seg[Seg::cs].base, 0x30000u);
    EXPECT_EQ(st.rflags, 2u);
    EXPECT_EQ(peek<u16>(0x20000), 0x302);
    EXPECT_EQ(peek<u16>(0x2fffe), 0x1000);
    EXPECT_EQ(peek<u16>(0x2fffc), 0x777);
    EXPECT_OK(system.iret(16));
    EXPECT_EQ(st.rip, 0x777u);
    EXPECT_EQ(st.seg[Seg::cs].base, 0x10000u);
    EXPECT_EQ(st.rflags, 0x302u);
    EXPECT_EQ(st.gpr[x86::rsp], 0xabcd0002u);
}

TEST_F(Events, RealModeFaultsPushNoErrorCode) {
    real_mode();
    st.gpr[x86::rsp] = 0x100;
    EXPECT_EQ(system.deliver_fault(Fault::gp(0)), Delivered::ok);
    EXPECT_EQ(st.gpr[x86::rsp], 0xfau);
    EXPECT_EQ(st.rip, 13 * 16u);
}

}  // namespace
}  // namespace triune::hypervisor::soft::system
