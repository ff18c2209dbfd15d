// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/vm_state.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "hypervisor/soft/vcpu_io.h"

namespace triune::hypervisor::soft {
namespace {

/// Records what reaches the devices behind the interrupt chip.
struct RecordingIo : Io {
    std::vector<std::pair<u64, unsigned>> accesses;
    u32 port_read(u16 port, unsigned size) override {
        accesses.emplace_back(port, size);
        return 0xa5a5a5a5;
    }
    void port_write(u16 port, u32, unsigned size) override { accesses.emplace_back(port, size); }
    u64 mmio_read(Gpa gpa, unsigned size) override {
        accesses.emplace_back(gpa, size);
        return 0;
    }
    void mmio_write(Gpa gpa, u64, unsigned size) override { accesses.emplace_back(gpa, size); }
};

class VmStateTest : public ::testing::Test {
protected:
    VmStateTest() {
        memory->add_slot(0, 1 << 20, 0).value();
        VmConfig config;
        config.engine = "interp";
        config.cpus = 3;
        config.memory = memory.get();
        config.io = &io;
        config.loop = loop.get();
        vm = VmState::create(config).value();
    }
    RecordingIo io;
    std::unique_ptr<memory::GuestMemory> memory = std::move(memory::GuestMemory::create(1 << 20).value());
    std::unique_ptr<base::EventLoop> loop = std::move(base::EventLoop::create().value());
    std::shared_ptr<VmState> vm;
};

TEST_F(VmStateTest, OnlyTheBootProcessorStarts) {
    EXPECT_FALSE(vm->slot(0).context().state.waiting_for_sipi);
    EXPECT_TRUE(vm->slot(1).context().state.waiting_for_sipi);
    EXPECT_EQ(vm->slot(2).context().index, 2u);
    EXPECT_EQ(vm->slot(0).context().state.tsc_offset, vm->slot(2).context().state.tsc_offset);
}

TEST_F(VmStateTest, DroppingPermissionsWaitsForWhoIsInTheGuest) {
    vm->slot(0).in_guest = 1;
    vm->slot(1).in_guest = 1;  // 2 is outside
    std::atomic<bool> done{false};
    std::thread t([&] {
        vm->drop_write_permissions(0);
        done = true;
    });
    auto& signals = vm->slot(1).context().signals;
    while (!signals.any()) std::this_thread::yield();
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    EXPECT_FALSE(done);
    EXPECT_TRUE(signals.take(cpu::Signal::tlb_write_flush));
    t.join();
    EXPECT_TRUE(vm->slot(2).context().signals.take(cpu::Signal::tlb_write_flush))
        << "it takes it when it enters";
    EXPECT_EQ(vm->slot(0).in_guest, 1u);
    EXPECT_FALSE(vm->slot(0).context().signals.any());
}

TEST_F(VmStateTest, AllDroppingAtOnceEnds) {
    std::vector<std::thread> threads;
    for (unsigned i = 0; i < 3; ++i)
        threads.emplace_back([&, i] {
            vm->slot(i).in_guest = 1;
            for (int n = 0; n < 2000; ++n) {
                vm->drop_write_permissions(i);
                (void)vm->slot(i).context().signals.take(
                    cpu::Signal::tlb_write_flush);  // as Mmu::mark_code does
            }
            vm->slot(i).in_guest = 0;
        });
    for (auto& t : threads) t.join();
    SUCCEED();
}

TEST_F(VmStateTest, WrittenCodeIsQueuedForEveryVcpuAndBounded) {
    memory->page_flags(0x3000) |= memory::page_has_code;
    const u32 value = 1;
    ASSERT_TRUE(memory->write(0x3010, &value, 4));
    for (unsigned i = 0; i < 3; ++i) {
        EXPECT_TRUE(vm->slot(i).context().signals.take(cpu::Signal::code_written));
        const base::MutexLock lock(vm->slot(i).code_mutex);
        ASSERT_EQ(vm->slot(i).code_written.size(), 1u);
        EXPECT_LE(vm->slot(i).code_written[0].gpa, 0x3010u);
    }
    for (Gpa gpa = 0; gpa < 1000 * 4096; gpa += 8192) vm->code_written(gpa, 4);
    const base::MutexLock lock(vm->slot(0).code_mutex);
    EXPECT_LE(vm->slot(0).code_written.size(), 65u);
    u64 covered = 0;
    for (const auto& r : vm->slot(0).code_written)
        for (Gpa gpa = 0; gpa < 1000 * 4096; gpa += 8192)
            covered += gpa >= r.gpa && gpa + 4 <= r.gpa + r.size;
    EXPECT_GE(covered, 500u);
}

TEST_F(VmStateTest, ChipPortsAreTakenOutByteByByte) {
    observe::TimeLedger time;
    VcpuIo to(vm->chip(), 0, vm->io_events(), io, time);
    to.port_write(0x21, 0xfb, 1);
    EXPECT_EQ(to.port_read(0x21, 1), 0xfbu);
    EXPECT_TRUE(io.accesses.empty());
    EXPECT_EQ(to.port_read(0x21, 2), 0xa5fbu) << "0x22 is a device's";
    ASSERT_EQ(io.accesses.size(), 1u);
    EXPECT_EQ(io.accesses[0], (std::pair<u64, unsigned>{0x22, 1}));
    EXPECT_EQ(to.port_read(0x3f8, 4), 0xa5a5a5a5u);
    EXPECT_EQ(io.accesses[1], (std::pair<u64, unsigned>{0x3f8, 4}));
}

TEST_F(VmStateTest, ApicPageFollowsItsBaseAndMode) {
    observe::TimeLedger time;
    VcpuIo to(vm->chip(), 1, vm->io_events(), io, time);
    EXPECT_EQ(to.mmio_read(0xfee00020, 4), 1u << 24);
    EXPECT_EQ(to.mmio_read(0xfee00023, 1), 1u);
    EXPECT_EQ(to.mmio_read(0xfee00024, 4), 0u);
    to.mmio_write(0xfee00080, 0x55, 1);
    EXPECT_EQ(to.mmio_read(0xfee00080, 4), 0u) << "registers are written 32 bits at a time";
    to.mmio_write(0xfee00080, 0x55, 4);
    EXPECT_EQ(to.mmio_read(0xfee00080, 4), 0x55u);
    EXPECT_TRUE(io.accesses.empty());
    ASSERT_TRUE(vm->chip().apic(1).set_apic_base(0xfed00800));
    (void)to.mmio_read(0xfee00020, 4);
    EXPECT_EQ(io.accesses.size(), 1u);
    EXPECT_EQ(to.mmio_read(0xfed00020, 4), 1u << 24);
    to.mmio_write(0xfec00000, 1, 4);
    EXPECT_EQ(to.mmio_read(0xfec00010, 4), 0x170020u);
    EXPECT_EQ(io.accesses.size(), 1u);
}

}  // namespace
}  // namespace triune::hypervisor::soft
