// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
//
// What the contract promises its callers: exits, kicks, state in and out, errors.
#include "contract.h"

namespace triune::contract {
namespace {

using hypervisor::Exit;
using hypervisor::Kicked;
using hypervisor::Shutdown;

TEST_P(Contract, PowerOnState) {
    vcpu = std::move(bench.vm().create_vcpu(0).value());
    const x86::VcpuState s = vcpu->state();
    EXPECT_EQ(s.rip, 0xfff0u);
    EXPECT_EQ(s.seg[x86::cs].base, 0xffff0000u);
    EXPECT_EQ(s.rflags, 2u);
    EXPECT_EQ(s.cr0 & x86::cr0::pe, 0u);
    EXPECT_FALSE(s.waiting_for_sipi);
}

TEST_P(Contract, KickBeforeRunIsNotLost) {
    start({0xeb, 0xfe});  // jmp $
    vcpu->kick();
    EXPECT_TRUE(std::holds_alternative<Kicked>(vcpu->run()));
    EXPECT_EQ(vcpu->state().rip, 0x8000u);
}

TEST_P(Contract, KickEndsAnEndlessLoop) {
    start({0x40, 0xeb, 0xfd});  // inc ax; jmp
    std::thread t = kick_later();
    EXPECT_TRUE(std::holds_alternative<Kicked>(vcpu->run()));
    t.join();
    const u64 rip = vcpu->state().rip;
    EXPECT_TRUE(rip == 0x8000 || rip == 0x8001) << rip;
    EXPECT_NE(vcpu->state().gpr[x86::rax], 0u);
}

TEST_P(Contract, KickWakesAHaltedVcpuAndLeavesItHalted) {
    start({0xf4, 0x40});  // hlt
    std::thread t = kick_later();
    EXPECT_TRUE(std::holds_alternative<Kicked>(vcpu->run()));
    t.join();
    EXPECT_TRUE(vcpu->state().halted);
    EXPECT_EQ(vcpu->state().rip, 0x8001u);
    vcpu->kick();
    EXPECT_TRUE(std::holds_alternative<Kicked>(vcpu->run()));
    EXPECT_EQ(vcpu->state().rip, 0x8001u);
}

TEST_P(Contract, StateGoesInAndComesOut) {
    start({0x66, 0x01, 0xd8, 0xeb, 0xfe});  // add eax, ebx; jmp $
    x86::VcpuState s = vcpu->state();
    s.gpr[x86::rax] = 0x11111111;
    s.gpr[x86::rbx] = 0x22222222;
    s.gpr[x86::r9] = 99;
    vcpu->set_state(s);
    std::thread t = kick_later();
    (void)vcpu->run();
    t.join();
    const x86::VcpuState after = vcpu->state();
    EXPECT_EQ(after.gpr[x86::rax], 0x33333333u);
    EXPECT_EQ(after.gpr[x86::r9], 99u);
    EXPECT_EQ(after.rip, 0x8003u);
}

TEST_P(Contract, TripleFaultIsAShutdownWithAReport) {
    // lidt [0x8010] (limit 0); int3
    start({0x0f, 0x01, 0x1e, 0x10, 0x80, 0xcc});
    const Exit e = vcpu->run();
    ASSERT_TRUE(std::holds_alternative<Shutdown>(e));
    const std::string& report = std::get<Shutdown>(e).report;
    // The processor keeps to itself what led to a shutdown under KVM.
    const char* const telling = std::string_view(GetParam()).starts_with("kvm") ? "rip" : "#DF";
    EXPECT_NE(report.find(telling), std::string::npos) << report;
}

TEST_P(Contract, DmaIntoCodeTakesEffect) {
    // 8000: mov al, 1; out 0xf7, al; jmp 8000
    start({0xb0, 0x01, 0xe6, 0xf7, 0xeb, 0xfa});
    std::vector<u32> seen;
    bench.on_port_f7 = [&](u32 v) {
        seen.push_back(v & 0xff);
        // Device writes from the vCPU's own thread, as port handlers do.
        const u8 next = static_cast<u8>(v + 1);
        bench.load(0x8001, {&next, 1});
        if (seen.size() == 20) vcpu->kick();
    };
    EXPECT_TRUE(std::holds_alternative<Kicked>(vcpu->run()));
    ASSERT_GE(seen.size(), 20u);
    for (u32 i = 0; i < 20; ++i) EXPECT_EQ(seen[i], i + 1);
}

TEST_P(Contract, DmaFromAnotherThreadTakesEffect) {
    // 8000: mov al, 1; cmp al, 2; jne 8000; out 0xf7, al; jmp $
    start({0xb0, 0x01, 0x3c, 0x02, 0x75, 0xfa, 0xe6, 0xf7, 0xeb, 0xfe});
    std::atomic<bool> seen{false};
    bench.on_port_f7 = [&](u32) {
        seen = true;
        vcpu->kick();
    };
    std::thread t([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        const u8 two = 2;
        bench.load(0x8001, {&two, 1});
        std::this_thread::sleep_for(std::chrono::seconds(2));
        vcpu->kick();
    });
    (void)vcpu->run();
    t.join();
    EXPECT_TRUE(seen);
}

TEST_P(Contract, WrongIndicesAreErrors) {
    EXPECT_FALSE(bench.vm().create_vcpu(1));
    vcpu = std::move(bench.vm().create_vcpu(0).value());
    EXPECT_FALSE(bench.vm().create_vcpu(0));
}

TEST_P(Contract, HaltedVcpuSleeps) {
    start({0xf4});
    timespec before{}, after{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &before);
    std::thread t([this] {
        std::this_thread::sleep_for(std::chrono::milliseconds(300));
        vcpu->kick();
    });
    (void)vcpu->run();
    t.join();
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &after);
    const double used = static_cast<double>(after.tv_sec - before.tv_sec) * 1e3 +
                        static_cast<double>(after.tv_nsec - before.tv_nsec) / 1e6;
    EXPECT_LT(used, 100) << "milliseconds of processor time in 300 ms of HLT";
}

INSTANTIATE_TEST_SUITE_P(Engine, Contract, ::testing::Values("interp", "bt", "kvm", "kvm_user_chips"),
                         [](const auto& p) { return std::string(p.param); });

TEST(ContractConfig, UnknownEngineIsAnError) {
    auto memory = std::move(memory::GuestMemory::create(4096).value());
    auto loop = std::move(base::EventLoop::create().value());
    hypervisor::VmConfig config;
    config.engine = "magic";
    config.memory = memory.get();
    config.loop = loop.get();
    const auto vm = hypervisor::make_soft_vm(config);
    ASSERT_FALSE(vm);
    EXPECT_NE(vm.error().message.find("magic"), std::string::npos);
}

}  // namespace
}  // namespace triune::contract
