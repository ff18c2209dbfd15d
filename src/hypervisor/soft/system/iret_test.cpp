// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/system/test_machine.h"

namespace triune::hypervisor::soft::system {
namespace {

class Iret : public SystemTest {
protected:
    static constexpr u64 stack = at::kernel_stack - 0x100;
    void frame64(u64 rip, u64 cs, u64 flags, u64 rsp, u64 ss) {
        st.gpr[x86::rsp] = stack;
        const u64 v[] = {rip, cs, flags, rsp, ss};
        for (unsigned i = 0; i < 5; ++i) poke(stack + i * 8, v[i]);
    }
    void frame32(std::initializer_list<u32> values) {
        st.gpr[x86::rsp] = stack;
        u64 to = stack;
        for (const u32 v : values) poke(to, v), to += 4;
    }
};

TEST_F(Iret, ToUser64RestoresEverythingAndKeepsNullSegmentBases) {
    st.seg[Seg::fs] = null_segment(0);
    st.seg[Seg::fs].base = 0x7fff12345678;
    st.seg[Seg::gs] = flat_stack(sel::kdata, 0);
    st.seg[Seg::gs].base = 0x123456789;
    st.seg[Seg::ds] = flat_stack(sel::kdata, 0);
    st.seg[Seg::es] = flat_stack(sel::udata | 3, 3);
    frame64(0x7fff'0000'1000, sel::ucode64 | 3, 0x246, 0x7fff'ffff'0001, sel::udata | 3);
    EXPECT_OK(system.iret(64));
    EXPECT_EQ(st.rip, 0x7fff'0000'1000u);
    EXPECT_EQ(st.cpl(), 3u);
    EXPECT_EQ(st.gpr[x86::rsp], 0x7fff'ffff'0001u);
    EXPECT_EQ(st.rflags, 0x246u);
    EXPECT_EQ(st.seg[Seg::fs].base, 0x7fff12345678u);
    EXPECT_TRUE(st.seg[Seg::ds].unusable());  // DPL 0 data is not for CPL 3
    EXPECT_TRUE(st.seg[Seg::gs].unusable());
    EXPECT_EQ(st.seg[Seg::gs].base, 0x123456789u) << "what WRMSR put there stays";
    EXPECT_EQ(st.seg[Seg::es].selector, sel::udata | 3);
}

TEST_F(Iret, UnblocksNmisAlsoWhenItFaults) {
    frame64(0x1000, 0, 0x202, 0x1000, 0);
    st.nmi_blocked = 1;
    EXPECT_FAULT(system.iret(64), Fault::gp(0));
    EXPECT_EQ(st.nmi_blocked, 0);
}

TEST_F(Iret, NullSelectorsBecomeZeroOnTheWayOutOnly) {
    const auto load = [&] {
        for (const Seg seg : {Seg::es, Seg::ds, Seg::fs, Seg::gs}) st.seg[seg] = null_segment(3);
        st.seg[Seg::gs].base = 0x7f00'1234'5000;
    };
    load();
    frame64(0x1000, sel::kcode64, 0x2, 0x1000, sel::kdata);
    EXPECT_OK(system.iret(64));
    for (const Seg seg : {Seg::es, Seg::ds, Seg::fs, Seg::gs}) EXPECT_EQ(st.seg[seg].selector, 3u);
    load();
    frame64(0x1000, sel::ucode64 | 3, 0x202, 0x1000, sel::udata | 3);
    EXPECT_OK(system.iret(64));
    for (const Seg seg : {Seg::es, Seg::ds, Seg::fs, Seg::gs}) {
        EXPECT_EQ(st.seg[seg].selector, 0u);
        EXPECT_TRUE(st.seg[seg].unusable());
    }
    EXPECT_EQ(st.seg[Seg::gs].base, 0x7f00'1234'5000u);
}

TEST_F(Iret, SamePrivilegeWithNullSsPopsRspToo) {
    frame64(0x5000, sel::kcode64, 0x2, 0xffff'8000'0000'1238, 0);
    EXPECT_OK(system.iret(64));
    EXPECT_EQ(st.gpr[x86::rsp], 0xffff'8000'0000'1238u);
    EXPECT_EQ(st.cpl(), 0u);
    EXPECT_TRUE(st.seg[Seg::ss].unusable());
}

TEST_F(Iret, ToCompatibilityMode) {
    frame64(0x100000, sel::ucode32 | 3, 0x202, 0xffff'0000'1234'5678, sel::udata | 3);
    EXPECT_OK(system.iret(64));
    EXPECT_FALSE(st.code64());
    EXPECT_EQ(st.gpr[x86::rsp], 0x12345678u);
    EXPECT_EQ(system.stack_bits(), 32u);
}

TEST_F(Iret, SixteenBitStackTakesSpOnly) {
    frame64(0x100000, sel::ucode32 | 3, 0x202, 0x1111'2222, sel::udata16 | 3);
    EXPECT_OK(system.iret(64));
    EXPECT_EQ(st.gpr[x86::rsp], (stack & 0xffff0000) | 0x2222);
}

TEST_F(Iret, ThirtyTwoBitOperandIn64BitMode) {
    frame32({0x5000, sel::kcode64, 0x2, 0x1234, sel::kdata});
    EXPECT_OK(system.iret(32));
    EXPECT_EQ(st.rip, 0x5000u);
    EXPECT_EQ(st.gpr[x86::rsp], 0x1234u);
}

TEST_F(Iret, FaultsLeaveStateAlone) {
    const auto faults = [&](u64 rip, u64 cs, u64 ss, const Fault& f) {
        frame64(rip, cs, 0x202, 0x1000, ss);
        const VcpuState before = st;
        EXPECT_FAULT(system.iret(64), f);
        EXPECT_EQ(std::memcmp(&before, &st, sizeof st), 0);
    };
    faults(0x8000'0000'0000, sel::ucode64 | 3, sel::udata | 3, Fault::gp(0));
    faults(0x1000, 0, sel::udata | 3, Fault::gp(0));
    faults(0x1000, 0xff0, sel::udata | 3, Fault::gp(0xff0));
    faults(0x1000, 0x1008, sel::udata | 3, Fault::gp(0x1008));
    faults(0x1000, sel::udata | 3, sel::udata | 3, Fault::gp(sel::udata));
    faults(0x1000, sel::kcode64 | 3, sel::udata | 3, Fault::gp(sel::kcode64));  // DPL != RPL
    faults(0x1000, sel::ucode64 | 3, 3, Fault::gp(0));                          // null SS at CPL 3
    faults(0x1000, sel::ucode64 | 3, sel::kdata | 3, Fault::gp(sel::kdata));
    faults(0x1000, sel::ucode64 | 3, sel::udata, Fault::gp(sel::udata));
    faults(0x1000, sel::ucode64 | 3, sel::readonly | 3, Fault::gp(sel::readonly));
    faults(0x1000, sel::ucode64 | 3, sel::absent | 3, Fault::ss(sel::absent));
    faults(0x1'0000'0000, sel::ucode32 | 3, sel::udata | 3, Fault::gp(0));  // beyond the limit
    faults(0x1000, sel::ldt, sel::udata | 3, Fault::gp(sel::ldt));
}

TEST_F(Iret, UserCannotReturnInwardsOrChangeIoplOrIf) {
    user();
    const u64 sp = at::user_stack;
    st.gpr[x86::rsp] = sp;
    poke(sp, u64{0x100}), poke(sp + 8, u64{sel::kcode64}), poke(sp + 16, u64{0x2}), poke(sp + 24, u64{0x10}),
        poke(sp + 32, u64{sel::kdata});
    EXPECT_FAULT(system.iret(64), Fault::gp(sel::kcode64));
    poke(sp + 8, u64{sel::ucode64 | 3}), poke(sp + 16, u64{0x3002} | flag::ac | flag::rf),
        poke(sp + 32, u64{sel::udata | 3});
    EXPECT_OK(system.iret(64));
    EXPECT_EQ(st.rflags, 0x202u | flag::ac | flag::rf);
}

TEST_F(Iret, PageFaultOnTheStack) {
    st.gpr[x86::rsp] = at::unmapped;
    const auto r = system.iret(64);
    ASSERT_FALSE(r);
    EXPECT_EQ(r.error().vector, x86::vec::pf);
    EXPECT_EQ(r.error().cr2, at::unmapped);
    EXPECT_EQ(r.error().error_code, 0u);
}

TEST_F(Iret, NonCanonicalStackIsSs) {
    st.gpr[x86::rsp] = 0x8000'0000'0000 - 8;
    EXPECT_FAULT(system.iret(64), Fault::ss(0));
}

TEST_F(Iret, NestedTaskInLongModeIsGp) {
    frame64(0x1000, sel::kcode64, 2, 0x1000, sel::kdata);
    st.rflags |= flag::nt;
    EXPECT_FAULT(system.iret(64), Fault::gp(0));
}

TEST_F(Iret, VmFlagIsIgnoredInLongMode) {
    frame64(0x1000, sel::kcode64, 0x202 | flag::vm, 0x1000, sel::kdata);
    EXPECT_OK(system.iret(64));
    EXPECT_FALSE(st.v8086());
}

TEST_F(Iret, ProtectedOuterReturn) {
    protected_mode();
    frame32({0x100000, sel::ucode32 | 3, 0x3202, 0x120000, sel::udata | 3});
    EXPECT_OK(system.iret(32));
    EXPECT_EQ(st.cpl(), 3u);
    EXPECT_EQ(st.gpr[x86::rsp], 0x120000u);
    EXPECT_EQ(st.rflags, 0x3202u);
    EXPECT_TRUE(st.seg[Seg::ds].unusable());
}

TEST_F(Iret, SixteenBitOperandKeepsUpperFlags) {
    protected_mode();
    st.rflags |= flag::ac | flag::id;
    st.gpr[x86::rsp] = stack;
    poke<u16>(stack, 0x1234), poke<u16>(stack + 2, sel::kcode32), poke<u16>(stack + 4, 0x0246);
    EXPECT_OK(system.iret(16));
    EXPECT_EQ(st.rip, 0x1234u);
    EXPECT_EQ(st.rflags, 0x246u | flag::ac | flag::id);
    EXPECT_EQ(st.gpr[x86::rsp], stack + 6);
}

TEST_F(Iret, V8086NeedsIopl3OrVme) {
    v8086(0);
    EXPECT_FAULT(system.iret(16), Fault::gp(0));
    st.cr4 |= x86::cr4::vme;
    poke<u16>(0x10800, 0x55), poke<u16>(0x10802, 0x2000), poke<u16>(0x10804, 0x3202);
    EXPECT_OK(system.iret(16));
    EXPECT_TRUE(st.rflags & flag::vif);
    EXPECT_EQ(st.rflags & flag::iopl, 0u);
    EXPECT_EQ(st.seg[Seg::cs].base, 0x20000u);
    EXPECT_EQ(st.gpr[x86::rsp], 0x806u);
    EXPECT_FAULT(system.iret(32), Fault::gp(0));
}

TEST_F(Iret, AccessedBitIsSetInMemory) {
    set_gdt(sel::ucode64, descriptor(0, 0xfffff, 0xfa, 0xa));
    frame64(0x1000, sel::ucode64 | 3, 0x202, 0x1000, sel::udata | 3);
    EXPECT_OK(system.iret(64));
    EXPECT_EQ(peek<u8>(at::gdt + sel::ucode64 + 5), 0xfb);
    EXPECT_EQ(st.seg[Seg::cs].type(), 11u);
}

}  // namespace
}  // namespace triune::hypervisor::soft::system
