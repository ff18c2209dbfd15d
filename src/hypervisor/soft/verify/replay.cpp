// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/verify/replay.h"

namespace triune::hypervisor::soft::verify {

using Call = ApicLog::Call;

const ApicLog::Entry* ApicLog::replay(const Entry& asked, bool value_is_argument) {
    const Entry* e = at_ < entries_.size() ? &entries_[at_++] : nullptr;
    if (e && e->call == asked.call && e->register_number == asked.register_number &&
        (!value_is_argument || e->value == asked.value))
        return e;
    wrong_ = true;
    return nullptr;
}

u64 RecordedApic::apic_base() const {
    const u64 v = real_.apic_base();
    log_.record({Call::apic_base, 0, v});
    return v;
}
bool RecordedApic::set_apic_base(u64 value) {
    const bool ok = real_.set_apic_base(value);
    log_.record({Call::set_apic_base, 0, value, ok});
    return ok;
}
std::optional<u64> RecordedApic::read_x2apic(u32 msr) {
    const auto v = real_.read_x2apic(msr);
    log_.record({Call::read_x2apic, msr, v.value_or(0), v.has_value()});
    return v;
}
bool RecordedApic::write_x2apic(u32 msr, u64 value) {
    const bool ok = real_.write_x2apic(msr, value);
    log_.record({Call::write_x2apic, msr, value, ok});
    return ok;
}
u32 RecordedApic::read_mmio(u32 offset) {
    const u32 v = real_.read_mmio(offset);
    log_.record({Call::read_mmio, offset, v});
    return v;
}
void RecordedApic::write_mmio(u32 offset, u32 value) {
    real_.write_mmio(offset, value);
    log_.record({Call::write_mmio, offset, value});
}
u64 RecordedApic::cr8() const {
    const u64 v = real_.cr8();
    log_.record({Call::cr8, 0, v});
    return v;
}
void RecordedApic::set_cr8(u64 value) {
    real_.set_cr8(value);
    log_.record({Call::set_cr8, 0, value});
}
u64 RecordedApic::tsc_deadline() const {
    const u64 v = real_.tsc_deadline();
    log_.record({Call::tsc_deadline, 0, v});
    return v;
}
void RecordedApic::set_tsc_deadline(u64 guest_tsc) {
    real_.set_tsc_deadline(guest_tsc);
    log_.record({Call::set_tsc_deadline, 0, guest_tsc});
}

bool RecordedApic::ferr(bool error) {
    const bool ignored = real_.ferr(error);
    log_.record({Call::ferr, error, 0, ignored});
    return ignored;
}

u64 ReplayedApic::apic_base() const {
    const auto* e = log_.replay({Call::apic_base}, false);
    return e ? e->value : 0;
}
bool ReplayedApic::set_apic_base(u64 value) {
    const auto* e = log_.replay({Call::set_apic_base, 0, value}, true);
    return e && e->ok;
}
std::optional<u64> ReplayedApic::read_x2apic(u32 msr) {
    const auto* e = log_.replay({Call::read_x2apic, msr}, false);
    if (!e || !e->ok) return {};
    return e->value;
}
bool ReplayedApic::write_x2apic(u32 msr, u64 value) {
    const auto* e = log_.replay({Call::write_x2apic, msr, value}, true);
    return e && e->ok;
}
u32 ReplayedApic::read_mmio(u32 offset) {
    const auto* e = log_.replay({Call::read_mmio, offset}, false);
    return e ? static_cast<u32>(e->value) : 0;
}
void ReplayedApic::write_mmio(u32 offset, u32 value) { log_.replay({Call::write_mmio, offset, value}, true); }
bool ReplayedApic::ferr(bool error) {
    const auto* e = log_.replay({Call::ferr, error}, false);
    return !e || e->ok;
}
u64 ReplayedApic::cr8() const {
    const auto* e = log_.replay({Call::cr8}, false);
    return e ? e->value : 0;
}
void ReplayedApic::set_cr8(u64 value) { log_.replay({Call::set_cr8, 0, value}, true); }
u64 ReplayedApic::tsc_deadline() const {
    const auto* e = log_.replay({Call::tsc_deadline}, false);
    return e ? e->value : 0;
}
void ReplayedApic::set_tsc_deadline(u64 guest_tsc) {
    log_.replay({Call::set_tsc_deadline, 0, guest_tsc}, true);
}

}  // namespace triune::hypervisor::soft::verify
