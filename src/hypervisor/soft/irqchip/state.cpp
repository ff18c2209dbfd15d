// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
//
// The chips' state taken out and put in. The timers run meanwhile: each is read together with what it
// changes, under its lock, so that an expiry is either in the state or still to come.
#include <algorithm>

#include "base/bits.h"
#include "hypervisor/soft/irqchip/irqchip.h"

namespace triune::hypervisor::soft::irqchip {

// -- 8259A ----------------------------------------------------------------------------------------

PicState Pic8259::state() const {
    PicState s;
    s.irr = irr_, s.isr = isr_, s.imr = imr_, s.lines = lines_, s.elcr = elcr_;
    s.base = base_, s.lowest = lowest_;
    s.icw_expected = icw_expected_, s.icw4_needed = icw4_needed_;
    s.read_isr = read_isr_, s.poll = poll_, s.special_mask = special_mask_;
    s.auto_eoi = auto_eoi_, s.rotate_on_auto_eoi = rotate_on_auto_eoi_;
    s.special_nested = special_nested_, s.level_triggered = level_triggered_;
    return s;
}

void Pic8259::set_state(const PicState& s) {
    irr_ = s.irr, isr_ = s.isr, imr_ = s.imr, lines_ = s.lines, elcr_ = s.elcr;
    base_ = s.base & 0xf8, lowest_ = s.lowest & 7;
    icw_expected_ = s.icw_expected <= 4 ? s.icw_expected : u8{1}, icw4_needed_ = s.icw4_needed;
    read_isr_ = s.read_isr, poll_ = s.poll, special_mask_ = s.special_mask;
    auto_eoi_ = s.auto_eoi, rotate_on_auto_eoi_ = s.rotate_on_auto_eoi;
    special_nested_ = s.special_nested, level_triggered_ = s.level_triggered;
}

std::array<PicState, 2> PicPair::state() {
    const base::MutexLock lock(mutex_);
    return {master_.state(), slave_.state()};
}

void PicPair::set_state(const std::array<PicState, 2>& s) {
    const base::MutexLock lock(mutex_);
    master_.set_state(s[0]);
    slave_.set_state(s[1]);
    update();
}

// -- I/O APIC -------------------------------------------------------------------------------------

IoApicState IoApic::state() {
    const base::MutexLock lock(mutex_);
    return {select_, id_, lines_, entry_};
}

void IoApic::set_state(const IoApicState& s) {
    const base::MutexLock lock(mutex_);
    select_ = s.select & 0xff;
    id_ = s.id & 15;
    lines_ = s.lines & static_cast<u32>(base::low_mask(pins));
    entry_ = s.redirection;
}

// -- 8254 -----------------------------------------------------------------------------------------

PitCounterState PitCounter::state() const {
    PitCounterState s;
    s.mode = mode_, s.access = access_, s.bcd = bcd_, s.gate = gate_;
    s.loaded = loaded_, s.triggered = triggered_;
    s.reload = reload_, s.next_reload = next_reload_;
    s.switch_at = switch_at_, s.start = start_, s.frozen = frozen_;
    s.low_byte = low_byte_, s.write_high = write_high_, s.read_high = read_high_;
    s.status_latched = status_latched_, s.status = status_;
    s.latched_bytes = latched_bytes_, s.latch = latch_;
    return s;
}

void PitCounter::set_state(const PitCounterState& s) {
    mode_ = s.mode > 5 ? u8{0} : s.mode, access_ = s.access & 3, bcd_ = s.bcd, gate_ = s.gate;
    loaded_ = s.loaded, triggered_ = s.triggered;
    reload_ = std::clamp<u32>(s.reload, 1, modulus()), next_reload_ = std::min(s.next_reload, modulus());
    switch_at_ = s.switch_at, start_ = s.start, frozen_ = s.frozen;
    low_byte_ = s.low_byte, write_high_ = s.write_high, read_high_ = s.read_high;
    status_latched_ = s.status_latched, status_ = s.status;
    latched_bytes_ = std::min<u8>(s.latched_bytes, 2), latch_ = s.latch;
}

PitState Pit::state(const std::function<void()>& others) {
    const base::MutexLock lock(mutex_);
    others();
    PitState s;
    s.elapsed_ns = base::monotonic_ns() - origin_ns_;
    for (size_t i = 0; i < counter_.size(); ++i) s.counter[i] = counter_[i].state();
    s.line = line_, s.speaker = speaker_;
    return s;
}

void Pit::set_state(const PitState& s) {
    const base::MutexLock lock(mutex_);
    origin_ns_ = base::monotonic_ns() - s.elapsed_ns;
    for (size_t i = 0; i < counter_.size(); ++i) counter_[i].set_state(s.counter[i]);
    line_ = s.line, speaker_ = s.speaker;
    update_irq0(now_ticks());
}

// -- local APIC -----------------------------------------------------------------------------------

LapicTimer::State LapicTimer::state(const std::function<void()>& pending) {
    const base::MutexLock lock(mutex_);
    const u64 now = base::monotonic_ns();
    expire(now);
    pending();
    return {initial_, current_locked(now), divide_, tsc_deadline_};
}

void LapicTimer::set_state(u32 lvt, const State& s) {
    const base::MutexLock lock(mutex_);
    const u64 now = base::monotonic_ns();
    lvt_ = lvt;
    divide_ = s.divide & 0xb;
    initial_ = 0;
    tsc_deadline_ = 0;
    next_ns_ = never;
    if (mode() == Mode::tsc_deadline) {
        tsc_deadline_ = s.tsc_deadline;
        if (tsc_deadline_) next_ns_ = deadline_to_ns(now);
    } else if (s.initial) {
        // A one-shot that has ended keeps its initial count.
        initial_ = s.initial;
        const u64 left = u64{std::min(s.current, s.initial)} * divider();
        if (s.current || mode() == Mode::periodic) next_ns_ = now + left;
        start_ns_ = now + left - std::min(now + left, period_ns());
    }
    publish();
}

namespace {
/// Register numbers in LapicState::reg.
enum : u8 {
    r_id = 2,
    r_version = 3,
    r_tpr = 8,
    r_ppr = 10,
    r_ldr = 13,
    r_dfr = 14,
    r_svr = 15,
    r_isr = 16,
    r_tmr = 24,
    r_irr = 32,
    r_esr = 40,
    r_icr = 48,
    r_icr_high = 49,
    r_lvt = 50,
    r_initial = 56,
    r_current = 57,
    r_divide = 62
};
}  // namespace

LapicState Lapic::state() {
    LapicState s;
    const LapicTimer::State timer = timer_.state([&] {
        for (u8 i = 0; i < 8; ++i) s.reg[r_irr + i] = irr_.part(i), s.reg[r_tmr + i] = tmr_.part(i);
    });
    s.apic_base = apic_base();
    s.reg[r_id] = id() << 24;
    s.reg[r_version] = 0x0005'0014;
    s.reg[r_tpr] = tpr_;
    s.reg[r_ppr] = ppr_;
    s.reg[r_ldr] = ldr_;
    s.reg[r_dfr] = dfr_;
    s.reg[r_svr] = svr_;
    for (u8 i = 0; i < 8; ++i) s.reg[r_isr + i] = isr_.part(i);
    s.reg[r_esr] = esr_;
    s.reg[r_icr] = static_cast<u32>(icr_);
    s.reg[r_icr_high] = static_cast<u32>(icr_ >> 32);
    for (u8 i = 0; i < lvt_count; ++i) s.reg[r_lvt + i] = lvt_[i];
    s.reg[r_initial] = timer.initial;
    s.reg[r_current] = timer.current;
    s.reg[r_divide] = timer.divide;
    s.tsc_deadline = timer.tsc_deadline;
    s.errors = errors_;
    s.extint_message = extint_message_;
    return s;
}

void Lapic::set_state(const LapicState& s) {
    base_ = s.apic_base;
    svr_ = s.reg[r_svr];
    ldr_ = s.reg[r_ldr];
    dfr_ = s.reg[r_dfr];
    for (u8 i = 0; i < lvt_count; ++i) lvt_[i] = s.reg[r_lvt + i];
    irr_.clear_all();
    isr_.clear_all();
    tmr_.clear_all();
    for (u8 i = 0; i < 8; ++i) {
        irr_.set_part(i, s.reg[r_irr + i]);
        isr_.set_part(i, s.reg[r_isr + i]);
        tmr_.set_part(i, s.reg[r_tmr + i]);
    }
    tpr_ = static_cast<u8>(s.reg[r_tpr]);
    update_priority();
    esr_ = s.reg[r_esr];
    errors_ = s.errors;
    icr_ = u64{s.reg[r_icr_high]} << 32 | s.reg[r_icr];
    extint_message_ = s.extint_message != 0;
    timer_.set_state(s.reg[r_lvt], {s.reg[r_initial], s.reg[r_current], s.reg[r_divide], s.tsc_deadline});
    // Whatever waits, the vCPU looks once.
    noticed_ = false;
    notify();
}

// -- all of it ------------------------------------------------------------------------------------

ChipState IrqChip::state() {
    ChipState s;
    s.pit = pit_.state([&] {
        s.pic = pic_.state();
        s.ioapic = ioapic_.state();
        for (const auto& a : apics_) s.lapic.push_back(a->state());
    });
    s.ferr = ferr_;
    s.ignne = ignne_;
    return s;
}

void IrqChip::set_state(const ChipState& s) {
    pic_.set_state(s.pic);
    ioapic_.set_state(s.ioapic);
    for (size_t i = 0; i < std::min(apics_.size(), s.lapic.size()); ++i) apics_[i]->set_state(s.lapic[i]);
    ferr_ = s.ferr != 0;
    ignne_ = s.ignne != 0;
    pit_.set_state(s.pit);
}

}  // namespace triune::hypervisor::soft::irqchip
