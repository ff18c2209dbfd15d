// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/chip_state.h"

namespace triune::hypervisor {
namespace {

using base::StateVisitor;

void describe_lapic(StateVisitor& v, LapicState& s) {
    v("apic_base", s.apic_base);
    v("reg", s.reg);
    v("tsc_deadline", s.tsc_deadline);
    v("errors", s.errors);
    v("extint_message", s.extint_message);
}

void describe_ioapic(StateVisitor& v, IoApicState& s) {
    v("select", s.select);
    v("id", s.id);
    v("lines", s.lines);
    v("redirection", s.redirection);
}

void describe_pic(StateVisitor& v, PicState& s) {
    v("irr", s.irr);
    v("isr", s.isr);
    v("imr", s.imr);
    v("lines", s.lines);
    v("elcr", s.elcr);
    v("base", s.base);
    v("lowest", s.lowest);
    v("icw_expected", s.icw_expected);
    v("icw4_needed", s.icw4_needed);
    v("read_isr", s.read_isr);
    v("poll", s.poll);
    v("special_mask", s.special_mask);
    v("auto_eoi", s.auto_eoi);
    v("rotate_on_auto_eoi", s.rotate_on_auto_eoi);
    v("special_nested", s.special_nested);
    v("level_triggered", s.level_triggered);
}

void describe_counter(StateVisitor& v, PitCounterState& s) {
    v("mode", s.mode);
    v("access", s.access);
    v("bcd", s.bcd);
    v("gate", s.gate);
    v("loaded", s.loaded);
    v("triggered", s.triggered);
    v("reload", s.reload);
    v("next_reload", s.next_reload);
    v("switch_at", s.switch_at);
    v("start", s.start);
    v("frozen", s.frozen);
    v("low_byte", s.low_byte);
    v("write_high", s.write_high);
    v("read_high", s.read_high);
    v("status_latched", s.status_latched);
    v("status", s.status);
    v("latched_bytes", s.latched_bytes);
    v("latch", s.latch);
}

void describe_pit(StateVisitor& v, PitState& s) {
    v("elapsed_ns", s.elapsed_ns);
    for (size_t i = 0; i < s.counter.size(); ++i)
        v("counter" + std::to_string(i), s.counter[i], describe_counter);
    v("line", s.line);
    v("speaker", s.speaker);
}

void describe_clock(StateVisitor& v, ClockState& s) {
    v("host_ns", s.host_ns);
    v("guest_ns", s.guest_ns);
}

}  // namespace

void describe(StateVisitor& v, ChipState& s) {
    for (size_t i = 0; i < s.lapic.size(); ++i) v("lapic" + std::to_string(i), s.lapic[i], describe_lapic);
    v("ioapic", s.ioapic, describe_ioapic);
    for (size_t i = 0; i < s.pic.size(); ++i) v("pic" + std::to_string(i), s.pic[i], describe_pic);
    v("pit", s.pit, describe_pit);
    v("ferr", s.ferr);
    v("ignne", s.ignne);
    v("clock", s.clock, describe_clock);
}

}  // namespace triune::hypervisor
