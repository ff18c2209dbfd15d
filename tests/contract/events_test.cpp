// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
//
// Writes that are an eventfd's signals, and eventfds whose signals are interrupts.
#include <poll.h>
#include <sys/eventfd.h>

#include "contract.h"

namespace triune::contract {
namespace {

using hypervisor::IoEvent;
using hypervisor::IrqEvent;

class EventFd {
public:
    EventFd() : fd_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {}
    [[nodiscard]] int get() const { return fd_.get(); }
    /// How often it was signalled since the last look.
    [[nodiscard]] u64 count() const {
        u64 n = 0;
        return ::read(fd_.get(), &n, sizeof n) == sizeof n ? n : 0;
    }
    void signal() const {
        const u64 one = 1;
        ASSERT_EQ(::write(fd_.get(), &one, sizeof one), static_cast<ssize_t>(sizeof one));
    }
    [[nodiscard]] bool wait(int milliseconds) const {
        pollfd p{.fd = fd_.get(), .events = POLLIN, .revents = 0};
        return ::poll(&p, 1, milliseconds) == 1;
    }

private:
    base::Fd fd_;
};

class IoEvents : public Contract {};

IoEvent on_port(const EventFd& fd, unsigned size, std::optional<u64> value = {}) {
    return {.space = IoEvent::Space::port, .address = 0xf8, .size = size, .value = value, .fd = fd.get()};
}

TEST_P(IoEvents, PortWritesOfTheSizeSignalAndDoNotReachIo) {
    const EventFd fd;
    ASSERT_TRUE(bench.vm().add_io_event(on_port(fd, 1)));
    // mov ax, 0x1234; three times out 0xf8, al; out 0xf8, ax; in al, 0xf8; out 0xf7, al; jmp $
    start({0xb8, 0x34, 0x12, 0xe6, 0xf8, 0xe6, 0xf8, 0xe6, 0xf8, 0xe7, 0xf8, 0xe4, 0xf8, 0xe6, 0xf7, 0xeb,
           0xfe});
    ASSERT_TRUE(run_to_mark());
    EXPECT_EQ(fd.count(), 3u);
    EXPECT_EQ(bench.port_f8, std::vector<u32>{0x1234});
    EXPECT_EQ(vcpu->state().gpr[x86::rax] & 0xff, 0xffu) << "reads go to Io";
}

TEST_P(IoEvents, OnlyTheWantedValueSignals) {
    const EventFd fd2, fd5;
    ASSERT_TRUE(bench.vm().add_io_event(on_port(fd2, 1, 2)));
    ASSERT_TRUE(bench.vm().add_io_event(on_port(fd5, 1, 5)));
    // mov al, 0; again: out 0xf8, al; inc al; cmp al, 8; jne again; out 0xf7, al; jmp $
    start({0xb0, 0x00, 0xe6, 0xf8, 0xfe, 0xc0, 0x3c, 0x08, 0x75, 0xf8, 0xe6, 0xf7, 0xeb, 0xfe});
    ASSERT_TRUE(run_to_mark());
    EXPECT_EQ(fd2.count(), 1u);
    EXPECT_EQ(fd5.count(), 1u);
    EXPECT_EQ(bench.port_f8, (std::vector<u32>{0, 1, 3, 4, 6, 7}));
}

TEST_P(IoEvents, WhatIsRemovedReachesIoAgain) {
    const EventFd fd;
    ASSERT_TRUE(bench.vm().add_io_event(on_port(fd, 1)));
    // mov al, 7; again: out 0xf8, al; out 0xf7, al; jmp again
    start({0xb0, 0x07, 0xe6, 0xf8, 0xe6, 0xf7, 0xeb, 0xfa});
    ASSERT_TRUE(run_to_mark());
    EXPECT_EQ(fd.count(), 1u);
    ASSERT_TRUE(bench.vm().remove_io_event(on_port(fd, 1)));
    EXPECT_FALSE(bench.vm().remove_io_event(on_port(fd, 1)));
    ASSERT_TRUE(run_to_mark());
    EXPECT_EQ(fd.count(), 0u);
    EXPECT_EQ(bench.port_f8, std::vector<u32>{7});
    ASSERT_TRUE(bench.vm().add_io_event(on_port(fd, 1)));
    ASSERT_TRUE(run_to_mark());
    EXPECT_EQ(fd.count(), 1u);
}

TEST_P(IoEvents, MemoryWrites) {
    constexpr Gpa page = 0xd0000000;
    const EventFd at_4, at_8, at_8_wide;
    ASSERT_TRUE(bench.vm().add_io_event({.address = page + 4, .size = 2, .fd = at_4.get()}));
    ASSERT_TRUE(bench.vm().add_io_event({.address = page + 8, .size = 1, .fd = at_8.get()}));
    ASSERT_TRUE(bench.vm().add_io_event(
        {.address = page + 8, .size = 4, .value = 0x12345678, .fd = at_8_wide.get()}));
    start({0xc7, 0x06, 0x04, 0x00, 0x11, 0x22,                    // mov word [4], 0x2211
           0xc6, 0x06, 0x08, 0x00, 0x33,                          // mov byte [8], 0x33
           0xc6, 0x06, 0x09, 0x00, 0x44,                          // mov byte [9], 0x44: Io's
           0x66, 0xc7, 0x06, 0x08, 0x00, 0x78, 0x56, 0x34, 0x12,  // mov dword [8], 0x12345678
           0x66, 0xc7, 0x06, 0x0c, 0x00, 0x78, 0x56, 0x34, 0x12,  // mov dword [12], …: Io's
           0xe6, 0xf7, 0xeb, 0xfe});
    x86::VcpuState s = vcpu->state();
    s.seg[x86::ds].base = page;
    vcpu->set_state(s);
    ASSERT_TRUE(run_to_mark());
    EXPECT_EQ(at_4.count(), 1u);
    EXPECT_EQ(at_8.count(), 1u);
    EXPECT_EQ(at_8_wide.count(), 1u);
    EXPECT_EQ(bench.mmio_read(page, 8), 0u);
    EXPECT_EQ(bench.mmio_read(page + 8, 8), 0x12345678'00004400u);
}

TEST_P(IoEvents, NonsenseIsRefused) {
    const EventFd fd;
    hypervisor::Vm& vm = bench.vm();
    EXPECT_FALSE(vm.add_io_event(on_port(fd, 3)));
    EXPECT_FALSE(vm.add_io_event(on_port(fd, 8)));
    EXPECT_FALSE(vm.add_io_event(on_port(fd, 0)));
    EXPECT_FALSE(
        vm.add_io_event({.space = IoEvent::Space::port, .address = 0xffff, .size = 2, .fd = fd.get()}));
    EXPECT_FALSE(vm.add_io_event({.address = ~u64{0}, .size = 4, .fd = fd.get()}));
    EXPECT_FALSE(vm.add_io_event({.address = 0x1000, .size = 4, .fd = -1}));
    EXPECT_FALSE(vm.add_io_event({.address = 0x1000, .size = 4, .fd = bench.memory().memfd()}));
    ASSERT_TRUE(vm.add_io_event(on_port(fd, 1, 5)));
    EXPECT_FALSE(vm.add_io_event(on_port(fd, 1, 5)));
    EXPECT_FALSE(vm.add_io_event(on_port(fd, 1)));
    EXPECT_TRUE(vm.add_io_event(on_port(fd, 1, 6)));
    EXPECT_TRUE(vm.add_io_event(on_port(fd, 2)));
    EXPECT_FALSE(vm.remove_io_event(on_port(fd, 1)));
    EXPECT_FALSE(vm.add_irq_event({.fd = bench.memory().memfd(), .gsi = 5}));
    EXPECT_FALSE(vm.add_irq_event({.fd = fd.get(), .gsi = 24}));
    ASSERT_TRUE(vm.add_irq_event({.fd = fd.get(), .gsi = 5}));
    EXPECT_FALSE(vm.add_irq_event({.fd = fd.get(), .gsi = 5}));
    EXPECT_TRUE(vm.remove_irq_event({.fd = fd.get(), .gsi = 5}));
}

TEST_P(IoEvents, EventsComeAndGoWhileTheGuestWrites) {
    // again: out 0xf8, al; inc dword [0x500]; jmp again
    start({0xe6, 0xf8, 0x66, 0xff, 0x06, 0x00, 0x05, 0xeb, 0xf7});
    std::atomic<bool> done{false};
    u64 signalled = 0;
    std::thread t([&] {
        for (int i = 0; i < 200; ++i) {
            const EventFd fd;
            if (!bench.vm().add_io_event(on_port(fd, 1))) break;
            (void)fd.wait(1000);
            if (!bench.vm().remove_io_event(on_port(fd, 1))) break;
            signalled += fd.count() != 0;
        }
        done = true;
        vcpu->kick();
    });
    EXPECT_TRUE(std::holds_alternative<hypervisor::Kicked>(vcpu->run()));
    t.join();
    EXPECT_TRUE(done);
    EXPECT_EQ(signalled, 200u);
}

INSTANTIATE_TEST_SUITE_P(Engine, IoEvents, ::testing::Values("interp", "bt", "kvm", "kvm_user_chips"),
                         [](const auto& p) { return std::string(p.param); });

class IrqEvents : public ::testing::TestWithParam<const char*> {};

TEST_P(IrqEvents, EdgeLevelAndMessage) {
    Bench bench(GetParam());
    if (!bench.unavailable.empty()) GTEST_SKIP() << bench.unavailable;
    hypervisor::Vm& vm = bench.vm();
    const EventFd edge, level, resample, message;
    const auto gsi = vm.add_msi_gsi(0xfee00000, 0x61);
    ASSERT_TRUE(gsi);
    EXPECT_GE(*gsi, 24u);
    ASSERT_TRUE(vm.add_irq_event({.fd = edge.get(), .gsi = 10}));
    ASSERT_TRUE(vm.add_irq_event({.fd = level.get(), .gsi = 20, .resample_fd = resample.get()}));
    ASSERT_TRUE(vm.add_irq_event({.fd = message.get(), .gsi = *gsi}));

    int edges = 0, levels = 0, messages = 0;
    bool quiet = false;  // nobody was told to raise the level again before the guest ended its interrupt
    std::thread resampler;
    bench.on_port_f7 = [&](u32 mark) {
        switch (mark & 0xff) {
            case 1: edge.signal(); break;
            case 0x41: ++edges < 5 ? edge.signal() : level.signal(); break;
            case 0x51:
                quiet = !resample.wait(0);
                if (++levels > 1) break;
                // A device that wants the interrupt three times.
                resampler = std::thread([&] {
                    for (int i = 0; i < 2 && resample.wait(5000); ++i) {
                        EXPECT_EQ(resample.count(), 1u);
                        level.signal();
                    }
                    if (resample.wait(5000)) message.signal();
                });
                break;
            case 0x61: ++messages < 2 ? message.signal() : vm.signal_msi(0xfee00000, 0x71); break;
            default: break;
        }
    };
    bench.load_guest("irq_event");
    bench.run(60);
    if (resampler.joinable()) resampler.join();
    EXPECT_EQ(bench.result, passed) << bench.story();
    EXPECT_TRUE(quiet);
    EXPECT_EQ(levels, 3);
    EXPECT_TRUE(vm.remove_irq_event({.fd = level.get(), .gsi = 20, .resample_fd = resample.get()}));
    vm.remove_msi_gsi(*gsi);
}

INSTANTIATE_TEST_SUITE_P(Engine, IrqEvents, ::testing::Values("interp", "bt", "kvm", "kvm_user_chips"),
                         [](const auto& p) { return std::string(p.param); });

}  // namespace
}  // namespace triune::contract
