// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/system/detail.h"

/// SYSCALL, SYSRET, SYSENTER, SYSEXIT (Intel SDM 2B; AMD APM 3).
namespace triune::hypervisor::soft::system {
namespace {

constexpr u64 sysret_flags = 0x3c7fd7;  // all but RF and VM

void set_cpl_segments(VcpuState& st, u16 cs, u16 ss, unsigned cpl, bool long_mode) {
    st.seg[Seg::cs] = flat_code(cs, cpl, long_mode);
    st.seg[Seg::ss] = flat_stack(ss, cpl);
}

/// SYSCALL and SYSRET are followed by a single-step trap when the RFLAGS that they load ask for it: so
/// a kernel keeps it out of its entry with SFMASK, and the trap after SYSRET is the SYSCALL's own (AMD
/// APM 2 13.1.4).
void trap_by_new_flags(VcpuState& st) {
    if (st.rflags & flag::tf) [[unlikely]]
        st.pending_debug |= x86::dr6::bs;
}

}  // namespace

Guest<void> System::syscall(u64 next_rip) {
    auto& st = vcpu_.state;
    if (!(st.efer & x86::efer::sce)) return raise(Fault::ud());
    const u16 cs = static_cast<u16>(st.star >> 32) & 0xfffc;
    if (st.code64()) [[likely]] {
        st.gpr[x86::rcx] = next_rip;
        st.gpr[x86::r11] = st.rflags & ~flag::rf;
        st.rip = st.lstar;
        st.rflags = (st.rflags & ~(st.sfmask | flag::rf)) | flag::fixed;
        set_cpl_segments(st, cs, static_cast<u16>(cs + 8), 0, true);
        trap_by_new_flags(st);
        return {};
    }
    // Intel knows SYSCALL in 64-bit mode only; AMD also elsewhere in protected mode.
    if (!SystemDetail::features(*this).amd || !st.protected_mode()) return raise(Fault::ud());
    if (st.long_mode_active()) {
        st.gpr[x86::rcx] = next_rip & 0xffffffff;
        st.gpr[x86::r11] = st.rflags & ~flag::rf;
        st.rip = st.cstar;
        st.rflags = (st.rflags & ~(st.sfmask | flag::rf)) | flag::fixed;
        set_cpl_segments(st, cs, static_cast<u16>(cs + 8), 0, true);
    } else {
        st.gpr[x86::rcx] = next_rip & 0xffffffff;
        st.rip = st.star & 0xffffffff;
        st.rflags &= ~(flag::vm | flag::if_ | flag::rf);
        set_cpl_segments(st, cs, static_cast<u16>(cs + 8), 0, false);
    }
    trap_by_new_flags(st);
    return {};
}

Guest<void> System::sysret(unsigned operand_bits) {
    auto& st = vcpu_.state;
    if (!(st.efer & x86::efer::sce)) return raise(Fault::ud());
    const bool amd = SystemDetail::features(*this).amd;
    if (!st.code64() && (!amd || !st.protected_mode())) return raise(Fault::ud());
    if (st.cpl() != 0 || st.v8086()) return raise(Fault::gp(0));
    const u16 base = static_cast<u16>(st.star >> 48);
    if (st.code64() && operand_bits == 64) [[likely]] {
        const u64 target = st.gpr[x86::rcx];
        // AMD loads any RIP; the fault then comes from the next fetch, at CPL 3.
        if (!amd && !mmu_.canonical(target)) return raise(Fault::gp(0));
        st.rip = target;
        st.rflags = (st.gpr[x86::r11] & sysret_flags) | flag::fixed;
        set_cpl_segments(st, static_cast<u16>((base + 16) | 3), static_cast<u16>((base + 8) | 3), 3, true);
        trap_by_new_flags(st);
        return {};
    }
    st.rip = st.gpr[x86::rcx] & 0xffffffff;
    if (st.long_mode_active())
        st.rflags = (st.gpr[x86::r11] & sysret_flags) | flag::fixed;
    else
        st.rflags = (st.rflags | flag::if_) & ~(flag::vm | flag::rf);
    set_cpl_segments(st, base | 3, static_cast<u16>((base + 8) | 3), 3, false);
    trap_by_new_flags(st);
    return {};
}

Guest<void> System::sysenter() {
    auto& st = vcpu_.state;
    const Features& f = SystemDetail::features(*this);
    // AMD has no SYSENTER in long mode.
    if (!f.sysenter || (f.amd && st.long_mode_active())) return raise(Fault::ud());
    if (!st.protected_mode() || (st.sysenter_cs & 0xfffc) == 0) return raise(Fault::gp(0));
    const u16 cs = static_cast<u16>(st.sysenter_cs) & 0xfffc;
    const bool long_mode = st.long_mode_active();
    st.rflags &= ~(flag::vm | flag::if_ | flag::rf);
    st.gpr[x86::rsp] = long_mode ? st.sysenter_esp : st.sysenter_esp & 0xffffffff;
    st.rip = long_mode ? st.sysenter_eip : st.sysenter_eip & 0xffffffff;
    set_cpl_segments(st, cs, static_cast<u16>(cs + 8), 0, long_mode);
    return {};
}

Guest<void> System::sysexit(unsigned operand_bits) {
    auto& st = vcpu_.state;
    const Features& f = SystemDetail::features(*this);
    if (!f.sysenter || (f.amd && st.long_mode_active())) return raise(Fault::ud());
    if (!st.protected_mode() || st.cpl() != 0 || (st.sysenter_cs & 0xfffc) == 0) return raise(Fault::gp(0));
    const u16 base = static_cast<u16>(st.sysenter_cs) & 0xfffc;
    const bool to_long = operand_bits == 64;
    const u64 rip = st.gpr[x86::rdx], rsp = st.gpr[x86::rcx];
    if (to_long && (!mmu_.canonical(rip) || !mmu_.canonical(rsp))) return raise(Fault::gp(0));
    st.rip = to_long ? rip : rip & 0xffffffff;
    st.gpr[x86::rsp] = to_long ? rsp : rsp & 0xffffffff;
    const unsigned step = to_long ? 32 : 16;
    set_cpl_segments(st, static_cast<u16>((base + step) | 3), static_cast<u16>((base + step + 8) | 3), 3,
                     to_long);
    return {};
}

}  // namespace triune::hypervisor::soft::system
