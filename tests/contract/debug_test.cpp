// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
//
// What a debugger asks of a vCPU: steps, breakpoints, watchpoints.
#include "contract.h"

namespace triune::contract {
namespace {

using hypervisor::Debug;
using hypervisor::GuestDebug;

class GuestDebugging : public Contract {
protected:
    void begin() {
        // 8000: inc ax; 8001: inc bx; 8002: mov [0x500], ax; 8005: jmp 8000
        start({0x40, 0x43, 0xa3, 0x00, 0x05, 0xeb, 0xf9});
    }
    void ask(const GuestDebug& debug) {
        const auto r = vcpu->set_guest_debug(debug);
        ASSERT_TRUE(r) << r.error().message;
    }
    /// What run() came back with; a kick ends it after some seconds.
    std::optional<Debug> run() {
        std::atomic<bool> done{false};
        std::thread watchdog([&] {
            for (int i = 0; i < 2000 && !done; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(5));
            if (!done) vcpu->kick();
        });
        const hypervisor::Exit exit = vcpu->run();
        done = true;
        watchdog.join();
        const auto* debug = std::get_if<Debug>(&exit);
        return debug ? std::optional(*debug) : std::nullopt;
    }
};

TEST_P(GuestDebugging, StepsAreOneInstructionEach) {
    begin();
    ask({.single_step = true});
    for (const u64 rip : {0x8001, 0x8002, 0x8005, 0x8000, 0x8001}) {
        const auto event = run();
        ASSERT_TRUE(event);
        EXPECT_EQ(event->cause, Debug::Cause::step);
        EXPECT_EQ(vcpu->state().rip, rip);
        EXPECT_EQ(vcpu->state().rflags & x86::flag::tf, 0u);
    }
    ask({});
    std::thread t = kick_later();
    EXPECT_FALSE(run());
    t.join();
}

TEST_P(GuestDebugging, BreakpointsStopBeforeTheirInstruction) {
    begin();
    ask({.breakpoints = {0x8002}});
    for (int round = 0; round < 2; ++round) {
        const auto event = run();
        ASSERT_TRUE(event);
        EXPECT_EQ(event->cause, Debug::Cause::breakpoint);
        EXPECT_EQ(event->address, 0x8002u);
        EXPECT_EQ(vcpu->state().rip, 0x8002u);
        EXPECT_EQ(vcpu->state().gpr[x86::rax] & 0xffff, 1u) << "it stops there at once";
    }
    u16 word = 0;
    ASSERT_TRUE(bench.memory().read_value(0x500, word));
    EXPECT_EQ(word, 0);
    // Over it with a step without it, and around.
    ask({.single_step = true});
    ASSERT_TRUE(run());
    EXPECT_EQ(vcpu->state().rip, 0x8005u);
    ask({.breakpoints = {0x8002}});
    ASSERT_TRUE(run());
    EXPECT_EQ(vcpu->state().rip, 0x8002u);
    EXPECT_EQ(vcpu->state().gpr[x86::rax] & 0xffff, 2u);
}

TEST_P(GuestDebugging, WatchpointsStopAfterTheAccess) {
    begin();
    ask({.watchpoints = {{.address = 0x500, .size = 2, .read = false, .write = true}}});
    const auto event = run();
    ASSERT_TRUE(event);
    EXPECT_EQ(event->cause, Debug::Cause::watchpoint);
    EXPECT_EQ(event->address, 0x500u);
    EXPECT_TRUE(event->write);
    EXPECT_EQ(vcpu->state().rip, 0x8005u);
    u16 word = 0;
    ASSERT_TRUE(bench.memory().read_value(0x500, word));
    EXPECT_EQ(word, 1);
}

INSTANTIATE_TEST_SUITE_P(Engine, GuestDebugging, ::testing::Values("interp", "bt", "kvm"),
                         [](const auto& p) { return std::string(p.param); });

}  // namespace
}  // namespace triune::contract
