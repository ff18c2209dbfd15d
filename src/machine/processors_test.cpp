// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "machine/processors.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <semaphore>
#include <thread>

namespace triune::machine {
namespace {

/// A hypervisor whose vCPUs do what the test says.
struct FakeVm final : hypervisor::Vm {
    struct FakeVcpu final : hypervisor::Vcpu {
        FakeVcpu(FakeVm& vm, unsigned index) : vm(vm), index(index) {
            counted.add(observe::Counter::halts, index + 1);
        }
        hypervisor::Exit run() override {
            if (vm.created != vm.expected) ++vm.ran_too_early;
            if (vm.exit_of) return vm.exit_of(index, kicked);
            ++vm.running;
            while (!kicked.exchange(false)) {
                ++vm.work;
                std::this_thread::sleep_for(std::chrono::microseconds(100));
            }
            --vm.running;
            return hypervisor::Kicked{};
        }
        void kick() override { kicked = true; }
        x86::VcpuState state() override { return now; }
        void set_state(const x86::VcpuState& s) override {
            now = s;
            vm.boot_rip = s.rip;
        }
        const observe::Counters& counters() const override { return counted; }
        FakeVm& vm;
        unsigned index;
        std::atomic<bool> kicked = false;
        x86::VcpuState now;
        observe::Counters counted;
    };
    Result<std::unique_ptr<hypervisor::Vcpu>> create_vcpu(unsigned index) override {
        if (index == refused) return fail("no room");
        ++created;
        return std::make_unique<FakeVcpu>(*this, index);
    }
    void set_gsi(unsigned, bool) override {}
    void signal_msi(u64, u32) override {}
    Result<void> add_io_event(const hypervisor::IoEvent&) override { return fail("none"); }
    Result<void> remove_io_event(const hypervisor::IoEvent&) override { return fail("none"); }
    Result<void> add_irq_event(const hypervisor::IrqEvent&) override { return fail("none"); }
    Result<void> remove_irq_event(const hypervisor::IrqEvent&) override { return fail("none"); }
    Result<unsigned> add_msi_gsi(u64, u32) override { return fail("none"); }
    void remove_msi_gsi(unsigned) override {}
    Result<void> set_dirty_log(unsigned, bool) override { return fail("none"); }
    Result<memory::PageBitmap> take_dirty_log(unsigned) override { return fail("none"); }

