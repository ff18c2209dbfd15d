// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/verify/verifier.h"

#include <algorithm>

#include "hypervisor/soft/bt/test_guest.h"

namespace triune::hypervisor::soft::verify {
namespace {

using bt::TestGuest;
using cpu::EngineExit;

bt::Options one_block() {
    bt::Options o;
    o.one_block = o.poll_everywhere = true;
    return o;
}

/// An engine that is right, but for what `spoil` does to its vCPU after each block.
class Spoiled final : public cpu::Engine {
public:
    explicit Spoiled(TestGuest& guest) : guest_(guest) {}
    EngineExit run() override {
        if (idle && guest_.state().rip == idle) return EngineExit::budget;
        const EngineExit exit = guest_.translator().run();
        if (spoil) spoil();
        return exit;
    }
    void invalidate(Gpa gpa, u64 size) override { guest_.translator().invalidate(gpa, size); }
    std::function<void()> spoil;
    Gva idle = 0;  ///< the block that it does not run

private:
    TestGuest& guest_;
};

/// A loop that works on every kind of state; its flags are dead at its head, and the carry that a block
/// leaves behind at `carry` is read in the next.
struct Program : Xbyak::CodeGenerator {
    Gva head = 0, carry = 0;
    Program() {
        const auto here = [this] { return TestGuest::code + getSize(); };
        mov(rbx, TestGuest::data);
        mov(ecx, 50);
        fld1();
        Xbyak::Label loop, reads_carry;
        L(loop);
        head = here();
        add(ptr[rbx], rcx);
        push(rcx);
        lea(rdx, ptr[rcx + rcx * 2]);
        pop(rsi);
        movq(xmm0, rcx);
        paddq(xmm1, xmm0);
        movdqu(ptr[rbx + 64], xmm1);
        fld1();
        faddp();
        cmp(rcx, 25);
        jmp(reads_carry);
        nop(3);
        L(reads_carry);
        carry = here();
        adc(rax, 0);
        dec(ecx);
        jnz(loop);
        hlt();
    }
};

struct Verified {
    Verified() { guest.context().apic = &apic; }
    /// How it ends: at HLT, or with a difference.
    EngineExit run() {
        Verifier verifier(engine, [this](u64 rip) { return guest.translator().listing(rip); }, guest.mmu());
        guest.load(TestGuest::code, program);
        EngineExit exit = EngineExit::budget;
        for (int i = 0; i < 100 && exit == EngineExit::budget; ++i) exit = verifier.run();
        report = verifier.report();
        return exit;
    }
    void spoil_at(Gva rip, std::function<void(x86::VcpuState&)> change) {
        engine.spoil = [this, rip, change] {
            if (guest.state().rip == rip) change(guest.state());
        };
    }
    TestGuest guest{one_block()};
    ApicLog no_calls;
    ReplayedApic apic{no_calls};
    Program program;
    Spoiled engine{guest};
    std::string report;
};

TEST(Verifier, FindsTheTranslatorRight) {
    Verified v;
    EXPECT_EQ(v.run(), EngineExit::declined);
    EXPECT_EQ(v.report, "");
    EXPECT_EQ(v.guest.at<u64>(TestGuest::data), 50u * 51 / 2);
    EXPECT_EQ(v.guest.state().gpr[x86::rax], 24u);
    EXPECT_GE(v.guest.context().counters.get(observe::Counter::blocks_verified), 100u);
    for (const auto c : {observe::Counter::unsettled_device, observe::Counter::unsettled_debug,
                         observe::Counter::unsettled_pages})
        EXPECT_EQ(v.guest.context().counters.get(c), 0u);
}

TEST(Verifier, FindsEveryKindOfDifference) {
    const std::pair<const char*, void (*)(x86::VcpuState&)> spoils[] = {
        {"* rdx", [](x86::VcpuState& s) { s.gpr[x86::rdx] ^= 1; }},
        {"* r15", [](x86::VcpuState& s) { s.gpr[x86::r15] ^= u64{1} << 63; }},
        {"* rflags", [](x86::VcpuState& s) { s.rflags ^= x86::flag::cf; }},
        {"* rflags", [](x86::VcpuState& s) { s.rflags ^= x86::flag::df; }},
        {"* xsave[176]", [](x86::VcpuState& s) { s.xsave[176] ^= 1; }},  // XMM1
        {"* xsave[32]", [](x86::VcpuState& s) { s.xsave[39] ^= 1; }},    // ST(0)
        {"* xsave[24]", [](x86::VcpuState& s) { s.xsave[24] ^= 1; }},    // MXCSR
        {"* cr2", [](x86::VcpuState& s) { s.cr2 = 5; }},
        {"* fs.base", [](x86::VcpuState& s) { s.seg[x86::fs].base = 5; }},
    };
    for (const auto& [shown, spoil] : spoils) {
        Verified v;
        v.spoil_at(v.program.carry, spoil);
        EXPECT_EQ(v.run(), EngineExit::unsound) << shown;
        EXPECT_NE(v.report.find(shown), std::string::npos) << shown << "\n" << v.report;
        EXPECT_NE(v.report.find("lea rdx, [rcx+rcx*2]"), std::string::npos) << v.report;
    }
}

TEST(Verifier, FindsMemoryThatDiffers) {
    Verified v;
    v.spoil_at(v.program.carry, [&v](x86::VcpuState&) { v.guest.at<u8>(TestGuest::data + 0x803) ^= 1; });
    EXPECT_EQ(v.run(), EngineExit::unsound);
    EXPECT_NE(v.report.find("* [0x000000200800] 0000000001000000   0000000000000000"), std::string::npos)
        << v.report;
}

/// Host code of its own making that does something else: LEA RDX, [RCX + RCX * 4].
TEST(Verifier, FindsABrokenTranslation) {
    Verified v;
    bool broken = false;
    v.spoil_at(v.program.carry, [&](x86::VcpuState&) {
        constexpr u8 right[] = {0x48, 0x8d, 0x14, 0x49};
        const auto code = v.guest.translated();
        const auto found = std::ranges::search(code, right);
        if (found.empty()) return;  // the loop has a block of its own
        found[3] = 0x89;
        broken = true;
    });
    EXPECT_EQ(v.run(), EngineExit::unsound);
    EXPECT_TRUE(broken);
    EXPECT_NE(v.report.find("* rdx"), std::string::npos) << v.report;
    EXPECT_EQ(v.report.find("* rcx"), std::string::npos) << v.report;
}

TEST(Verifier, FindsABlockThatIsNotRun) {
    Verified v;
    v.engine.idle = v.program.carry;
    EXPECT_EQ(v.run(), EngineExit::unsound);
}

TEST(Verifier, FlagsThatNobodyCanSeeMayDiffer) {
    Verified v;
    v.spoil_at(v.program.head, [](x86::VcpuState& s) { s.rflags ^= x86::flag::zf | x86::flag::of; });
    EXPECT_EQ(v.run(), EngineExit::declined) << v.report;
}

TEST(Verifier, WhatADeviceWritesMeanwhileIsNoDifference) {
    Verified v;
    v.spoil_at(v.program.carry, [&v](x86::VcpuState&) {
        const u8 value = 1;
        EXPECT_TRUE(v.guest.memory().write(TestGuest::data + 0x803, &value, 1));
    });
    EXPECT_EQ(v.run(), EngineExit::declined) << v.report;
    EXPECT_GE(v.guest.context().counters.get(observe::Counter::unsettled_device), 1u);
}

}  // namespace
}  // namespace triune::hypervisor::soft::verify
