// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/kvm/guest_debug.h"

#include <algorithm>

namespace triune::hypervisor::kvm {
namespace {

constexpr unsigned on_execution = 0, on_write = 1, on_access = 3;
constexpr u32 vector_db = 1;
constexpr u64 dr6_single_step = 1 << 14;

/// DR7's LEN field.
constexpr unsigned length_field(u64 size) { return size == 8 ? 2 : static_cast<unsigned>(size - 1); }

}  // namespace

bool DebugRegisters::add(Gva address, u64 size, unsigned rw, const Debug& met) {
    if (used_ == registers_.size()) return false;
    registers_.at(used_++) = {.address = address, .met = met, .kind = rw | length_field(size) << 2};
    return true;
}

Result<DebugRegisters> DebugRegisters::make(const GuestDebug& debug) {
    DebugRegisters r;
    r.single_step_ = debug.single_step;
    bool room = true;
    for (const Gva b : debug.breakpoints)
        room &= r.add(b, 1, on_execution, {.cause = Debug::Cause::breakpoint, .address = b});
    for (const Watchpoint& w : debug.watchpoints) {
        if (!w.write) return fail("engine kvm cannot watch reads alone: watch accesses (awatch)");
        const Debug met{.cause = Debug::Cause::watchpoint, .address = w.address, .write = true};
        // A register watches 1, 2, 4 or 8 bytes at a multiple of that.
        for (u64 at = w.address, left = w.size; left && room;) {
            u64 size = 8;
            while (size > left || at % size) size /= 2;
            room &= r.add(at, size, w.read ? on_access : on_write, met);
            at += size;
            left -= size;
        }
    }
    if (!room)
        return fail("engine kvm has four debug registers for break- and watchpoints, and that is more");
    return r;
}

kvm_guest_debug DebugRegisters::for_kvm(bool hold_interrupts) const {
    kvm_guest_debug d{};
    if (!any()) return d;
    d.control = KVM_GUESTDBG_ENABLE;
    if (single_step_) d.control |= KVM_GUESTDBG_SINGLESTEP;
    if (single_step_ && hold_interrupts) d.control |= KVM_GUESTDBG_BLOCKIRQ;
    if (used_) d.control |= KVM_GUESTDBG_USE_HW_BP;
    d.arch.debugreg[7] = 0x400;  // always 1
    for (unsigned n = 0; n < used_; ++n) {
        d.arch.debugreg[n] = registers_.at(n).address;
        d.arch.debugreg[7] |= u64{2} << 2 * n | u64{registers_.at(n).kind} << (16 + 4 * n);
    }
    return d;
}

std::optional<Debug> DebugRegisters::event(const kvm_debug_exit_arch& exit) const {
    if (exit.exception != vector_db) return {};
    for (unsigned n = 0; n < used_; ++n)
        if (exit.dr6 >> n & 1) return registers_.at(n).met;
    if (single_step_ && (exit.dr6 & dr6_single_step)) return Debug{.cause = Debug::Cause::step};
    return {};
}

}  // namespace triune::hypervisor::kvm
