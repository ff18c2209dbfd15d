// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <map>

#include "base/state_visitor.h"
#include "hypervisor/soft/irqchip/irqchip.h"

namespace triune::hypervisor::soft::irqchip {
namespace {

class Values final : public base::PathVisitor {
public:
    std::map<std::string, std::vector<u8>> values;

private:
    void visit_path(const std::string& path, std::span<u8> bytes) override {
        EXPECT_TRUE(values.emplace(path, std::vector<u8>(bytes.begin(), bytes.end())).second)
            << path << " twice";
    }
};

std::map<std::string, std::vector<u8>> values_of(ChipState s) {
    Values v;
    describe(v, s);
    // These go on with time.
    v.values.erase("pit.elapsed_ns");
    for (const char* lapic : {"lapic0.reg", "lapic1.reg"})
        std::fill_n(v.values.at(lapic).begin() + 57 * 4, 4, u8{0});
    return v.values;
}

struct Chip {
    std::unique_ptr<base::EventLoop> loop = std::move(*base::EventLoop::create());
    x86::CpuModel model;
    std::array<cpu::VcpuContext, 2> vcpus;
    std::unique_ptr<IrqChip> chip;
    Chip() {
        for (unsigned i = 0; i < 2; ++i) {
            vcpus[i].index = i;
            vcpus[i].model = &model;
        }
        chip = std::make_unique<IrqChip>(std::vector<cpu::VcpuContext*>{&vcpus[0], &vcpus[1]}, *loop);
    }
};

/// A chip in which everything is other than after a reset.
void make_busy(IrqChip& chip) {
    for (const auto& [port, value] : std::initializer_list<std::pair<u16, u8>>{{0x20, 0x11},
                                                                               {0x21, 0x30},
                                                                               {0x21, 4},
                                                                               {0x21, 1},
                                                                               {0xa0, 0x11},
                                                                               {0xa1, 0x38},
                                                                               {0xa1, 2},
                                                                               {0xa1, 1},
                                                                               {0x21, 0xe1},
                                                                               {0xa1, 0xbe},
                                                                               {0x4d0, 0x20},
                                                                               {0x43, 0x34},
                                                                               {0x40, 0x34},
                                                                               {0x40, 0x12},
                                                                               {0x43, 0xb6},
                                                                               {0x42, 0x55},
                                                                               {0x61, 3}})
        chip.port_write(port, value);
    for (unsigned pin = 0; pin < 24; ++pin) {
        chip.ioapic().write(0, 0x10 + 2 * pin);
        chip.ioapic().write(0x10, 0x10000 | (0x40 + pin) | (pin > 15 ? 0x8000 : 0));
    }
    chip.set_gsi(4, true);
    chip.set_gsi(17, true);
    for (unsigned i = 0; i < 2; ++i) {
        Lapic& a = chip.apic(i);
        a.write_mmio(0xf0, 0x1ff);
        a.write_mmio(0x80, 0x20);
        a.write_mmio(0xd0, 0x01000000u << i);
        a.write_mmio(0x3e0, 0xb);
        a.write_mmio(0x320, 0x200ec);
        a.write_mmio(0x380, 100'000'000);
    }
    chip.signal_msi(0xfee00000, 0x51);
    chip.signal_msi(0xfee01000, 0x82);
    EXPECT_EQ(chip.apic(1).acknowledge(), 0x82);
    chip.signal_msi(0xfee01000, 0xc3);
}

TEST(ChipState, MovesToAnotherChip) {
    Chip from, to;
    make_busy(*from.chip);
    const ChipState state = from.chip->state();
    EXPECT_NE(values_of(state), values_of(to.chip->state()));
    to.chip->set_state(state);
    EXPECT_EQ(values_of(to.chip->state()), values_of(from.chip->state()));
    // What was pending there is delivered here, in the same order.
    for (Chip* c : {&from, &to}) {
        EXPECT_TRUE(c->chip->apic(1).has_interrupt());
        EXPECT_EQ(c->chip->apic(1).acknowledge(), 0xc3);
        c->chip->apic(1).write_mmio(0xb0, 0);
        c->chip->apic(1).write_mmio(0xb0, 0);
        EXPECT_FALSE(c->chip->apic(1).has_interrupt());
        // A level that was up is seen when its pin is unmasked.
        c->chip->ioapic().write(0, 0x10 + 2 * 17);
        c->chip->ioapic().write(0x10, 0x8000 | 0x91);
        EXPECT_EQ(c->chip->apic(0).acknowledge(), 0x34) << "IRQ 4 of the 8259A, through LINT0";
        EXPECT_EQ(c->chip->apic(0).acknowledge(), 0x91);
    }
}

TEST(ChipState, TimerGoesOn) {
    Chip from, to;
    Lapic& a = from.chip->apic(0);
    a.write_mmio(0xf0, 0x1ff);
    a.write_mmio(0x3e0, 0xb);  // divide by 1
    a.write_mmio(0x320, 0xec);
    a.write_mmio(0x380, 2'000'000'000);
    to.chip->set_state(from.chip->state());
    const u32 left = to.chip->apic(0).read_mmio(0x390);
    EXPECT_LE(left, 2'000'000'000u);
    EXPECT_GE(left + 1'900'000'000u, a.read_mmio(0x390)) << "some of the time was lost";
    EXPECT_NE(left, 0u);
    EXPECT_NE(to.chip->apic(0).next_deadline_ns(), ~u64{0});
}

}  // namespace
}  // namespace triune::hypervisor::soft::irqchip
