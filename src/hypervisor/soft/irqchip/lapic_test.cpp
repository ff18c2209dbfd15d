// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/irqchip/lapic.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "hypervisor/soft/irqchip/irqchip.h"

namespace triune::hypervisor::soft::irqchip {
namespace {

using cpu::Signal;

constexpr u64 x2apic_mode = 0xfee00c00;

/// Four vCPUs that nobody runs; interrupts end in their APICs.
class LapicTest : public ::testing::Test {
protected:
    static constexpr unsigned count = 4;
    LapicTest() {
        model.tsc_hz = 2'000'000'000;
        model.leaves.push_back({1, 0, false, {0, 0, 1u << 21, 0}});
        std::vector<cpu::VcpuContext*> list;
        for (unsigned i = 0; i < count; ++i) {
            vcpu[i].index = i;
            vcpu[i].model = &model;
            list.push_back(&vcpu[i]);
        }
        chip = std::make_unique<IrqChip>(list, *loop);
        for (unsigned i = 0; i < count; ++i) {
            apic(i).write_mmio(0xf0, 0x1ff);
            apic(i).write_mmio(0x350, 0x10000);
        }
    }
    Lapic& apic(unsigned i = 0) { return chip->apic(i); }
    void x2apic_all() {
        for (unsigned i = 0; i < count; ++i)
            ASSERT_TRUE(apic(i).set_apic_base(x2apic_mode | (i == 0 ? 0x100 : 0)));
    }
    /// Which APICs have `vector` in IRR, a bit each.
    unsigned who(u8 vector) {
        unsigned r = 0;
        for (unsigned i = 0; i < count; ++i) {
            const u32 offset = 0x200 + vector / 32 * 16u;
            const u32 irr = apic(i).mmio_enabled()
                                ? apic(i).read_mmio(offset)
                                : static_cast<u32>(*apic(i).read_x2apic(0x800 + offset / 16));
            if (irr >> (vector & 31) & 1) r |= 1u << i;
        }
        return r;
    }
    bool raised(unsigned i, Signal s) { return vcpu[i].signals.take(s); }
    /// The whole life of one interrupt on vCPU 0.
    int take() { return apic().has_interrupt() ? apic().acknowledge() : -1; }

