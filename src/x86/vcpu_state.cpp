// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "x86/vcpu_state.h"

#include <cstring>

namespace triune::x86 {
namespace {

// Access rights (VMX layout): present, accessed, read/write data; the same as code; LDT; busy TSS.
constexpr u32 attr_data = 0x93, attr_code = 0x9b, attr_ldt = 0x82, attr_tss = 0x8b;

/// Family 6 in EDX (Intel SDM 3A 9.1.2); system software asks CPUID instead.
constexpr u64 signature = 0x600;

Segment real_segment(u32 attr) {
    Segment s;
    s.attr = attr;
    s.limit = 0xffff;
    return s;
}

/// x87 and SSE at power-on: FCW 40h, all tags "zero" (that is, not empty), MXCSR 1F80h.
void reset_extended(VcpuState& s) {
    const u16 fcw = 0x40;
    const u8 abridged_tags = 0xff;
    const u32 mxcsr = 0x1f80, mxcsr_mask = 0xffff;
    const u64 xstate_bv = 3;
    s.xsave.fill(0);
    std::memcpy(&s.xsave[0], &fcw, sizeof fcw);
    std::memcpy(&s.xsave[4], &abridged_tags, sizeof abridged_tags);
    std::memcpy(&s.xsave[24], &mxcsr, sizeof mxcsr);
    std::memcpy(&s.xsave[28], &mxcsr_mask, sizeof mxcsr_mask);
    std::memcpy(&s.xsave[512], &xstate_bv, sizeof xstate_bv);
}

}  // namespace

void reset_state(VcpuState& s, bool init) {
    if (!init) {
        const u64 tsc_offset = s.tsc_offset;
        s = VcpuState{};
        s.tsc_offset = tsc_offset;
        reset_extended(s);
    }
    s.gpr.fill(0);
    s.gpr[rdx] = signature;
    s.rip = 0xfff0;
    s.rflags = flag::fixed;
    s.seg.fill(real_segment(attr_data));
    s.seg[cs] = real_segment(attr_code);
    s.seg[cs].selector = 0xf000;
    s.seg[cs].base = 0xffff0000;
    s.ldtr = real_segment(attr_ldt);
    s.tr = real_segment(attr_tss);
    s.gdtr = s.idtr = {.base = 0, .limit = 0xffff};
    // INIT leaves the caches as they were.
    s.cr0 = cr0::et | (init ? s.cr0 & (cr0::cd | cr0::nw) : cr0::cd | cr0::nw);
    s.cr2 = s.cr3 = s.cr4 = s.efer = 0;
    s.dr.fill(0);
    s.dr[6] = 0xffff0ff0;
    s.dr[7] = 0x400;
    s.pdpte.fill(0);
    s.pending_debug = 0;
    s.debugctl = 0;
    s.interrupt_shadow = s.nmi_blocked = s.halted = s.waiting_for_sipi = s.nmi_pending = 0;
    s.init_pending = s.sipi_pending = s.sipi_vector = 0;
}

}  // namespace triune::x86
