// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "machine/message_events.h"

#include <gtest/gtest.h>
#include <unistd.h>

namespace triune::machine {
namespace {

/// Keeps what is added, and looks at the eventfds.
struct FakeVm final : hypervisor::Vm {
    Result<std::unique_ptr<hypervisor::Vcpu>> create_vcpu(unsigned) override { return fail("none"); }
    void set_gsi(unsigned, bool) override {}
    void signal_msi(u64, u32) override {}
    Result<void> add_io_event(const hypervisor::IoEvent&) override { return fail("none"); }
    Result<void> remove_io_event(const hypervisor::IoEvent&) override { return fail("none"); }
    Result<void> add_irq_event(const hypervisor::IrqEvent& e) override {
        if (full) return fail("full");
        fd_of[e.gsi] = ::dup(e.fd);
        return {};
    }
    Result<void> remove_irq_event(const hypervisor::IrqEvent& e) override {
        ::close(fd_of.at(e.gsi));
        fd_of.erase(e.gsi);
        return {};
    }
    Result<unsigned> add_msi_gsi(u64 address, u32 data) override {
        messages[next] = {address, data};
        return next++;
    }
    void remove_msi_gsi(unsigned gsi) override { messages.erase(gsi); }
    Result<void> set_dirty_log(unsigned, bool) override { return fail("none"); }
    Result<memory::PageBitmap> take_dirty_log(unsigned) override { return fail("none"); }

    u64 signals(unsigned gsi) {
        u64 n = 0;
        return ::read(fd_of.at(gsi), &n, sizeof n) == sizeof n ? n : 0;
    }
    bool full = false;
    unsigned next = 24;
    std::map<unsigned, int> fd_of;
    std::map<unsigned, std::pair<u64, u32>> messages;
};

TEST(MessageEvents, EachMessageHasAnEvent) {
    FakeVm vm;
    {
        MessageEvents events(vm);
        EXPECT_TRUE(events.send(0xfee00000, 0x41));
        EXPECT_TRUE(events.send(0xfee00000, 0x41));
        EXPECT_TRUE(events.send(0xfee01000, 0x41));
        EXPECT_EQ(vm.messages.size(), 2u);
        EXPECT_EQ(vm.messages.at(25), std::pair(u64{0xfee01000}, u32{0x41}));
        EXPECT_EQ(vm.signals(24), 2u);
        EXPECT_EQ(vm.signals(25), 1u);
    }
    EXPECT_TRUE(vm.messages.empty());
    EXPECT_TRUE(vm.fd_of.empty());
}

TEST(MessageEvents, WhereThereIsNoRoomItSaysSo) {
    FakeVm vm;
    vm.full = true;
    MessageEvents events(vm);
    EXPECT_FALSE(events.send(0xfee00000, 0x41));
    EXPECT_TRUE(vm.messages.empty());
}

TEST(MessageEvents, AGuestCannotFillTheTable) {
    FakeVm vm;
    MessageEvents events(vm);
    for (u32 i = 0; i < 1000; ++i) EXPECT_TRUE(events.send(0xfee00000, i));
    EXPECT_LE(vm.messages.size(), 128u);
    EXPECT_EQ(vm.messages.size(), vm.fd_of.size());
}

}  // namespace
}  // namespace triune::machine
