// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include <cstring>

#include "hypervisor/soft/bt/test_settings.h"

namespace triune::hypervisor::soft::bt {
namespace {

using namespace Xbyak::util;

struct Pointers {
    u16 fop;
    u64 fip;
    u32 fdp;  ///< its upper half is known while an exception is pending only
    bool operator==(const Pointers&) const = default;
};
Pointers pointers(const x86::VcpuState& s) {
    Pointers p{};
    if (!(s.xsave[512] & 1)) return p;
    std::memcpy(&p.fop, &s.xsave[6], 2);
    std::memcpy(&p.fip, &s.xsave[8], 8);
    std::memcpy(&p.fdp, &s.xsave[16], 4);
    return p;
}
std::ostream& operator<<(std::ostream& o, const Pointers& p) {
    return o << std::hex << "fop " << p.fop << " fip " << p.fip << " fdp " << p.fdp;
}

constexpr Pointers before{0x123, 0x1122334455, 0x66778899};
void set_pointers(x86::VcpuState& s, const Pointers& p) {
    s.xsave[512] |= 1;
    s.xsave[4] = 1;  // a register is valid: XSAVE does not take pointers alone for a state that is in use
    std::memcpy(&s.xsave[6], &p.fop, 2);
    std::memcpy(&s.xsave[8], &p.fip, 8);
    std::memcpy(&s.xsave[16], &p.fdp, 4);
}

TEST(X87Pointers, AreTheGuestsOwn) {
    TestGuest guest;
    Xbyak::CodeGenerator g;
    g.mov(rdi, TestGuest::data + 0x120);
    const u64 load = g.getSize();
    g.fld(qword[rdi + 8]);
    g.mov(rdi, 1);
    g.fnstenv(ptr[rdi]);  // declined
    guest.load(TestGuest::code, g);
    guest.run();
    EXPECT_EQ(pointers(guest.state()), (Pointers{0x547, TestGuest::code + load, TestGuest::data + 0x128}));
}

TEST(X87Pointers, OfAPendingException) {
    TestGuest guest;
    x86::VcpuState& s = guest.state();
    Xbyak::CodeGenerator g;
    g.mov(rdi, 0xffff800000000000);
    g.fld1();
    const u64 divide = g.getSize();
    g.fdiv(qword[rdi + TestGuest::data]);
    g.inc(rax);
    g.hlt();
    guest.load(TestGuest::code, g);
    guest.at<u64>(0x1000 + 256 * 8) = 0x2003;  // the same pages in the upper half
    guest.at<double>(TestGuest::data) = 0;
    s.xsave[0] = 0x7b;  // divisions by zero are told
    s.xsave[512] = 1;
    EXPECT_TRUE(guest.run());
    EXPECT_TRUE(s.xsave[2] & 0x80);
    EXPECT_EQ(pointers(s).fip, TestGuest::code + divide);
    EXPECT_EQ(pointers(s).fop, 0x4b7);
    u64 fdp = 0;
    std::memcpy(&fdp, &s.xsave[16], 8);
    EXPECT_EQ(fdp, 0xffff800000000000 + TestGuest::data);
}

TEST(X87Pointers, StayWhileNothingTouchesThem) {
    const std::initializer_list<u8> all[] = {
        {0x0f, 0x57, 0xc0, 0xf4},              // xorps xmm0, xmm0
        {0x0f, 0xef, 0xc0, 0xf4},              // pxor mm0, mm0
        {0xdb, 0xe2, 0xdf, 0xe0, 0x9b, 0xf4},  // fnclex; fnstsw ax; fwait
    };
    for (const auto& code : all) {
        TestGuest guest;
        ASSERT_TRUE(guest.memory().write(TestGuest::code, code.begin(), code.size()));
        set_pointers(guest.state(), before);
        EXPECT_TRUE(guest.run());
        EXPECT_EQ(pointers(guest.state()), before);
    }
}

TEST(X87Pointers, WithoutAnOperandTheDataPointerStays) {
    TestGuest guest;
    const u8 fld1[] = {0xd9, 0xe8, 0xf4};
    ASSERT_TRUE(guest.memory().write(TestGuest::code, fld1, sizeof fld1));
    set_pointers(guest.state(), before);
    EXPECT_TRUE(guest.run());
    EXPECT_EQ(pointers(guest.state()), (Pointers{0x1e8, TestGuest::code, before.fdp}));
}

TEST(X87Pointers, ClearedByFninit) {
    TestGuest guest;
    Xbyak::CodeGenerator g;
    g.mov(rdi, TestGuest::data);
    g.fld(qword[rdi]);
    g.fninit();
    g.fldcw(word[rdi + 8]);
    g.hlt();
    guest.load(TestGuest::code, g);
    guest.at<u16>(TestGuest::data + 8) = 0x27f;
    set_pointers(guest.state(), before);
    EXPECT_TRUE(guest.run());
    EXPECT_EQ(pointers(guest.state()), Pointers{});
}

/// With a segment base FDP is the offset.
TEST(X87Pointers, OffsetInASegment) {
    TestGuest guest;
    const u8 fld[] = {0x65, 0xdd, 0x07, 0xf4};  // fld qword gs:[rdi]
    ASSERT_TRUE(guest.memory().write(TestGuest::code, fld, sizeof fld));
    guest.state().seg[x86::gs].base = TestGuest::data;
    guest.state().gpr[x86::rdi] = 0x1238;
    EXPECT_TRUE(guest.run());
    EXPECT_EQ(pointers(guest.state()), (Pointers{0x507, TestGuest::code, 0x1238}));
}

}  // namespace
}  // namespace triune::hypervisor::soft::bt