    x86::CpuModel model;
    std::unique_ptr<base::EventLoop> loop = std::move(*base::EventLoop::create());
    std::array<cpu::VcpuContext, count> vcpu;
    std::unique_ptr<IrqChip> chip;
};

TEST_F(LapicTest, ResetStateOfTheManual) {
    apic(1).reset(false);
    EXPECT_EQ(apic(1).apic_base(), 0xfee00800u);
    EXPECT_EQ(apic(0).apic_base(), 0xfee00900u);
    EXPECT_EQ(apic(1).read_mmio(0x20), 1u << 24);
    EXPECT_EQ(apic(1).read_mmio(0x30), 0x50014u);
    EXPECT_EQ(apic(1).read_mmio(0xf0), 0xffu);
    EXPECT_EQ(apic(1).read_mmio(0xe0), 0xffffffffu);
    for (u32 lvt = 0x320; lvt <= 0x370; lvt += 16) EXPECT_EQ(apic(1).read_mmio(lvt), 0x10000u) << lvt;
}

TEST_F(LapicTest, InterruptGoesFromIrrToIsrAndEndsWithEoi) {
    chip->signal_msi(0xfee00000, 0x51);
    EXPECT_TRUE(raised(0, Signal::interrupt));
    EXPECT_EQ(apic().read_mmio(0x220), 1u << 17);
    EXPECT_EQ(take(), 0x51);
    EXPECT_EQ(apic().read_mmio(0x220), 0u);
    EXPECT_EQ(apic().read_mmio(0x120), 1u << 17);
    EXPECT_EQ(apic().read_mmio(0xa0), 0x50u);
    EXPECT_FALSE(apic().has_interrupt());
    apic().write_mmio(0xb0, 0);
    EXPECT_EQ(apic().read_mmio(0x120), 0u);
    EXPECT_EQ(apic().read_mmio(0xa0), 0u);
}

TEST_F(LapicTest, HigherClassNestsAndLowerWaitsForEoi) {
    chip->signal_msi(0xfee00000, 0x51);
    EXPECT_EQ(take(), 0x51);
    EXPECT_TRUE(raised(0, Signal::interrupt));
    EXPECT_FALSE(apic().has_interrupt());
    chip->signal_msi(0xfee00000, 0x5f);  // same class
    EXPECT_EQ(take(), -1);
    chip->signal_msi(0xfee00000, 0x61);
    EXPECT_EQ(take(), 0x61);
    apic().write_mmio(0xb0, 0);
    EXPECT_EQ(take(), -1);
    while (raised(0, Signal::interrupt)) {
    }
    apic().write_mmio(0xb0, 0);
    EXPECT_TRUE(raised(0, Signal::interrupt));  // EOI makes 0x5f deliverable
    EXPECT_EQ(take(), 0x5f);
}

TEST_F(LapicTest, TprHoldsBackAndCr8IsItsUpperHalf) {
    apic().set_cr8(5);
    EXPECT_EQ(apic().read_mmio(0x80), 0x50u);
    chip->signal_msi(0xfee00000, 0x5e);
    EXPECT_FALSE(raised(0, Signal::interrupt)) << "below PPR: no signal";
    EXPECT_FALSE(apic().has_interrupt());
    apic().write_mmio(0x80, 0x4f);
    EXPECT_EQ(apic().cr8(), 4u);
    EXPECT_TRUE(raised(0, Signal::interrupt));
    EXPECT_EQ(take(), 0x5e);
}

TEST_F(LapicTest, SignalIsRaisedOnceUntilTheVcpuHasLooked) {
    chip->signal_msi(0xfee00000, 0x41);
    EXPECT_TRUE(raised(0, Signal::interrupt));
    chip->signal_msi(0xfee00000, 0x52);
    EXPECT_FALSE(raised(0, Signal::interrupt));
    EXPECT_EQ(take(), 0x52);
    apic().write_mmio(0xb0, 0);
    EXPECT_EQ(take(), 0x41);
    apic().write_mmio(0xb0, 0);
    EXPECT_FALSE(apic().has_interrupt());
    chip->signal_msi(0xfee00000, 0x41);
    EXPECT_TRUE(raised(0, Signal::interrupt));
}

TEST_F(LapicTest, SoftwareDisabledTakesNothingNewAndMasksItsLvt) {
    apic().write_mmio(0x320, 0x31);
    apic().write_mmio(0xf0, 0xff);
    EXPECT_EQ(apic().read_mmio(0x320), 0x10031u);
    chip->signal_msi(0xfee00000, 0x51);
    EXPECT_EQ(who(0x51), 0u);
    apic().write_mmio(0x320, 0x31);
    EXPECT_EQ(apic().read_mmio(0x320), 0x10031u) << "cannot be unmasked while disabled";
}

TEST_F(LapicTest, PhysicalDestinations) {
    chip->signal_msi(0xfee02000, 0x51);
    EXPECT_EQ(who(0x51), 4u);
    chip->signal_msi(0xfeeff000, 0x52);
    EXPECT_EQ(who(0x52), 15u);
    chip->signal_msi(0xfee07000, 0x53);
    EXPECT_EQ(who(0x53), 0u);
    chip->signal_msi(0xfed00000, 0x54);
    EXPECT_EQ(who(0x54), 0u);
}

TEST_F(LapicTest, LogicalFlat) {
    for (unsigned i = 0; i < count; ++i) apic(i).write_mmio(0xd0, 1u << (24 + i));
    chip->signal_msi(0xfee00004 | 0xa << 12, 0x51);
    EXPECT_EQ(who(0x51), 0xau);
    chip->signal_msi(0xfeeff004, 0x52);
    EXPECT_EQ(who(0x52), 0xfu);
}

TEST_F(LapicTest, LogicalCluster) {
    for (unsigned i = 0; i < count; ++i) {
        apic(i).write_mmio(0xe0, 0x0fffffff);
        apic(i).write_mmio(0xd0, (i / 2) << 28 | 1u << (24 + i % 2));
    }
    chip->signal_msi(0xfee00004 | 0x13 << 12, 0x51);
    EXPECT_EQ(who(0x51), 0xcu);
    chip->signal_msi(0xfee00004 | 0x02 << 12, 0x52);
    EXPECT_EQ(who(0x52), 2u);
}

TEST_F(LapicTest, LowestPriorityPicksOne) {
    for (unsigned i = 0; i < count; ++i) apic(i).write_mmio(0xd0, 1u << (24 + i));
    for (const unsigned i : {0u, 1u, 3u}) apic(i).write_mmio(0x80, 0x30);
    chip->signal_msi(0xfee0f004, 0x100 | 0x51);
    EXPECT_EQ(who(0x51), 4u);
    chip->signal_msi(0xfee0f00c, 0x52);  // redirection hint
    EXPECT_EQ(who(0x52), 4u);
    apic(2).write_mmio(0xf0, 0xff);
    chip->signal_msi(0xfee0f004, 0x100 | 0x53);
    EXPECT_EQ(who(0x53), 1u) << "a disabled APIC does not take part";
}

TEST_F(LapicTest, IpiByIcrWithDestinationAndShorthands) {
    apic().write_mmio(0x310, 2u << 24);
    apic().write_mmio(0x300, 0x4051);
    EXPECT_EQ(who(0x51), 4u);
    apic().write_mmio(0x300, 0x44052);
    EXPECT_EQ(who(0x52), 1u);
    apic().write_mmio(0x300, 0x84053);
    EXPECT_EQ(who(0x53), 15u);
    apic(1).write_mmio(0x300, 0xc4054);
    EXPECT_EQ(who(0x54), 13u);
    EXPECT_EQ(apic().read_mmio(0x300) & 1u << 12, 0u);
}

TEST_F(LapicTest, NmiInitAndStartup) {
    apic().write_mmio(0x310, 1u << 24);
    apic().write_mmio(0x300, 0x4400);
    EXPECT_TRUE(raised(1, Signal::nmi));
    apic().write_mmio(0x300, 0xc500);
    EXPECT_TRUE(raised(1, Signal::init));
    apic().write_mmio(0x300, 0x8500);  // de-assert
    EXPECT_FALSE(raised(1, Signal::init));
    apic().write_mmio(0x300, 0x469a);
    EXPECT_EQ(vcpu[1].signals.sipi_vector, 0x9a);
    apic().write_mmio(0x300, 0xc500);
    EXPECT_FALSE(raised(1, Signal::sipi)) << "INIT voids an earlier start-up message";
    EXPECT_TRUE(raised(1, Signal::init));
    EXPECT_EQ(vcpu[0].signals.pending, 0u);
}

TEST_F(LapicTest, IllegalVectorsReachEsrAndTheErrorInterrupt) {
    apic().write_mmio(0x370, 0xe1);
    apic().write_mmio(0x300, 0x4405 & ~0x400);  // fixed, vector 5
    EXPECT_EQ(apic().read_mmio(0x280), 0u) << "ESR shows errors only after a write";
    apic().write_mmio(0x280, 0);
    EXPECT_EQ(apic().read_mmio(0x280), 0x20u);
    EXPECT_EQ(who(0xe1), 1u);
    chip->signal_msi(0xfee00000, 0x0f);
    apic().write_mmio(0x280, 0);
    EXPECT_EQ(apic().read_mmio(0x280), 0x40u);
    (void)apic().read_mmio(0x70);
    apic().write_mmio(0x280, 0);
    EXPECT_EQ(apic().read_mmio(0x280), 0x80u);
    apic().write_mmio(0x280, 0);
    EXPECT_EQ(apic().read_mmio(0x280), 0u);
}

TEST_F(LapicTest, ApicBaseTransitions) {
    EXPECT_FALSE(apic(1).set_apic_base(0xfee00400)) << "x2APIC without enable";
    EXPECT_FALSE(apic(1).set_apic_base(0xfee00801)) << "reserved bit";
    EXPECT_FALSE(apic(1).set_apic_base(u64{1} << 50 | 0x800)) << "beyond MAXPHYADDR";
    EXPECT_TRUE(apic(1).set_apic_base(x2apic_mode));
    EXPECT_FALSE(apic(1).mmio_enabled());
    EXPECT_FALSE(apic(1).set_apic_base(0xfee00800)) << "x2APIC to xAPIC";
    EXPECT_TRUE(apic(1).set_apic_base(0xfee00000));
    EXPECT_FALSE(apic(1).set_apic_base(x2apic_mode)) << "disabled to x2APIC";
    EXPECT_TRUE(apic(1).set_apic_base(0xfee00800));
    EXPECT_TRUE(apic(1).mmio_enabled());
    EXPECT_EQ(apic(1).read_mmio(0xf0), 0xffu);
    model.leaves.clear();
    EXPECT_FALSE(apic(1).set_apic_base(x2apic_mode)) << "not in CPUID";
}

TEST_F(LapicTest, X2apicRegistersAndTheirFaults) {
    EXPECT_FALSE(apic().read_x2apic(0x802)) << "in xAPIC mode";
    x2apic_all();
    EXPECT_EQ(apic(3).read_x2apic(0x802), 3u);
    EXPECT_EQ(apic(3).read_x2apic(0x80d), 8u);
    EXPECT_EQ(apic().read_x2apic(0x80f), 0x1ffu);
    for (const u32 absent : {0x800u, 0x80bu, 0x80eu, 0x831u, 0x83fu, 0x8ffu})
        EXPECT_FALSE(apic().read_x2apic(absent)) << absent;
    for (const u32 readonly : {0x802u, 0x803u, 0x80au, 0x80du, 0x810u, 0x820u, 0x839u})
        EXPECT_FALSE(apic().write_x2apic(readonly, 0)) << readonly;
    EXPECT_FALSE(apic().write_x2apic(0x80b, 1));
    EXPECT_FALSE(apic().write_x2apic(0x808, 0x100));
    EXPECT_FALSE(apic().write_x2apic(0x828, 1));
    EXPECT_FALSE(apic().write_x2apic(0x832, u64{1} << 32));
    EXPECT_FALSE(apic().write_x2apic(0x832, 1 << 20));
    EXPECT_FALSE(apic().write_x2apic(0x830, 1 << 13));
    EXPECT_TRUE(apic().write_x2apic(0x80b, 0));
    EXPECT_TRUE(apic().write_x2apic(0x808, 0x20));
    EXPECT_EQ(apic().cr8(), 2u);
}

TEST_F(LapicTest, X2apicIpis) {
    x2apic_all();
    EXPECT_TRUE(apic().write_x2apic(0x830, u64{3} << 32 | 0x51));
    EXPECT_EQ(who(0x51), 8u);
    EXPECT_TRUE(apic().write_x2apic(0x830, u64{6} << 32 | 0x852));  // logical, cluster 0
    EXPECT_EQ(who(0x52), 6u);
    EXPECT_TRUE(apic().write_x2apic(0x830, u64{0x10006} << 32 | 0x853));  // cluster 1
    EXPECT_EQ(who(0x53), 0u);
    EXPECT_TRUE(apic().write_x2apic(0x830, u64{0xffffffff} << 32 | 0x54));
    EXPECT_EQ(who(0x54), 15u);
    EXPECT_TRUE(apic().write_x2apic(0x83f, 0x55));
    EXPECT_EQ(who(0x55), 1u);
    EXPECT_TRUE(apic().write_x2apic(0x830, u64{0xff} << 32 | 0x56));
    EXPECT_EQ(who(0x56), 0u) << "0xff is an id in x2APIC mode";
    chip->signal_msi(0xfeeff000, 0x57);
    EXPECT_EQ(who(0x57), 15u) << "an eight-bit broadcast reaches x2APICs too";
}

TEST_F(LapicTest, InitKeepsModeAndClearsTheRest) {
    x2apic_all();
    chip->signal_msi(0xfee01000, 0x51);
    apic(1).reset(true);
    EXPECT_EQ(apic(1).apic_base(), x2apic_mode);
    EXPECT_EQ(who(0x51), 0u);
    EXPECT_FALSE(apic(1).has_interrupt());
}

TEST_F(LapicTest, ExtIntComesThroughLint0OfTheBootProcessor) {
    for (const auto& [port, value] :
         {std::pair<u16, u8>{0x20, 0x11}, {0x21, 0x30}, {0x21, 4}, {0x21, 1}, {0x21, 0}})
        chip->port_write(port, value);
    chip->set_gsi(4, true);
    EXPECT_FALSE(apic().has_interrupt()) << "LINT0 is masked";
    apic().write_mmio(0x350, 0x700);
    EXPECT_TRUE(raised(0, Signal::interrupt));
    EXPECT_FALSE(apic(1).has_interrupt());
    EXPECT_EQ(take(), 0x34);
    EXPECT_EQ(take(), -1);
    EXPECT_EQ(apic().read_mmio(0xa0), 0u) << "ExtINT does not enter ISR";
}

TEST_F(LapicTest, DisabledApicConnectsThe8259Directly) {
    for (const auto& [port, value] :
         {std::pair<u16, u8>{0x20, 0x11}, {0x21, 0x30}, {0x21, 4}, {0x21, 1}, {0x21, 0}})
        chip->port_write(port, value);
    ASSERT_TRUE(apic().set_apic_base(0xfee00100));
    chip->set_gsi(3, true);
    EXPECT_TRUE(raised(0, Signal::interrupt));
    EXPECT_EQ(take(), 0x33);
}

TEST_F(LapicTest, ConcurrentSendersLoseNothing) {
    constexpr int rounds = 20000;
    std::vector<std::thread> senders;
    std::array<std::atomic<bool>, 3> outstanding{};
    for (unsigned k = 0; k < 3; ++k)
        senders.emplace_back([&, k] {
            for (int n = 0; n < rounds; ++n) {
                outstanding[k] = true;
                chip->signal_msi(0xfee00000, 0x40 + 0x10 * k);
                while (outstanding[k]) std::this_thread::yield();
            }
        });
    // The run loop's protocol: look only when signalled, or after something was taken.
    int taken = 0;
    bool waiting = false;
    while (taken < 3 * rounds) {
        if (!raised(0, Signal::interrupt) && !waiting) {
            vcpu[0].signals.wait(base::monotonic_ns() + 5'000'000'000);
            ASSERT_TRUE(vcpu[0].signals.any()) << "lost after " << taken;
            continue;
        }
        waiting = apic().has_interrupt();
        if (!waiting) continue;
        const int v = apic().acknowledge();
        if (v < 0) continue;
        ++taken;
        apic().write_mmio(0xb0, 0);
        outstanding[static_cast<size_t>(v - 0x40) / 16] = false;
    }
    for (auto& t : senders) t.join();
}

// -- timer ----------------------------------------------------------------------------------------

constexpr u64 ms = 1'000'000;

TEST_F(LapicTest, OneShotFiresOnceWhenItsCountIsGone) {
    apic().write_mmio(0x3e0, 0xb);  // divide by 1
    apic().write_mmio(0x320, 0x31);
    const u64 start = base::monotonic_ns();
    apic().write_mmio(0x380, 3 * ms);
    const u64 deadline = apic().next_deadline_ns();
    EXPECT_GE(deadline, start + 3 * ms);
    EXPECT_LT(deadline, start + 300 * ms);
    EXPECT_GT(apic().read_mmio(0x390), 0u);
    vcpu[0].signals.wait(deadline);
    apic().poll_timer();
    EXPECT_EQ(take(), 0x31);
    EXPECT_EQ(apic().read_mmio(0x390), 0u);
    EXPECT_EQ(apic().next_deadline_ns(), ~u64{0});
    apic().write_mmio(0xb0, 0);
    apic().poll_timer();
    EXPECT_EQ(take(), -1);
    apic().write_mmio(0x320, 0x20031);  // periodic
    EXPECT_EQ(apic().read_mmio(0x390), 0u) << "nothing starts it but a write of the initial count";
}

TEST_F(LapicTest, DividerStretchesTheCount) {
    apic().write_mmio(0x320, 0x31);
    constexpr std::array<u32, 8> codes = {0, 1, 2, 3, 8, 9, 0xa, 0xb};
    constexpr std::array<u64, 8> divisors = {2, 4, 8, 16, 32, 64, 128, 1};
    for (size_t i = 0; i < codes.size(); ++i) {
        apic().write_mmio(0x3e0, codes[i]);
        const u64 start = base::monotonic_ns();
        apic().write_mmio(0x380, 1'000 * ms);
        EXPECT_NEAR(static_cast<double>(apic().next_deadline_ns() - start),
                    1e9 * static_cast<double>(divisors[i]), 5e8);
    }
}

TEST_F(LapicTest, EventLoopFiresPeriodicTimer) {
    std::thread t([&] { loop->run(); });
    apic().write_mmio(0x3e0, 0xb);
    apic().write_mmio(0x320, 0x20031);
    const u64 start = base::monotonic_ns();
    apic().write_mmio(0x380, 2 * ms);
    for (int n = 0; n < 5; ++n) {
        vcpu[0].signals.wait(start + 5'000 * ms);
        ASSERT_TRUE(raised(0, Signal::interrupt));
        ASSERT_EQ(take(), 0x31);
        apic().write_mmio(0xb0, 0);
        ASSERT_FALSE(apic().has_interrupt());
    }
    EXPECT_GE(base::monotonic_ns(), start + 10 * ms);
    apic().write_mmio(0x380, 0);
    EXPECT_EQ(apic().next_deadline_ns(), ~u64{0});
    loop->stop();
    t.join();
}

TEST_F(LapicTest, MaskedTimerCountsSilently) {
    apic().write_mmio(0x3e0, 0xb);
    apic().write_mmio(0x320, 0x10031);
    apic().write_mmio(0x380, 1 * ms);
    EXPECT_EQ(apic().next_deadline_ns(), ~u64{0});
    std::this_thread::sleep_for(std::chrono::milliseconds(3));
    apic().write_mmio(0x320, 0x31);
    EXPECT_EQ(take(), -1) << "it came due while masked";
    EXPECT_EQ(apic().read_mmio(0x390), 0u);
}

TEST_F(LapicTest, TscDeadline) {
    apic().write_mmio(0x320, 0x40031);
    apic().write_mmio(0x380, 1000);
    EXPECT_EQ(apic().read_mmio(0x380), 0u) << "the initial count is ignored in this mode";
    const u64 tsc = vcpu[0].guest_tsc();
    apic().set_tsc_deadline(tsc + x86::host_tsc_hz());
    EXPECT_EQ(apic().tsc_deadline(), tsc + x86::host_tsc_hz());
    EXPECT_NEAR(static_cast<double>(apic().next_deadline_ns() - base::monotonic_ns()), 1e9, 2e8);
    apic().set_tsc_deadline(0);
    EXPECT_EQ(apic().next_deadline_ns(), ~u64{0});
    apic().set_tsc_deadline(tsc);  // passed: at once, on the writer's thread
    EXPECT_TRUE(raised(0, Signal::interrupt));
    EXPECT_EQ(take(), 0x31);
    EXPECT_EQ(apic().tsc_deadline(), 0u);
}

TEST_F(LapicTest, DeadlineIsForgottenWhenTheModeChanges) {
    EXPECT_EQ((apic().set_tsc_deadline(12345), apic().tsc_deadline()), 0u) << "not in deadline mode";
    apic().write_mmio(0x320, 0x40031);
    apic().set_tsc_deadline(~u64{0});
    EXPECT_NE(apic().next_deadline_ns(), ~u64{0});
    apic().write_mmio(0x320, 0x31);
    EXPECT_EQ(apic().next_deadline_ns(), ~u64{0});
}

TEST_F(LapicTest, TwoThreadsFireOneExpiryOnce) {
    std::thread t([&] { loop->run(); });
    apic().write_mmio(0x320, 0x40031);
    int fired = 0;
    for (int n = 0; n < 300; ++n) {
        apic().set_tsc_deadline(vcpu[0].guest_tsc() + 100'000);
        const u64 limit = base::monotonic_ns() + 2'000 * ms;
        while (apic().next_deadline_ns() != ~u64{0} && base::monotonic_ns() < limit) apic().poll_timer();
        while (take() == 0x31) {
            ++fired;
            apic().write_mmio(0xb0, 0);
        }
    }
    loop->stop();
    t.join();
    EXPECT_EQ(fired, 300);
}

}  // namespace
}  // namespace triune::hypervisor::soft::irqchip
