// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/system/test_machine.h"

namespace triune::hypervisor::soft::system {
namespace {

using observe::Counter;

class FlagsIo : public SystemTest {};

TEST_F(FlagsIo, CliAndSti) {
    EXPECT_OK(system.sti());
    EXPECT_EQ(st.interrupt_shadow, 0);  // IF was 1
    EXPECT_OK(system.cli());
    EXPECT_FALSE(st.rflags & flag::if_);
    EXPECT_OK(system.sti());
    EXPECT_TRUE(st.rflags & flag::if_);
    EXPECT_EQ(st.interrupt_shadow, 1);
    user();
    EXPECT_FAULT(system.cli(), Fault::gp(0));
    EXPECT_FAULT(system.sti(), Fault::gp(0));
    st.rflags |= flag::iopl;
    EXPECT_OK(system.cli());
    real_mode();
    EXPECT_OK(system.sti());
}

TEST_F(FlagsIo, PviUsesVif) {
    user();
    st.cr4 |= x86::cr4::pvi;
    EXPECT_OK(system.sti());
    EXPECT_TRUE(st.rflags & flag::vif);
    EXPECT_OK(system.cli());
    EXPECT_FALSE(st.rflags & flag::vif);
    EXPECT_TRUE(st.rflags & flag::if_);
    st.rflags |= flag::vip;
    EXPECT_FAULT(system.sti(), Fault::gp(0));
}

TEST_F(FlagsIo, PopfByPrivilege) {
    EXPECT_OK(system.popf(~u64{0}, 64));
    EXPECT_EQ(st.rflags, 0x247fd7u);  // not RF, VM, VIF, VIP
    EXPECT_OK(system.popf(0, 16));
    EXPECT_EQ(st.rflags, (flag::ac | flag::id) | flag::fixed);
    user();
    EXPECT_OK(system.popf(flag::iopl | flag::cf, 64));
    EXPECT_EQ(st.rflags, flag::if_ | flag::cf | flag::fixed);  // IF and IOPL stay
    st.rflags |= flag::iopl;
    EXPECT_OK(system.popf(0, 64));
    EXPECT_EQ(st.rflags, flag::iopl | flag::fixed);
}

TEST_F(FlagsIo, PushfHidesRfAndVm) {
    st.rflags |= flag::rf | flag::ac;
    EXPECT_EQ(*system.pushf(64), 0x202u | flag::ac);
    EXPECT_EQ(*system.pushf(16), 0x202u);
}

TEST_F(FlagsIo, V8086PushfPopf) {
    v8086(0);
    EXPECT_FAULT(system.pushf(16), Fault::gp(0));
    EXPECT_FAULT(system.popf(0, 16), Fault::gp(0));
    EXPECT_FAULT(system.cli(), Fault::gp(0));
    st.cr4 |= x86::cr4::vme;
    EXPECT_OK(system.popf(flag::if_ | flag::zf, 16));
    EXPECT_TRUE(st.rflags & flag::vif);
    EXPECT_TRUE(st.rflags & flag::zf);
    EXPECT_EQ(*system.pushf(16) & 0x3200, 0x3200u);
    EXPECT_FAULT(system.popf(flag::tf, 16), Fault::gp(0));
    EXPECT_FAULT(system.pushf(32), Fault::gp(0));
    st.rflags |= flag::vip;
    EXPECT_FAULT(system.popf(flag::if_, 16), Fault::gp(0));
    v8086(3);
    EXPECT_OK(system.popf(0, 32));
    EXPECT_TRUE(st.v8086());
    EXPECT_EQ(st.rflags & flag::iopl, flag::iopl);
    EXPECT_FALSE(st.rflags & flag::if_);
}

TEST_F(FlagsIo, Hlt) {
    EXPECT_OK(system.hlt());
    EXPECT_EQ(st.halted, 1);
    user();
    EXPECT_FAULT(system.hlt(), Fault::gp(0));
}

TEST_F(FlagsIo, PortsByIopl) {
    io.answer = 0x12345678;
    EXPECT_EQ(*system.in(0x60, 1), 0x78u);
    EXPECT_EQ(*system.in(0x60, 4), 0x12345678u);
    EXPECT_OK(system.out(0x80, 0xabcd1234, 2));
    ASSERT_EQ(io.writes.size(), 1u);
    EXPECT_EQ(io.writes[0].value, 0x1234u);
    EXPECT_EQ(io.writes[0].size, 2u);
    EXPECT_EQ(vcpu->counters.get(Counter::port_io), 3u);
    user();
    for (unsigned i = 0; i < 0x1000; ++i) poke<u8>(at::tss + 0x68 + i, 0xff);
    EXPECT_FAULT(system.in(0x60, 1), Fault::gp(0));
    EXPECT_FAULT(system.out(0x60, 0, 1), Fault::gp(0));
    st.rflags |= flag::iopl;
    EXPECT_OK(system.in(0x60, 1));
}

TEST_F(FlagsIo, PortsByBitmap) {
    user();
    st.tr.limit = 0x68 + 0x40;
    for (unsigned i = 0; i < 0x40; ++i) poke<u8>(at::tss + 0x68 + i, 0xff);
    poke<u8>(at::tss + 0x68 + 0x60 / 8, 0xee);  // 0x60 and 0x64 are open
    EXPECT_OK(system.check_io(0x60, 1));
    EXPECT_OK(system.check_io(0x64, 1));
    EXPECT_FAULT(system.check_io(0x60, 2), Fault::gp(0));
    EXPECT_FAULT(system.check_io(0x61, 1), Fault::gp(0));
    poke<u8>(at::tss + 0x68 + 0x70 / 8, 0x7f), poke<u8>(at::tss + 0x68 + 0x78 / 8, 0xf8);
    EXPECT_OK(system.check_io(0x77, 4));                        // bits of two bytes
    EXPECT_FAULT(system.check_io(0x1f8 + 8, 1), Fault::gp(0));  // the second byte is beyond the limit
    poke<u16>(at::tss + 0x66, 0xffff);
    EXPECT_FAULT(system.check_io(0x60, 1), Fault::gp(0));
    st.tr.limit = 0x66;
    EXPECT_FAULT(system.check_io(0x60, 1), Fault::gp(0));
}

TEST_F(FlagsIo, V8086IgnoresIopl) {
    v8086(3);
    st.tr.limit = 0x67;
    EXPECT_FAULT(system.check_io(0x60, 1), Fault::gp(0));
    real_mode();
    EXPECT_OK(system.check_io(0x60, 1));
}

TEST_F(FlagsIo, BitmapPageFaultIsReported) {
    user();
    st.tr.base = at::unmapped - 0x67;
    const auto r = system.check_io(0x60, 1);
    ASSERT_FALSE(r);
    EXPECT_EQ(r.error().vector, x86::vec::pf);
    EXPECT_EQ(r.error().error_code & mmu::pf_error::user, 0u);
}

}  // namespace
}  // namespace triune::hypervisor::soft::system
