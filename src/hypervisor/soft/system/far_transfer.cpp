// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/system/detail.h"

/// Far JMP, CALL and RET (Intel SDM 2A CALL, JMP; 2B RET; 3A 5.8).
namespace triune::hypervisor::soft::system {
namespace {

bool real_style(const VcpuState& st) { return !st.protected_mode() || st.v8086(); }

Segment real_style_cs(const VcpuState& st, u16 selector) {
    return st.v8086() ? v8086_segment(selector) : real_segment(st.seg[Seg::cs], selector);
}

/// What a far pointer's selector leads to.
struct Target {
    Descriptor descriptor;
    bool is_code = false;
};

/// Reads the descriptor; for gates and TSSs does the checks common to JMP and CALL.
Guest<Target> resolve(System& s, u16 selector) {
    const auto& st = s.vcpu().state;
    if (is_null(selector)) return raise(Fault::gp(0));
    const Fault gp = Fault::gp(error_of(selector));
    SYS_TRY(d, read_descriptor(s, selector, gp));
    if (!d->system()) return Target{*d, true};
    const unsigned type = d->type();
    const bool legacy = type == systype::call16 || type == systype::task_gate || type == systype::tss16 ||
                        type == systype::tss32;
    if (type != systype::call32 && (st.long_mode_active() || !legacy)) return raise(gp);
    if (d->dpl() < st.cpl() || d->dpl() < rpl_of(selector)) return raise(gp);
    if (!d->present()) return raise(Fault::np(error_of(selector)));
    if (st.long_mode_active()) SYS_CHECK(read_descriptor_high(s, selector, *d, gp));
    return Target{*d, false};
}

bool is_call_gate(const Descriptor& d) { return d.type() == systype::call16 || d.type() == systype::call32; }

/// JMP or CALL to a TSS or through a task gate.
Guest<void> to_task(System& s, u16 selector, const Descriptor& d, TaskSwitch source, u64 return_rip) {
    const u16 tss = d.type() == systype::task_gate ? d.gate_selector() : selector;
    return task_switch(s, tss, source, return_rip, s.vcpu().state.rflags);
}

/// The code segment behind a call gate, and where in it the gate points.
struct GateTarget {
    u16 selector;
    Descriptor code;
    u64 rip;
};
Guest<GateTarget> through_gate(System& s, const Descriptor& gate) {
    const auto& st = s.vcpu().state;
    const u16 selector = gate.gate_selector();
    if (is_null(selector)) return raise(Fault::gp(0));
    const Fault gp = Fault::gp(error_of(selector));
    SYS_TRY(d, read_descriptor(s, selector, gp));
    if (!d->code() || d->dpl() > st.cpl()) return raise(gp);
    if (st.long_mode_active() && (!d->long_mode() || d->db())) return raise(gp);
    if (!d->present()) return raise(Fault::np(error_of(selector)));
    u64 rip = gate.gate_offset();
    if (!st.long_mode_active()) rip &= gate.type() == systype::call16 ? 0xffff : 0xffffffff;
    SYS_CHECK(check_target(s, d->segment(selector), rip));
    return GateTarget{selector, *d, rip};
}

Guest<void> call_gate(System& s, const Descriptor& gate, u64 next_rip) {
    auto& st = s.vcpu().state;
    const unsigned cpl = st.cpl();
    SYS_TRY(target, through_gate(s, gate));
    const bool long_mode = st.long_mode_active();
    const unsigned bytes = long_mode ? 8 : gate.type() == systype::call32 ? 4 : 2;
    const bool inner = !target->code.conforming() && target->code.dpl() < cpl;
    const unsigned new_cpl = inner ? target->code.dpl() : cpl;

    Stack stack = Stack::current(s);
    if (long_mode) stack.bits = 64;
    Fault bad_stack = Fault::ss(0);
    Frame frame;
    Segment ss = st.seg[Seg::ss];
    if (inner) {
        if (long_mode) {
            SYS_TRY(rsp, tss_stack64(s, new_cpl, 0));
            ss = null_segment(static_cast<u16>(new_cpl), new_cpl);
            stack = Stack{ss, *rsp, 64, mmu::Privilege::supervisor};
            frame.push(st.seg[Seg::ss].selector);
            frame.push(st.gpr[x86::rsp]);
        } else {
            Stack old = stack;
            SYS_TRY(fresh, tss_stack(s, new_cpl));
            stack = *fresh;
            ss = stack.ss;
            bad_stack = Fault::ss(error_of(ss.selector));
            frame.push(st.seg[Seg::ss].selector);
            frame.push(st.gpr[x86::rsp]);
            // Parameters keep their order: the last one pushed is at the lowest address again.
            const unsigned count = gate.gate_parameters();
            std::array<u64, 31> parameter;
            for (unsigned i = 0; i < count; ++i) SYS_CHECK(pop_frame(s, old, &parameter[i], 1, bytes));
            for (unsigned i = count; i-- > 0;) frame.push(parameter[i]);
        }
    }
    frame.push(st.seg[Seg::cs].selector);
    frame.push(next_rip);
    SYS_CHECK(push_frame(s, stack, frame, bytes, bad_stack));
    SYS_CHECK(mark_accessed(s, target->selector, target->code));
    st.seg[Seg::cs] = target->code.segment(static_cast<u16>(error_of(target->selector) | new_cpl));
    st.seg[Seg::ss] = ss;
    st.gpr[x86::rsp] = stack.rsp;
    st.rip = target->rip;
    return {};
}

}  // namespace

Guest<void> System::far_jump(u16 selector, u64 offset, unsigned operand_bits, u64 next_rip) {
    auto& st = vcpu_.state;
    const u64 rip = offset & base::low_mask(operand_bits);
    if (real_style(st)) {
        if (rip > st.seg[Seg::cs].limit) return raise(Fault::gp(0));
        st.seg[Seg::cs] = real_style_cs(st, selector);
        st.rip = rip;
        return {};
    }
    SYS_TRY(target, resolve(*this, selector));
    Descriptor& d = target->descriptor;
    if (target->is_code) {
        SYS_TRY(cs, code_segment_for_jump(*this, selector, d));
        SYS_CHECK(check_target(*this, *cs, rip));
        st.seg[Seg::cs] = *cs;
        st.rip = rip;
        return {};
    }
    if (!is_call_gate(d)) return to_task(*this, selector, d, TaskSwitch::jump, next_rip);
    SYS_TRY(gate, through_gate(*this, d));
    // JMP cannot change the CPL; the gate selector's RPL does not count.
    SYS_TRY(cs, code_segment_for_jump(*this, error_of(gate->selector), gate->code));
    st.seg[Seg::cs] = *cs;
    st.rip = gate->rip;
    return {};
}

Guest<void> System::far_call(u16 selector, u64 offset, unsigned operand_bits, u64 next_rip) {
    auto& st = vcpu_.state;
    const u64 rip = offset & base::low_mask(operand_bits);
    Stack stack = Stack::current(*this);
    Frame frame;
    frame.push(st.seg[Seg::cs].selector);
    frame.push(next_rip);
    Segment cs;
    if (real_style(st)) {
        if (rip > st.seg[Seg::cs].limit) return raise(Fault::gp(0));
        cs = real_style_cs(st, selector);
    } else {
        SYS_TRY(target, resolve(*this, selector));
        const Descriptor& d = target->descriptor;
        if (!target->is_code)
            return is_call_gate(d) ? call_gate(*this, d, next_rip)
                                   : to_task(*this, selector, d, TaskSwitch::call, next_rip);
        SYS_TRY(loaded, code_segment_for_jump(*this, selector, d));
        SYS_CHECK(check_target(*this, *loaded, rip));
        cs = *loaded;
    }
    SYS_CHECK(push_frame(*this, stack, frame, operand_bits / 8, Fault::ss(0)));
    st.seg[Seg::cs] = cs;
    st.gpr[x86::rsp] = stack.rsp;
    st.rip = rip;
    return {};
}

Guest<void> System::far_return(unsigned operand_bits, u16 pop_bytes) {
    auto& st = vcpu_.state;
    const unsigned bytes = operand_bits / 8;
    Stack stack = Stack::current(*this);
    u64 v[2];
    SYS_CHECK(pop_frame(*this, stack, v, 2, bytes));
    const u16 selector = static_cast<u16>(v[1]);
    if (real_style(st)) {
        if (v[0] > st.seg[Seg::cs].limit) return raise(Fault::gp(0));
        st.seg[Seg::cs] = real_style_cs(st, selector);
        st.rip = v[0];
        st.gpr[x86::rsp] = stack.merged(stack.rsp + pop_bytes);
        return {};
    }
    SYS_TRY(cs, code_segment_for_return(*this, selector));
    SYS_CHECK(check_target(*this, *cs, v[0]));
    const unsigned new_cpl = rpl_of(selector);
    stack.rsp = stack.merged(stack.rsp + pop_bytes);
    if (new_cpl > st.cpl()) {
        const bool to_long = st.long_mode_active() && cs->long_mode();
        u64 outer[2];
        SYS_CHECK(pop_frame(*this, stack, outer, 2, bytes));
        SYS_TRY(ss, stack_segment_for_return(*this, static_cast<u16>(outer[1]), new_cpl, to_long));
        // The parameters lie on the outer stack as well (a call gate copied them).
        Stack caller{*ss, outer[0], to_long ? 64u : ss->db() ? 32u : 16u, mmu::Privilege::user};
        if (caller.bits == 16) caller.rsp = (st.gpr[x86::rsp] & 0xffff0000) | (outer[0] & 0xffff);
        st.seg[Seg::ss] = *ss;
        st.gpr[x86::rsp] = caller.merged(caller.rsp + pop_bytes);
        st.seg[Seg::cs] = *cs;
        st.rip = v[0];
        drop_inaccessible_segments(st, new_cpl);
        return {};
    }
    st.seg[Seg::cs] = *cs;
    st.rip = v[0];
    st.gpr[x86::rsp] = stack.rsp;
    return {};
}

}  // namespace triune::hypervisor::soft::system
