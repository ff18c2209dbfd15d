// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/kvm/chip_state.h"

#include <gtest/gtest.h>

#include <cstring>

namespace triune::hypervisor::kvm {
namespace {

constexpr size_t isr = 16, irr = 32, lvt_timer = 50, initial = 56, current = 57;

TEST(KvmChips, LapicRegistersGoBothWays) {
    LapicState s, back;
    for (u32 i = 0; i < s.reg.size(); ++i) s.reg[i] = 0x01010101u * i;
    s.reg[lvt_timer] = 0x200ec;  // periodic
    kvm_lapic_state k{};
    to_kvm(k, s);
    u32 icr = 0;
    std::memcpy(&icr, k.regs + 0x300, 4);
    EXPECT_EQ(icr, s.reg[48]);
    from_kvm(back, k);
    EXPECT_EQ(back.reg, s.reg);
}

TEST(KvmChips, AnEndedCountDoesNotEndTwice) {
    LapicState s, back;
    s.reg[lvt_timer] = 0xec;  // one-shot
    s.reg[initial] = 1000;
    kvm_lapic_state k{};
    to_kvm(k, s);
    from_kvm(back, k);
    EXPECT_EQ(back.reg[initial], 0u);
    s.reg[current] = 10;
    to_kvm(k, s);
    from_kvm(back, k);
    EXPECT_EQ(back.reg[initial], 1000u);
    EXPECT_EQ(back.reg[current], 10u);
}

TEST(KvmChips, AnEndedCountOfKvmMayStillBeOnItsWay) {
    kvm_lapic_state k{};
    const u32 lvt = 0xec, count = 1000;
    std::memcpy(k.regs + lvt_timer * 16, &lvt, 4);
    std::memcpy(k.regs + initial * 16, &count, 4);
    LapicState s;
    from_kvm(s, k);
    EXPECT_EQ(s.reg[current], 1u);
}

TEST(KvmChips, IoApicDeliversLevelsAgainAndEdgesNot) {
    IoApicState s, back;
    s.select = 0x12, s.id = 3;
    for (u64 i = 0; i < s.redirection.size(); ++i) s.redirection[i] = i << 56 | (0x30 + i);
    s.redirection[9] |= 1 << 15 | 1 << 14;
    s.redirection[10] |= 1 << 15;
    s.lines = 1 << 4 | 1 << 9 | 1 << 2;
    kvm_ioapic_state k{};
    k.base_address = 0xfec00000;
    to_kvm(k, s);
    EXPECT_EQ(k.irr, 1u << 9);
    EXPECT_EQ(k.base_address, 0xfec00000u);
    k.irr |= 1 << 10;  // raised by an irqfd
    from_kvm(back, k, 1 << 4);
    EXPECT_EQ(back.redirection, s.redirection);
    EXPECT_EQ(back.lines, 1u << 4 | 1u << 9 | 1u << 10);
    EXPECT_EQ(back.select, 0x12u);
    EXPECT_EQ(back.id, 3u);
}

TEST(KvmChips, PicGoesBothWays) {
    PicState s, back;
    s.irr = 0x11, s.isr = 0x20, s.imr = 0xb8, s.lines = 0x10, s.elcr = 0x0c;
    s.base = 0x70, s.lowest = 2, s.icw_expected = 3, s.icw4_needed = 1;
    s.read_isr = s.special_mask = s.auto_eoi = s.rotate_on_auto_eoi = s.special_nested = 1;
    kvm_pic_state k{};
    k.elcr_mask = 0xde;
    to_kvm(k, s);
    EXPECT_EQ(k.priority_add, 3);
    EXPECT_EQ(k.init_state, 2);
    from_kvm(back, k);
    EXPECT_EQ(back.irr, s.irr);
    EXPECT_EQ(back.isr, s.isr);
    EXPECT_EQ(back.imr, s.imr);
    EXPECT_EQ(back.lines, s.lines);
    EXPECT_EQ(back.elcr, s.elcr);
    EXPECT_EQ(back.base, s.base);
    EXPECT_EQ(back.lowest, s.lowest);
    EXPECT_EQ(back.icw_expected, s.icw_expected);
    EXPECT_EQ(back.special_nested, s.special_nested);
}

TEST(KvmChips, APicThatNobodySetUpIsMasked) {
    PicState s;
    s.icw_expected = 1;
    kvm_pic_state k{};
    to_kvm(k, s);
    EXPECT_EQ(k.imr, 0xff);
    EXPECT_EQ(k.init_state, 0);
}

TEST(KvmChips, PitCountersBeginAnew) {
    PitState s, back;
    s.elapsed_ns = 5'000'000;
    s.speaker = 1;
    s.counter[0] = {.mode = 2, .access = 3, .loaded = 1, .reload = 11932, .start = 77, .read_high = 1};
    s.counter[2] = {.mode = 0, .access = 3, .gate = 1, .loaded = 1, .reload = 5000, .start = 100};
    s.counter[2].latched_bytes = 1;
    s.counter[2].latch = 0x12;
    kvm_pit_state2 k{};
    to_kvm(k, s);
    EXPECT_EQ(k.channels[0].count, 11932u);
    EXPECT_EQ(k.channels[0].read_state, 4);
    EXPECT_EQ(k.channels[1].mode, 0xff) << "nobody has used it";
    EXPECT_EQ(k.channels[2].count_latched, 2);
    EXPECT_EQ(k.channels[2].latched_count, 0x1200);
    constexpr u64 now = 10'000'000'000;
    k.channels[2].count_load_time = now - 1'000'000;  // what KVM does with it
    from_kvm(back, k, now);
    EXPECT_EQ(back.speaker, 1);
    EXPECT_EQ(back.counter[0].mode, 2);
    EXPECT_EQ(back.counter[0].reload, 11932u);
    EXPECT_TRUE(back.counter[0].read_high);
    EXPECT_EQ(back.line, 1) << "a rate generator's output is high when it begins";
    EXPECT_FALSE(back.counter[1].loaded);
    EXPECT_EQ(back.counter[2].latch, 0x12);
    EXPECT_EQ(back.counter[2].latched_bytes, 1);
    const u64 ticks = back.elapsed_ns * 1'193'182 / 1'000'000'000;
    EXPECT_EQ(back.counter[0].start, ticks);
    EXPECT_NEAR(static_cast<double>(ticks - back.counter[2].start), 1193, 1);
}

TEST(KvmChips, AnInterruptThatWasNotBegunWaitsAgain) {
    ChipState s;
    s.lapic.resize(2);
    s.lapic[1].reg[isr + 1] = 1 << 5 | 1 << 2;
    take_back(s, 1, 0x25);
    EXPECT_EQ(s.lapic[1].reg[isr + 1], 1u << 2);
    EXPECT_EQ(s.lapic[1].reg[irr + 1], 1u << 5);
    s.pic[0].base = 0x30, s.pic[1].base = 0x38;
    s.pic[0].isr = 1 << 2, s.pic[1].isr = 1 << 4;
    take_back(s, 0, 0x3c);
    EXPECT_EQ(s.pic[0].isr, 0);
    EXPECT_EQ(s.pic[1].isr, 0);
    EXPECT_EQ(s.pic[0].irr, 1 << 2);
    EXPECT_EQ(s.pic[1].irr, 1 << 4);
}

}  // namespace
}  // namespace triune::hypervisor::kvm
