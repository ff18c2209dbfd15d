// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/system/detail.h"

/// Event delivery (Intel SDM 3A 6; AMD APM 2 8). Each deliver_* function is one mode of the
/// processor: it checks everything, writes the frame, and only then changes VcpuState.
namespace triune::hypervisor::soft::system {
namespace {

struct Event {
    u8 vector = 0;
    bool has_error = false;
    bool software = false;  ///< INT n, INT3, INTO: the gate's DPL counts
    bool int_n = false;     ///< INT n alone: IOPL and the VME redirection bitmap count in v8086 mode
    u32 error = 0;
    u64 return_rip = 0;
    u64 flags = 0;  ///< image to push
};

constexpr u64 idt_error(u8 vector) { return u64{vector} * 8 + 2; }

Guest<void> deliver_real(System& s, const Event& e, u64 idt_base, u32 idt_limit, u64 cleared) {
    auto& st = s.vcpu().state;
    const u64 offset = u64{e.vector} * 4;
    if (offset + 3 > idt_limit) return raise(Fault::gp(static_cast<u32>(idt_error(e.vector))));
    SYS_TRY(entry, read_system(s, idt_base, offset, 4));
    Stack stack = Stack::current(s);
    Frame frame;
    frame.push(e.flags & 0xffff);
    frame.push(st.seg[Seg::cs].selector);
    frame.push(e.return_rip & 0xffff);
    SYS_CHECK(push_frame(s, stack, frame, 2, Fault::ss(0)));
    const u16 selector = static_cast<u16>(*entry >> 16);
    st.gpr[x86::rsp] = stack.rsp;
    st.seg[Seg::cs] = st.v8086() ? v8086_segment(selector) : real_segment(st.seg[Seg::cs], selector);
    st.rip = *entry & 0xffff;
    st.rflags &= ~cleared;
    return {};
}

/// INT n in virtual-8086 mode that the redirection bitmap sends to the 8086 program's own handler
/// (Intel SDM 3B 20.3): true if that happened.
Guest<bool> deliver_redirected(System& s, const Event& e) {
    auto& st = s.vcpu().state;
    if (!(st.cr4 & x86::cr4::vme) || st.tr.unusable() || st.tr.limit < 0x67) return false;
    SYS_TRY(map_base, read_system(s, st.tr.base, 0x66, 2));
    if (*map_base < 32) return false;
    const u64 byte = *map_base - 32 + e.vector / 8;
    if (byte > st.tr.limit) return false;
    SYS_TRY(map, read_system(s, st.tr.base, byte, 1));
    if (base::bit(*map, e.vector & 7)) return false;
    Event image = e;
    u64 cleared = flag::tf | flag::nt | flag::rf;
    if ((st.rflags & flag::iopl) == flag::iopl) {
        cleared |= flag::if_;
    } else {
        image.flags = (e.flags | flag::iopl) & ~flag::if_;
        if (e.flags & flag::vif) image.flags |= flag::if_;
        cleared |= flag::vif;
    }
    SYS_CHECK(deliver_real(s, image, 0, 0x3ff, cleared));
    return true;
}

Guest<void> deliver_long(System& s, const Event& e) {
    auto& st = s.vcpu().state;
    const u64 offset = u64{e.vector} * 16;
    const Fault bad_gate = Fault::gp(static_cast<u32>(idt_error(e.vector)));
    if (offset + 15 > st.idtr.limit) return raise(bad_gate);
    SYS_TRY(low, read_system(s, st.idtr.base, offset, 8));
    SYS_TRY(high, read_system(s, st.idtr.base, offset + 8, 8));
    const Descriptor gate{*low, *high & 0xffffffff};
    if (!gate.system() || (gate.type() & 14) != systype::interrupt32) return raise(bad_gate);
    const unsigned cpl = st.cpl();
    if (e.software && gate.dpl() < cpl) return raise(bad_gate);
    if (!gate.present()) return raise(Fault::np(static_cast<u32>(idt_error(e.vector))));

    const u16 selector = gate.gate_selector();
    if (is_null(selector)) return raise(Fault::gp(0));
    const Fault bad_cs = Fault::gp(error_of(selector));
    SYS_TRY(d, read_descriptor(s, selector, bad_cs));
    if (!d->code() || d->dpl() > cpl || !d->long_mode() || d->db()) return raise(bad_cs);
    if (!d->present()) return raise(Fault::np(error_of(selector)));
    const unsigned new_cpl = d->conforming() ? cpl : d->dpl();
    const u64 target = gate.gate_offset();
    if (!s.mmu().canonical(target)) return raise(Fault::gp(0));

    Stack stack{st.seg[Seg::ss], st.gpr[x86::rsp], 64,
                new_cpl == 3 ? mmu::Privilege::user : mmu::Privilege::supervisor};
    if (new_cpl < cpl || gate.gate_ist()) {
        SYS_TRY(rsp, tss_stack64(s, new_cpl, gate.gate_ist()));
        stack.rsp = *rsp;
    }
    stack.rsp &= ~u64{15};
    Frame frame;
    frame.push(st.seg[Seg::ss].selector);
    frame.push(st.gpr[x86::rsp]);
    frame.push(e.flags);
    frame.push(st.seg[Seg::cs].selector);
    frame.push(e.return_rip);
    if (e.has_error) frame.push(e.error);
    SYS_CHECK(push_frame(s, stack, frame, 8, Fault::ss(0)));
    SYS_CHECK(mark_accessed(s, selector, *d));

    if (new_cpl < cpl) st.seg[Seg::ss] = null_segment(static_cast<u16>(new_cpl), new_cpl);
    st.seg[Seg::cs] = d->segment(static_cast<u16>(error_of(selector) | new_cpl));
    st.gpr[x86::rsp] = stack.rsp;
    st.rip = target;
    st.rflags &= ~(flag::tf | flag::vm | flag::rf | flag::nt);
    if (gate.type() == systype::interrupt32) st.rflags &= ~flag::if_;
    return {};
}

/// Interrupt or trap gate outside long mode, from protected or virtual-8086 mode.
Guest<void> deliver_gate(System& s, const Event& e, const Descriptor& gate) {
    auto& st = s.vcpu().state;
    const unsigned cpl = st.cpl();
    const bool wide = gate.type() & 8;
    const unsigned bytes = wide ? 4 : 2;
    const u16 selector = gate.gate_selector();
    if (is_null(selector)) return raise(Fault::gp(0));
    const Fault bad_cs = Fault::gp(error_of(selector));
    SYS_TRY(d, read_descriptor(s, selector, bad_cs));
    if (!d->code() || d->dpl() > cpl) return raise(bad_cs);
    if (!d->present()) return raise(Fault::np(error_of(selector)));
    const unsigned new_cpl = d->conforming() ? cpl : d->dpl();
    const bool v8086 = st.v8086();
    if (v8086 && new_cpl != 0) return raise(bad_cs);
    const u64 target = wide ? gate.gate_offset() & 0xffffffff : gate.gate_offset() & 0xffff;
    const bool outer = new_cpl < cpl;

    Frame frame;
    Stack stack = Stack::current(s);
    Fault bad_stack = Fault::ss(0);
    if (outer) {
        SYS_TRY(inner, tss_stack(s, new_cpl));
        stack = *inner;
        bad_stack = Fault::ss(error_of(stack.ss.selector));
        if (v8086)
            for (const Seg seg : {Seg::gs, Seg::fs, Seg::ds, Seg::es}) frame.push(st.seg[seg].selector);
        frame.push(st.seg[Seg::ss].selector);
        frame.push(st.gpr[x86::rsp]);
    }
    frame.push(e.flags);
    frame.push(st.seg[Seg::cs].selector);
    frame.push(e.return_rip);
    if (e.has_error) frame.push(e.error);
    if (target > d->limit()) return raise(Fault::gp(0));
    SYS_CHECK(push_frame(s, stack, frame, bytes, bad_stack));
    SYS_CHECK(mark_accessed(s, selector, *d));

    if (outer) st.seg[Seg::ss] = stack.ss;
    if (v8086)
        for (const Seg seg : {Seg::gs, Seg::fs, Seg::ds, Seg::es}) st.seg[seg] = null_segment(0);
    st.seg[Seg::cs] = d->segment(static_cast<u16>(error_of(selector) | new_cpl));
    st.gpr[x86::rsp] = stack.rsp;
    st.rip = target;
    st.rflags &= ~(flag::tf | flag::vm | flag::rf | flag::nt);
    if (!(gate.type() & 1)) st.rflags &= ~flag::if_;
    return {};
}

Guest<void> deliver_protected(System& s, const Event& e) {
    auto& st = s.vcpu().state;
    if (e.int_n && st.v8086()) {
        SYS_TRY(done, deliver_redirected(s, e));
        if (*done) return {};
        if ((st.rflags & flag::iopl) != flag::iopl) return raise(Fault::gp(0));
    }
    const u64 offset = u64{e.vector} * 8;
    const Fault bad_gate = Fault::gp(static_cast<u32>(idt_error(e.vector)));
    if (offset + 7 > st.idtr.limit) return raise(bad_gate);
    SYS_TRY(low, read_system(s, st.idtr.base, offset, 8));
    const Descriptor gate{*low, 0};
    const unsigned type = gate.type();
    if (!gate.system() || (type != systype::task_gate && (type & 6) != systype::interrupt16))
        return raise(bad_gate);
    if (e.software && gate.dpl() < st.cpl()) return raise(bad_gate);
    if (!gate.present()) return raise(Fault::np(static_cast<u32>(idt_error(e.vector))));
    if (type == systype::task_gate)
        return task_switch(s, gate.gate_selector(), TaskSwitch::gate, e.return_rip, e.flags,
                           e.has_error ? std::optional(e.error) : std::nullopt);
    return deliver_gate(s, e, gate);
}

/// `external`: the error code of a fault in delivery has its EXT bit set (Intel SDM 3A 6.13).
Guest<void> deliver(System& s, const Event& e, bool external) {
    auto& st = s.vcpu().state;
    Guest<void> r = st.long_mode_active() ? deliver_long(s, e)
                    : st.protected_mode() ? deliver_protected(s, e)
                                          : deliver_real(s, e, st.idtr.base, st.idtr.limit,
                                                         flag::if_ | flag::tf | flag::ac | flag::rf);
    if (!r) [[unlikely]] {
        Fault& f = r.error();
        if (external && f.vector >= x86::vec::ts && f.vector <= x86::vec::gp) f.error_code |= 1;
        return r;
    }
    st.halted = 0;
    st.interrupt_shadow = 0;
    return r;
}

constexpr bool contributory(u8 v) { return v == x86::vec::de || (v >= x86::vec::ts && v <= x86::vec::gp); }

/// Second exception while delivering the first: one after the other, or #DF (Intel SDM 3A table 6-5).
constexpr bool makes_double_fault(u8 first, u8 second) {
    if (first == x86::vec::pf) return second == x86::vec::pf || contributory(second);
    return contributory(first) && contributory(second);
}

/// The fault-class exceptions push RF set, so that the instruction's own breakpoint does not hit
/// again on return (Intel SDM 3B 17.3.1.1).
constexpr bool sets_rf(u8 v) {
    return v != x86::vec::db && v != x86::vec::bp && v != x86::vec::of && v != x86::vec::df &&
           v != x86::vec::mc && v != x86::vec::nmi;
}

}  // namespace

System::Delivered System::deliver_fault(const Fault& first) {
    const observe::TimedScope timed(vcpu_.counters.time, observe::Activity::events);
    auto& st = vcpu_.state;
    Fault f = first;
    // The first exception is itself "external" to those its delivery raises. At most a benign one,
    // a contributory one, #PF and #DF follow each other, so the loop ends.
    for (;;) {
        vcpu_.counters.add(observe::Counter::exceptions);
        SystemDetail::record(*this, f);
        if (f.vector == x86::vec::pf) {
            st.cr2 = f.cr2;
            vcpu_.counters.add(observe::Counter::page_faults);
        }
        Event e;
        e.vector = f.vector;
        e.has_error = f.has_error_code;
        e.error = f.error_code;
        e.return_rip = st.rip;
        e.flags = st.rflags | (sets_rf(f.vector) ? flag::rf : 0);
        const auto r = deliver(*this, e, true);
        if (r) [[likely]] {
            if (f.vector == x86::vec::db) {
                st.dr[7] &= ~u64{x86::dr7::gd};
                st.debugctl &= ~(x86::debugctl::lbr | x86::debugctl::btf);
            }
            return Delivered::ok;
        }
        if (f.vector == x86::vec::df) {
            SystemDetail::record(*this, r.error());
            return Delivered::shutdown;
        }
        if (makes_double_fault(f.vector, r.error().vector)) {
            SystemDetail::record(*this, r.error());
            if (r.error().vector == x86::vec::pf) st.cr2 = r.error().cr2;
            f = Fault{x86::vec::df, true, 0, 0};
        } else {
            f = r.error();
        }
    }
}

System::Delivered System::deliver_interrupt(u8 vector, EventKind kind) {
    const observe::TimedScope timed(vcpu_.counters.time, observe::Activity::events);
    auto& st = vcpu_.state;
    vcpu_.counters.add(observe::Counter::interrupts);
    Event e;
    e.vector = vector;
    e.return_rip = st.rip;
    e.flags = st.rflags;
    const auto r = deliver(*this, e, true);
    // The processor blocks further NMIs once it has taken one, whatever becomes of its delivery.
    if (kind == EventKind::nmi) st.nmi_blocked = 1;
    if (!r) [[unlikely]] {
        st.halted = 0;
        return deliver_fault(r.error());
    }
    return Delivered::ok;
}

Guest<void> System::software_interrupt(u8 vector, EventKind kind, u64 next_rip) {
    auto& st = vcpu_.state;
    Event e;
    e.vector = vector;
    e.software = kind == EventKind::software_int || kind == EventKind::software_bp_of;
    e.int_n = kind == EventKind::software_int;
    e.return_rip = next_rip;
    e.flags = st.rflags & ~flag::rf;
    auto r = deliver(*this, e, kind == EventKind::icebp);
    if (r && kind == EventKind::icebp) st.dr[7] &= ~u64{x86::dr7::gd};
    return r;
}

}  // namespace triune::hypervisor::soft::system
