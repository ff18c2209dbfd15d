// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/kvm/chip_state.h"

#include <algorithm>
#include <cstring>

namespace triune::hypervisor::kvm {

// -- local APIC -------------------------------------------------------------------------------------

namespace {

/// Register numbers in LapicState::reg.
constexpr size_t isr = 16, irr = 32, lvt_timer = 50, initial_count = 56, current_count = 57;

bool one_shot(u32 lvt) { return (lvt >> 17 & 3) == 0; }

u32 bit_of(u8 vector) { return 1u << (vector & 31); }

}  // namespace

void to_kvm(kvm_lapic_state& k, const LapicState& s) {
    LapicState out = s;
    // KVM would let a count that has ended end again.
    if (one_shot(s.reg[lvt_timer]) && s.reg[current_count] == 0) out.reg[initial_count] = 0;
    for (size_t i = 0; i < out.reg.size(); ++i) std::memcpy(&k.regs[i * 16], &out.reg[i], sizeof(u32));
}

void from_kvm(LapicState& s, const kvm_lapic_state& k) {
    for (size_t i = 0; i < s.reg.size(); ++i) std::memcpy(&s.reg[i], &k.regs[i * 16], sizeof(u32));
    // Ended, or ended but not yet seen by its vCPU: an interrupt too many is better than one too few.
    if (one_shot(s.reg[lvt_timer]) && s.reg[initial_count] && s.reg[current_count] == 0)
        s.reg[current_count] = 1;
}

// -- I/O APIC ---------------------------------------------------------------------------------------

namespace {

constexpr u32 timer_pin = 1 << 2;

u32 level_triggered(const IoApicState& s) {
    u32 pins = 0;
    for (size_t i = 0; i < s.redirection.size(); ++i)
        pins |= static_cast<u32>(s.redirection[i] >> 15 & 1) << i;
    return pins;
}

}  // namespace

void to_kvm(kvm_ioapic_state& k, const IoApicState& s) {
    k.ioregsel = s.select;
    k.id = s.id;
    for (size_t i = 0; i < s.redirection.size(); ++i) k.redirtbl[i].bits = s.redirection[i];
    // What is set here is delivered: an edge was when it came.
    k.irr = s.lines & level_triggered(s) & ~timer_pin;
}

void from_kvm(IoApicState& s, const kvm_ioapic_state& k, u32 asserted) {
    s.select = k.ioregsel;
    s.id = k.id;
    for (size_t i = 0; i < s.redirection.size(); ++i) s.redirection[i] = k.redirtbl[i].bits;
    s.lines = asserted | (k.irr & level_triggered(s));
}

// -- 8259A ------------------------------------------------------------------------------------------

void to_kvm(kvm_pic_state& k, const PicState& s) {
    k.last_irr = s.lines;
    k.irr = s.irr;
    k.isr = s.isr;
    // A chip that waits for its first ICW1 answers nothing; KVM's has no such state.
    k.imr = s.icw_expected == 1 ? u8{0xff} : s.imr;
    k.init_state = s.icw_expected > 1 ? static_cast<u8>(s.icw_expected - 1) : u8{0};
    k.priority_add = (s.lowest + 1) & 7;
    k.irq_base = s.base;
    k.read_reg_select = s.read_isr;
    k.poll = s.poll;
    k.special_mask = s.special_mask;
    k.auto_eoi = s.auto_eoi;
    k.rotate_on_auto_eoi = s.rotate_on_auto_eoi;
    k.special_fully_nested_mode = s.special_nested;
    k.init4 = s.icw4_needed;
    k.elcr = s.elcr & k.elcr_mask;
}

void from_kvm(PicState& s, const kvm_pic_state& k) {
    s.lines = k.last_irr;
    s.irr = k.irr;
    s.isr = k.isr;
    s.imr = k.imr;
    s.icw_expected = k.init_state ? static_cast<u8>(k.init_state + 1) : u8{0};
    s.lowest = (k.priority_add + 7) & 7;
    s.base = k.irq_base;
    s.read_isr = k.read_reg_select;
    s.poll = k.poll;
    s.special_mask = k.special_mask;
    s.auto_eoi = k.auto_eoi;
    s.rotate_on_auto_eoi = k.rotate_on_auto_eoi;
    s.special_nested = k.special_fully_nested_mode;
    s.icw4_needed = k.init4;
    s.elcr = k.elcr;
}

// -- 8254 -------------------------------------------------------------------------------------------

namespace {

__extension__ typedef unsigned __int128 u128;
constexpr u64 pit_hz = 1'193'182, second = 1'000'000'000;
/// i8254.c: which byte comes next, and what it leaves in a counter's `mode` at reset.
enum : u8 { low = 1, high = 2, low_then_high = 3, then_high = 4 };
constexpr u8 no_mode = 0xff;

u64 ticks(u64 ns) { return static_cast<u64>(u128{ns} * pit_hz / second); }

void to_kvm(kvm_pit_channel_state& k, const PitCounterState& s) {
    const bool untouched = !s.loaded && s.start == 0;
    k.mode = untouched ? no_mode : s.mode;
    k.rw_mode = s.access;
    k.bcd = s.bcd;
    k.gate = s.gate;
    k.count = s.next_reload ? s.next_reload : s.reload;
    k.write_latch = s.low_byte;
    k.write_state = s.access == low_then_high && s.write_high ? u8{then_high} : s.access;
    k.read_state = s.access == low_then_high && s.read_high ? u8{then_high} : s.access;
    k.status_latched = s.status_latched;
    k.status = s.status;
    k.count_latched = 0;
    k.latched_count = s.latch;
    if (s.latched_bytes == 2) {
        k.count_latched = low_then_high;
    } else if (s.latched_bytes == 1) {
        k.count_latched = s.access == low ? low : high;
        if (k.count_latched == high) k.latched_count = static_cast<u16>(s.latch << 8);
    }
}

/// `elapsed`: ticks since it was loaded, or 0 where nobody knows. `now`: PitState's time.
void from_kvm(PitCounterState& s, const kvm_pit_channel_state& k, u64 elapsed, u64 now) {
    s = {};
    s.mode = k.mode <= 5 ? k.mode : u8{0};
    s.access = k.rw_mode & 3 ? k.rw_mode & 3 : low_then_high;
    s.bcd = k.bcd;
    s.gate = k.gate;
    s.loaded = k.mode != no_mode && k.count != 0;
    s.triggered = s.loaded && (s.mode == 1 || s.mode == 5);
    s.reload = k.count ? k.count : 0x10000;
    s.start = now - elapsed;
    if (s.loaded && !s.gate && !s.triggered) s.frozen = now;
    s.low_byte = k.write_latch;
    s.write_high = k.write_state == then_high;
    s.read_high = k.read_state == then_high;
    s.status_latched = k.status_latched;
    s.status = k.status;
    s.latch = k.latched_count;
    s.latched_bytes = k.count_latched == 0 ? 0 : k.count_latched == low_then_high ? 2 : 1;
    if (k.count_latched == high) s.latch = static_cast<u16>(s.latch >> 8);
}

/// A counter's output right after its count began.
bool first_output(const PitCounterState& s) { return s.mode != 0 && !(s.mode == 1 && s.triggered); }

}  // namespace

void to_kvm(kvm_pit_state2& k, const PitState& s) {
    for (size_t i = 0; i < s.counter.size(); ++i) to_kvm(k.channels[i], s.counter[i]);
    k.flags = s.speaker ? KVM_PIT_FLAGS_SPEAKER_DATA_ON : 0;
}

void from_kvm(PitState& s, const kvm_pit_state2& k, u64 host_ns) {
    std::array<u64, 3> elapsed{};
    for (size_t i = 1; i < elapsed.size(); ++i)
        if (const auto loaded = static_cast<u64>(k.channels[i].count_load_time); loaded && loaded < host_ns)
            elapsed[i] = ticks(host_ns - loaded);
    // Tick 0 is before all of that. Nothing is "untouched", which start = 0 would say.
    const u64 now = std::max(elapsed[1], elapsed[2]) + 1;
    s.elapsed_ns = static_cast<u64>((u128{now} * second + pit_hz - 1) / pit_hz);
    for (size_t i = 0; i < elapsed.size(); ++i) from_kvm(s.counter[i], k.channels[i], elapsed[i], now);
    s.line = first_output(s.counter[0]);
    s.speaker = (k.flags & KVM_PIT_FLAGS_SPEAKER_DATA_ON) != 0;
}

// -- an interrupt on its way ------------------------------------------------------------------------

void take_back(ChipState& s, unsigned vcpu, u8 vector) {
    LapicState& apic = s.lapic[vcpu];
    if (apic.reg[isr + vector / 32] & bit_of(vector)) {
        apic.reg[isr + vector / 32] &= ~bit_of(vector);
        apic.reg[irr + vector / 32] |= bit_of(vector);
        return;
    }
    const auto back = [](PicState& pic, unsigned irq) {
        const u8 bit = static_cast<u8>(1u << irq);
        pic.isr &= static_cast<u8>(~bit);
        pic.irr |= bit;
    };
    auto& [master, slave] = s.pic;
    if ((vector & 0xf8) == (master.base & 0xf8)) {
        back(master, vector & 7);
    } else if ((vector & 0xf8) == (slave.base & 0xf8)) {
        back(slave, vector & 7);
        back(master, 2);
    }
}

}  // namespace triune::hypervisor::kvm