    std::function<hypervisor::Exit(unsigned, std::atomic<bool>&)> exit_of;
    unsigned expected = 3, refused = 99;
    std::atomic<unsigned> created = 0, ran_too_early = 0, running = 0;
    std::atomic<u64> work = 0;
    std::atomic<u64> boot_rip = 0;
};

TEST(Processors, EndFromOutsideStopsAllAndSumsCounters) {
    FakeVm vm;
    Processors cpus(vm, 3);
    observe::Counters counters;
    x86::VcpuState start;
    start.rip = 0x1234;
    std::thread ender([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
        cpus.end({{VmEnd::powered_off, {}}});
        cpus.end({{VmEnd::host_error, "too late"}});
    });
    EXPECT_EQ(cpus.run(start, counters).outcome.end, VmEnd::powered_off);
    ender.join();
    EXPECT_EQ(vm.ran_too_early, 0u);
    EXPECT_EQ(vm.boot_rip, 0x1234u);
    EXPECT_EQ(counters.get(observe::Counter::halts), 6u);
}

TEST(Processors, EndBeforeRun) {
    FakeVm vm;
    Processors cpus(vm, 3);
    observe::Counters counters;
    cpus.end({{}, true});
    EXPECT_TRUE(cpus.run({}, counters).reset);
}

TEST(Processors, TripleFaultOfOneEndsAll) {
    FakeVm vm;
    vm.exit_of = [](unsigned index, std::atomic<bool>& kicked) -> hypervisor::Exit {
        if (index == 1) return hypervisor::Shutdown{"registers"};
        while (!kicked) std::this_thread::sleep_for(std::chrono::microseconds(100));
        return hypervisor::Kicked{};
    };
    Processors cpus(vm, 3);
    observe::Counters counters;
    const RunEnd end = cpus.run({}, counters);
    EXPECT_EQ(end.outcome.end, VmEnd::triple_fault);
    EXPECT_NE(end.outcome.message.find("processor 1: registers"), std::string::npos);
}

TEST(Processors, FailureToCreateEndsAll) {
    FakeVm vm;
    vm.refused = 2;
    Processors cpus(vm, 3);
    observe::Counters counters;
    EXPECT_EQ(cpus.run({}, counters).outcome.end, VmEnd::host_error);
}

/// Processors that run on a thread of their own until the test ends.
struct Running {
    explicit Running(FakeVm& vm) : cpus(vm, 3), thread([this] { (void)cpus.run({}, counters); }) {}
    ~Running() {
        cpus.end({{VmEnd::powered_off, {}}});
        thread.join();
    }
    Processors cpus;
    observe::Counters counters;
    std::thread thread;
};

void wait_for_work(FakeVm& vm) {
    const u64 before = vm.work;
    while (vm.work < before + 10) std::this_thread::sleep_for(std::chrono::microseconds(100));
}

TEST(Processors, PausesAreCounted) {
    FakeVm vm;
    Running r(vm);
    wait_for_work(vm);
    for (int round = 0; round < 20; ++round) {
        EXPECT_TRUE(r.cpus.pause());
        EXPECT_EQ(vm.running, 0u);
        EXPECT_TRUE(r.cpus.pause());
        r.cpus.resume();
        const u64 before = vm.work;
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
        EXPECT_EQ(vm.work, before);
        r.cpus.resume();
        wait_for_work(vm);
    }
}

TEST(Processors, StateIsReachableWhilePausedOnly) {
    FakeVm vm;
    Running r(vm);
    EXPECT_FALSE(r.cpus.with_vcpu(0, [](hypervisor::Vcpu&) {}));
    ASSERT_TRUE(r.cpus.pause());
    unsigned index = 99;
    EXPECT_TRUE(
        r.cpus.with_vcpu(2, [&](hypervisor::Vcpu& v) { index = dynamic_cast<FakeVm::FakeVcpu&>(v).index; }));
    EXPECT_EQ(index, 2u);
    EXPECT_FALSE(r.cpus.with_vcpu(3, [](hypervisor::Vcpu&) {}));
    r.cpus.end({{VmEnd::stopped, {}}});
    EXPECT_FALSE(r.cpus.with_vcpu(2, [](hypervisor::Vcpu&) {}));
}

TEST(Processors, PauseBeforeRunKeepsThemAtTheStart) {
    FakeVm vm;
    Processors cpus(vm, 3);
    std::binary_semaphore paused{0};
    cpus.pause([&] { paused.release(); });
    observe::Counters counters;
    x86::VcpuState start;
    start.rip = 0x1234;
    std::thread thread([&] { (void)cpus.run(start, counters); });
    paused.acquire();
    EXPECT_EQ(vm.work, 0u);
    EXPECT_EQ(vm.boot_rip, 0x1234u);
    cpus.resume();
    wait_for_work(vm);
    cpus.end({});
    thread.join();
}

TEST(Processors, HeldOnesStayWhenTheOthersGoOn) {
    FakeVm vm;
    Running r(vm);
    ASSERT_TRUE(r.cpus.pause());
    r.cpus.hold(0, true);
    r.cpus.hold(2, true);
    r.cpus.resume();
    wait_for_work(vm);
    EXPECT_EQ(vm.running, 1u);
    ASSERT_TRUE(r.cpus.pause());
    for (const unsigned i : {0u, 2u}) r.cpus.hold(i, false);
    r.cpus.resume();
    while (vm.running != 3) std::this_thread::sleep_for(std::chrono::microseconds(100));
}

TEST(Processors, EndReleasesWhoWaitsForAPause) {
    FakeVm vm;
    vm.exit_of = [](unsigned, std::atomic<bool>&) -> hypervisor::Exit {
        std::this_thread::sleep_for(std::chrono::milliseconds(5));  // heeds no kick for a while
        return hypervisor::Kicked{};
    };
    Running r(vm);
    std::thread ender([&] { r.cpus.end({{VmEnd::powered_off, {}}}); });
    (void)r.cpus.pause();  // returns, whichever came first
    ender.join();
    EXPECT_FALSE(r.cpus.pause());
}

TEST(Processors, MoveToAnotherHypervisor) {
    FakeVm vm, next;
    Running r(vm);
    EXPECT_FALSE(r.cpus.move_to(next)) << "nothing is paused";
    ASSERT_TRUE(r.cpus.pause());
    for (unsigned i = 0; i < 3; ++i)
        r.cpus.with_vcpu(i, [i](hypervisor::Vcpu& v) {
            x86::VcpuState s = v.state();
            s.rip = 100 + i;
            v.set_state(s);
        });
    ASSERT_TRUE(r.cpus.move_to(next));
    EXPECT_EQ(next.created, 3u);
    EXPECT_EQ(next.running, 0u) << "they stay paused";
    for (unsigned i = 0; i < 3; ++i)
        EXPECT_TRUE(r.cpus.with_vcpu(i, [i](hypervisor::Vcpu& v) { EXPECT_EQ(v.state().rip, 100 + i); }));
    r.cpus.resume();
    const u64 before = vm.work;
    while (next.work < 10) std::this_thread::yield();
    EXPECT_EQ(vm.work, before);
    r.cpus.end({{VmEnd::powered_off, {}}});
    r.thread.join();
    EXPECT_EQ(r.counters.get(observe::Counter::halts), 12u) << "both lives count";
    r.thread = std::thread([] {});
}

TEST(Processors, MoveThatFailsHalfwayEndsTheRun) {
    FakeVm vm, next;
    next.refused = 1;
    Running r(vm);
    ASSERT_TRUE(r.cpus.pause());
    EXPECT_FALSE(r.cpus.move_to(next));
    EXPECT_FALSE(r.cpus.pause());
    r.cpus.resume();
    r.thread.join();
    r.thread = std::thread([] {});
}

}  // namespace
}  // namespace triune::machine
