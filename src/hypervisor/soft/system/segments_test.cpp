// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/system/test_machine.h"

namespace triune::hypervisor::soft::system {
namespace {

using mmu::Access;

class Segments : public SystemTest {};

TEST_F(Segments, DataSegmentLoads) {
    EXPECT_OK(system.load_segment(Seg::ds, sel::udata | 3));
    EXPECT_EQ(st.seg[Seg::ds].selector, sel::udata | 3);
    EXPECT_EQ(st.seg[Seg::ds].limit, 0xffffffffu);
    EXPECT_EQ(st.seg[Seg::ds].dpl(), 3u);
    EXPECT_FAULT(system.load_segment(Seg::ds, 0x1000), Fault::gp(0x1000));
    EXPECT_FAULT(system.load_segment(Seg::ds, sel::execonly), Fault::gp(sel::execonly));
    EXPECT_FAULT(system.load_segment(Seg::ds, sel::ldt), Fault::gp(sel::ldt));
    EXPECT_FAULT(system.load_segment(Seg::ds, sel::absent | 3), Fault::np(sel::absent));
    EXPECT_FAULT(system.load_segment(Seg::ds, sel::kdata | 3), Fault::gp(sel::kdata));  // RPL > DPL
    EXPECT_OK(system.load_segment(Seg::ds, sel::readonly | 3));
    EXPECT_OK(system.load_segment(Seg::ds, sel::kcode64));  // readable code
    EXPECT_FAULT(system.load_segment(Seg::cs, sel::kcode64), Fault::ud());
    user();
    EXPECT_FAULT(system.load_segment(Seg::es, sel::kdata), Fault::gp(sel::kdata));
    EXPECT_OK(system.load_segment(Seg::es, sel::conforming64 | 3));
}

TEST_F(Segments, NullClearsTheBase) {
    st.seg[Seg::fs].base = 0x1234;
    EXPECT_OK(system.load_segment(Seg::fs, 3));
    EXPECT_EQ(st.seg[Seg::fs].base, 0u);
    EXPECT_EQ(st.seg[Seg::fs].selector, 3);
    EXPECT_TRUE(st.seg[Seg::fs].unusable());
}

TEST_F(Segments, StackSegmentLoads) {
    EXPECT_OK(system.load_segment(Seg::ss, 0));
    EXPECT_EQ(st.cpl(), 0u);
    EXPECT_FAULT(system.load_segment(Seg::ss, 3), Fault::gp(0));
    EXPECT_FAULT(system.load_segment(Seg::ss, sel::udata | 3), Fault::gp(sel::udata));
    EXPECT_FAULT(system.load_segment(Seg::ss, sel::kcode64), Fault::gp(sel::kcode64));
    EXPECT_OK(system.load_segment(Seg::ss, sel::kdata));
    user();
    EXPECT_FAULT(system.load_segment(Seg::ss, 3), Fault::gp(0));
    EXPECT_FAULT(system.load_segment(Seg::ss, sel::absent | 3), Fault::ss(sel::absent));
    EXPECT_FAULT(system.load_segment(Seg::ss, sel::readonly | 3), Fault::gp(sel::readonly));
    EXPECT_OK(system.load_segment(Seg::ss, sel::udata | 3));
    EXPECT_EQ(st.cpl(), 3u);
}

TEST_F(Segments, LocalDescriptorTable) {
    EXPECT_FAULT(system.load_segment(Seg::ds, 0x0c), Fault::gp(0x0c));  // no LDT yet
    EXPECT_OK(system.lldt(sel::ldt));
    EXPECT_EQ(st.ldtr.base, at::ldt);
    poke(at::ldt + 8, descriptor(0x12345678, 0xfff, 0x93, 4));
    EXPECT_OK(system.load_segment(Seg::gs, 0x0c));
    EXPECT_EQ(st.seg[Seg::gs].base, 0x12345678u);
    EXPECT_EQ(st.seg[Seg::gs].limit, 0xfffu);
    EXPECT_FAULT(system.lldt(0x0c), Fault::gp(0x0c));
    EXPECT_FAULT(system.lldt(sel::kdata), Fault::gp(sel::kdata));
    poke(at::gdt + sel::ldt + 8, u64{0x8000'00000000 >> 32});
    EXPECT_FAULT(system.lldt(sel::ldt), Fault::gp(sel::ldt));  // base not canonical
    EXPECT_OK(system.lldt(0));
    EXPECT_TRUE(st.ldtr.unusable());
    user();
    EXPECT_FAULT(system.lldt(0), Fault::gp(0));
}

TEST_F(Segments, TaskRegister) {
    poke(at::gdt + sel::tss, descriptor(0x81234567, 0x67, 0x89, 0));
    poke(at::gdt + sel::tss + 8, u64{0xffff8000});
    EXPECT_OK(system.ltr(sel::tss));
    EXPECT_EQ(st.tr.base, 0xffff'8000'8123'4567u);
    EXPECT_EQ(st.tr.type(), 11u);
    EXPECT_EQ(peek<u8>(at::gdt + sel::tss + 5), 0x8b);
    EXPECT_FAULT(system.ltr(sel::tss), Fault::gp(sel::tss));  // busy now
    EXPECT_FAULT(system.ltr(0), Fault::gp(0));
    poke(at::gdt + sel::tss, descriptor(0, 0x67, 0x09, 0));
    EXPECT_FAULT(system.ltr(sel::tss), Fault::np(sel::tss));
    real_mode();
    EXPECT_FAULT(system.ltr(sel::tss), Fault::ud());
}

TEST_F(Segments, DescriptorTableRegisters) {
    EXPECT_OK(system.lgdt(0xffff'8000'0000'0000, 0x7f));
    EXPECT_EQ(st.gdtr.limit, 0x7fu);
    EXPECT_FAULT(system.lidt(0x8000'0000'0000, 0), Fault::gp(0));
    user();
    EXPECT_FAULT(system.lgdt(0, 0), Fault::gp(0));
}

TEST_F(Segments, LarAndLsl) {
    EXPECT_EQ(*system.lar(sel::ucode64 | 3), 0x00a0fb00u);
    EXPECT_EQ(*system.lsl(sel::ucode64 | 3), 0xffffffffu);
    EXPECT_EQ(*system.lsl(sel::kdata16), 0xffffu);
    EXPECT_EQ(*system.lar(0), std::nullopt);
    EXPECT_EQ(*system.lar(0x1000), std::nullopt);
    EXPECT_EQ(*system.lar(sel::kdata | 3), std::nullopt);
    EXPECT_EQ(*system.lar(sel::tss), 0x00008b00u);
    EXPECT_EQ(*system.lsl(sel::tss), 0x1fffu);
    EXPECT_EQ(*system.lar(sel::task_gate), std::nullopt);  // not in long mode
    user();
    EXPECT_EQ(*system.lsl(sel::kdata), std::nullopt);
    EXPECT_NE(*system.lsl(sel::udata | 3), std::nullopt);
    protected_mode();
    EXPECT_NE(*system.lar(sel::task_gate), std::nullopt);
    EXPECT_EQ(*system.lsl(sel::task_gate), std::nullopt);
    real_mode();
    EXPECT_FAULT(system.lar(8), Fault::ud());
    v8086(3);
    EXPECT_FAULT(system.lsl(8), Fault::ud());
}

TEST_F(Segments, LslReportsPageFaults) {
    st.gdtr.base = at::unmapped;
    const auto r = system.lsl(sel::udata);
    ASSERT_FALSE(r);
    EXPECT_EQ(r.error().vector, x86::vec::pf);
}

TEST_F(Segments, VerrAndVerw) {
    EXPECT_TRUE(*system.verr(sel::udata));
    EXPECT_TRUE(*system.verw(sel::udata));
    EXPECT_TRUE(*system.verr(sel::readonly));
    EXPECT_FALSE(*system.verw(sel::readonly));
    EXPECT_FALSE(*system.verr(sel::execonly));
    EXPECT_TRUE(*system.verr(sel::conforming64 | 3));
    EXPECT_FALSE(*system.verw(sel::conforming64));
    EXPECT_FALSE(*system.verr(sel::tss));
    EXPECT_FALSE(*system.verr(0));
    EXPECT_FALSE(*system.verr(sel::kdata | 3));
}

TEST_F(Segments, Linear64) {
    st.seg[Seg::fs].base = 0xffff'8000'0000'0000;
    st.seg[Seg::ds].base = 0x5555;  // ignored
    EXPECT_EQ(*system.linear(Seg::ds, 0x1000, 8, Access::read), 0x1000u);
    EXPECT_EQ(*system.linear(Seg::fs, 0x10, 8, Access::write), 0xffff'8000'0000'0010u);
    EXPECT_FAULT(system.linear(Seg::ds, 0x7fff'ffff'fff9, 8, Access::read), Fault::gp(0));
    EXPECT_OK(system.linear(Seg::ds, 0x7fff'ffff'fff8, 8, Access::read));
    EXPECT_FAULT(system.linear(Seg::ss, 0x8000'0000'0000, 1, Access::read), Fault::ss(0));
    EXPECT_FAULT(system.check_rip(0x8000'0000'0000), Fault::gp(0));
    EXPECT_OK(system.check_rip(0xffff'8000'0000'0000));
}

TEST_F(Segments, LinearChecksLimitTypeAndNull) {
    protected_mode();
    st.seg[Seg::ds] = {sel::kdata16, 0, 0x93, 0xffff'f000, 0xffff, 0};
    EXPECT_EQ(*system.linear(Seg::ds, 0x2000, 4, Access::write), 0x1000u);  // wraps at 4 GiB
    EXPECT_OK(system.linear(Seg::ds, 0xfffc, 4, Access::read));
    EXPECT_FAULT(system.linear(Seg::ds, 0xfffd, 4, Access::read), Fault::gp(0));
    EXPECT_FAULT(system.linear(Seg::ds, 0xffff'ffff, 4, Access::read), Fault::gp(0));
    EXPECT_FAULT(system.linear(Seg::cs, 0, 4, Access::write), Fault::gp(0));
    EXPECT_OK(system.linear(Seg::cs, 0, 4, Access::read));
    EXPECT_OK(system.load_segment(Seg::es, sel::readonly | 3));
    EXPECT_FAULT(system.linear(Seg::es, 0, 1, Access::write), Fault::gp(0));
    EXPECT_OK(system.load_segment(Seg::es, 0));
    EXPECT_FAULT(system.linear(Seg::es, 0, 1, Access::read), Fault::gp(0));
    EXPECT_OK(system.load_segment(Seg::es, sel::expand_down));
    EXPECT_FAULT(system.linear(Seg::es, 0xfff, 1, Access::read), Fault::gp(0));
    EXPECT_OK(system.linear(Seg::es, 0x1000, 4, Access::read));
    st.seg[Seg::ss].limit = 0xfff;
    EXPECT_FAULT(system.linear(Seg::ss, 0x1000, 1, Access::read), Fault::ss(0));
    EXPECT_FAULT(system.push(0, 32), Fault::ss(0));
}

TEST_F(Segments, RealModeKeepsLimits) {
    real_mode();
    st.seg[Seg::ds].limit = 0xffffffff;  // unreal mode
    EXPECT_OK(system.load_segment(Seg::ds, 0x1234));
    EXPECT_EQ(st.seg[Seg::ds].base, 0x12340u);
    EXPECT_OK(system.linear(Seg::ds, 0x100000, 4, Access::read));
    EXPECT_FAULT(system.linear(Seg::es, 0xffff, 2, Access::read), Fault::gp(0));
}

TEST_F(Segments, PushAndPopWidths) {
    EXPECT_OK(system.push(0x1122334455667788, 64));
    EXPECT_EQ(st.gpr[x86::rsp], at::kernel_stack - 0x108);
    EXPECT_EQ(*system.pop(64), 0x1122334455667788u);
    EXPECT_OK(system.push(0x1122334455667788, 16));
    EXPECT_EQ(st.gpr[x86::rsp], at::kernel_stack - 0x102);
    EXPECT_EQ(*system.pop(16), 0x7788u);
    protected_mode();
    st.seg[Seg::ss] = {sel::kdata16, 0, 0x93, 0x20000, 0xffff, 0};
    st.gpr[x86::rsp] = 0x55550000;
    EXPECT_EQ(system.stack_bits(), 16u);
    EXPECT_OK(system.push(0xdeadbeef, 32));
    EXPECT_EQ(st.gpr[x86::rsp], 0x5555fffcu);
    EXPECT_EQ(peek<u32>(0x2fffc), 0xdeadbeefu);
    EXPECT_EQ(*system.pop(32), 0xdeadbeefu);
    EXPECT_EQ(st.gpr[x86::rsp], 0x55550000u);
}

}  // namespace
}  // namespace triune::hypervisor::soft::system
