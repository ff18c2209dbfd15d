// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "base/state_visitor.h"
#include "x86/vcpu_state.h"

namespace triune::x86 {

using base::StateVisitor;

void describe(StateVisitor& v, Segment& s) {
    v("selector", s.selector);
    v("attr", s.attr);
    v("base", s.base);
    v("limit", s.limit);
}

void describe(StateVisitor& v, DescriptorTable& t) {
    v("base", t.base);
    v("limit", t.limit);
}

void describe(StateVisitor& v, VcpuState& s) {
    constexpr std::array gpr{"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                             "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
    constexpr std::array seg{"es", "cs", "ss", "ds", "fs", "gs"};
    const auto segment = [](StateVisitor& w, Segment& x) { describe(w, x); };
    const auto table = [](StateVisitor& w, DescriptorTable& x) { describe(w, x); };
    for (size_t i = 0; i < gpr.size(); ++i) v(gpr[i], s.gpr[i]);
    v("rip", s.rip);
    v("rflags", s.rflags);
    for (size_t i = 0; i < seg.size(); ++i) v(seg[i], s.seg[i], segment);
    v("ldtr", s.ldtr, segment);
    v("tr", s.tr, segment);
    v("gdtr", s.gdtr, table);
    v("idtr", s.idtr, table);
    v("cr0", s.cr0);
    v("cr2", s.cr2);
    v("cr3", s.cr3);
    v("cr4", s.cr4);
    v("xcr0", s.xcr0);
    v("efer", s.efer);
    for (size_t i = 0; i < s.dr.size(); ++i) v(fmt::format("dr{}", i), s.dr[i]);
    v("star", s.star);
    v("lstar", s.lstar);
    v("cstar", s.cstar);
    v("sfmask", s.sfmask);
    v("kernel_gs_base", s.kernel_gs_base);
    v("sysenter_cs", s.sysenter_cs);
    v("sysenter_esp", s.sysenter_esp);
    v("sysenter_eip", s.sysenter_eip);
    v("tsc_offset", s.tsc_offset);
    v("tsc_aux", s.tsc_aux);
    v("pat", s.pat);
    v("misc_enable", s.misc_enable);
    v("mtrr_def_type", s.mtrr_def_type);
    v("spec_ctrl", s.spec_ctrl);
    v("debugctl", s.debugctl);
    for (size_t i = 0; i < s.mtrr_variable.size(); ++i)
        v(fmt::format("mtrr_variable{}", i), s.mtrr_variable[i]);
    for (size_t i = 0; i < s.mtrr_fixed.size(); ++i) v(fmt::format("mtrr_fixed{}", i), s.mtrr_fixed[i]);
    v("kvmclock_msr", s.kvmclock_msr);
    v("kvm_wall_clock_msr", s.kvm_wall_clock_msr);
    v("pdpte", s.pdpte);
    v("pending_debug", s.pending_debug);
    v("amd_hwcr", s.amd_hwcr);
    v("amd_de_cfg", s.amd_de_cfg);
    v("pkru", s.pkru);
    v("interrupt_shadow", s.interrupt_shadow);
    v("nmi_blocked", s.nmi_blocked);
    v("halted", s.halted);
    v("waiting_for_sipi", s.waiting_for_sipi);
    v("nmi_pending", s.nmi_pending);
    v("init_pending", s.init_pending);
    v("sipi_pending", s.sipi_pending);
    v("sipi_vector", s.sipi_vector);
    v("xsave", s.xsave);
}

}  // namespace triune::x86
