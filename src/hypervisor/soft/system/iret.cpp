// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/system/detail.h"

/// IRET (Intel SDM 2A IRET).
namespace triune::hypervisor::soft::system {
namespace {

constexpr u64 always = flag::arithmetic | flag::tf | flag::df | flag::nt;

/// RFLAGS after IRET at `cpl` with the popped `image` of `bits`.
u64 returned_flags(u64 old, u64 image, unsigned bits, unsigned cpl) {
    u64 mask = always;
    if (bits > 16) mask |= flag::rf | flag::ac | flag::id;
    if (cpl <= ((old >> 12) & 3)) mask |= flag::if_;
    if (cpl == 0) {
        mask |= flag::iopl;
        if (bits > 16) mask |= flag::vif | flag::vip;
    }
    return (old & ~mask) | (image & mask) | flag::fixed;
}

void finish(VcpuState& st) {
    st.nmi_blocked = 0;
    st.interrupt_shadow = 0;
}

Guest<void> iret_real(System& s, unsigned bits) {
    auto& st = s.vcpu().state;
    Stack stack = Stack::current(s);
    u64 v[3];
    SYS_CHECK(pop_frame(s, stack, v, 3, bits / 8));
    const u16 selector = static_cast<u16>(v[1]);
    if (v[0] > st.seg[Seg::cs].limit) return raise(Fault::gp(0));
    st.seg[Seg::cs] = real_segment(st.seg[Seg::cs], selector);
    st.rip = v[0];
    st.gpr[x86::rsp] = stack.rsp;
    // Real mode leaves VIP and VIF alone.
    constexpr u64 kept = flag::vif | flag::vip;
    st.rflags = (returned_flags(st.rflags, v[2], bits, 0) & ~kept) | (st.rflags & kept);
    finish(st);
    return {};
}

Guest<void> iret_v8086(System& s, unsigned bits) {
    auto& st = s.vcpu().state;
    const bool full = (st.rflags & flag::iopl) == flag::iopl;
    if (!full && (!(st.cr4 & x86::cr4::vme) || bits != 16)) return raise(Fault::gp(0));
    Stack stack = Stack::current(s);
    u64 v[3];
    SYS_CHECK(pop_frame(s, stack, v, 3, bits / 8));
    if (v[0] > st.seg[Seg::cs].limit) return raise(Fault::gp(0));
    u64 flags;
    if (full) {
        flags = returned_flags(st.rflags, v[2], bits, 3);
    } else {
        // VME: the program's IF is VIF.
        if ((v[2] & flag::tf) || ((v[2] & flag::if_) && (st.rflags & flag::vip))) return raise(Fault::gp(0));
        flags = (st.rflags & ~(always | flag::vif)) | (v[2] & always) | flag::fixed;
        if (v[2] & flag::if_) flags |= flag::vif;
    }
    st.seg[Seg::cs] = v8086_segment(static_cast<u16>(v[1]));
    st.rip = v[0];
    st.gpr[x86::rsp] = stack.rsp;
    st.rflags = flags;
    finish(st);
    return {};
}

Guest<void> return_to_v8086(System& s, Stack stack, u64 eip, u64 cs, u64 flags) {
    auto& st = s.vcpu().state;
    u64 v[6];  // ESP, SS, ES, DS, FS, GS
    SYS_CHECK(pop_frame(s, stack, v, 6, 4));
    if (eip > 0xffff) return raise(Fault::gp(0));
    st.rflags = (flags & (always | flag::if_ | flag::iopl | flag::rf | flag::ac | flag::id | flag::vif |
                          flag::vip | flag::vm)) |
                flag::fixed;
    const auto load = [&st](Seg seg, u64 selector) {
        st.seg[seg] = v8086_segment(static_cast<u16>(selector));
    };
    load(Seg::cs, cs);
    load(Seg::ss, v[1]);
    load(Seg::es, v[2]);
    load(Seg::ds, v[3]);
    load(Seg::fs, v[4]);
    load(Seg::gs, v[5]);
    st.rip = eip;
    st.gpr[x86::rsp] = v[0];
    finish(st);
    return {};
}

/// Protected mode, compatibility mode and 64-bit mode.
Guest<void> iret_protected(System& s, unsigned bits) {
    auto& st = s.vcpu().state;
    const unsigned cpl = st.cpl(), bytes = bits / 8;
    const bool from_long = st.code64();
    Stack stack = Stack::current(s);
    u64 v[5];  // RIP, CS, RFLAGS, RSP, SS: the last two always in 64-bit mode, else on a change of CPL
    SYS_CHECK(pop_frame(s, stack, v, from_long ? 5 : 3, bytes));
    const u16 cs_selector = static_cast<u16>(v[1]);
    if (!st.long_mode_active() && bits == 32 && (v[2] & flag::vm) && cpl == 0)
        return return_to_v8086(s, stack, v[0], v[1], v[2]);
    SYS_TRY(cs, code_segment_for_return(s, cs_selector));
    const unsigned new_cpl = rpl_of(cs_selector);
    const bool outer = new_cpl > cpl;
    if (outer && !from_long) SYS_CHECK(pop_frame(s, stack, v + 3, 2, bytes));
    const bool to_long = st.long_mode_active() && cs->long_mode();
    SYS_CHECK(check_target(s, *cs, v[0]));
    Segment ss = st.seg[Seg::ss];
    u64 rsp = stack.rsp;
    if (outer || from_long) {
        SYS_TRY(loaded, stack_segment_for_return(s, static_cast<u16>(v[4]), new_cpl, to_long));
        ss = *loaded;
        // A 16-bit stack segment takes SP only.
        rsp = to_long || ss.db() ? v[3] : (st.gpr[x86::rsp] & 0xffff0000) | (v[3] & 0xffff);
        if (!to_long) rsp &= 0xffffffff;
    }
    st.rflags = returned_flags(st.rflags, v[2], bits, cpl);
    st.seg[Seg::cs] = *cs;
    st.seg[Seg::ss] = ss;
    st.rip = v[0];
    st.gpr[x86::rsp] = rsp;
    if (outer) drop_inaccessible_segments(st, new_cpl);
    finish(st);
    return {};
}

}  // namespace

Guest<void> System::iret(unsigned operand_bits, u64 next_rip) {
    auto& st = vcpu_.state;
    st.nmi_blocked = 0;  // also when it faults (Intel SDM 3A 6.7.1, 3C 28.2.3)
    if (!st.protected_mode()) return iret_real(*this, operand_bits);
    if (st.v8086()) return iret_v8086(*this, operand_bits);
    if (st.rflags & flag::nt) {
        if (st.long_mode_active()) return raise(Fault::gp(0));
        SYS_TRY(back, read_system(*this, st.tr.base, 0, 2));
        SYS_CHECK(task_switch(*this, static_cast<u16>(*back), TaskSwitch::iret, next_rip, st.rflags));
        finish(st);
        return {};
    }
    return iret_protected(*this, operand_bits);
}

}  // namespace triune::hypervisor::soft::system
