// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/types.h"

/// Numbers of the MSRs that exist (Intel SDM 4 table 2-2; AMD APM 2 appendix A; Linux
/// Documentation/virt/kvm/x86/msr.rst for KVM's).
namespace triune::hypervisor::soft::system::msr {

inline constexpr u32 p5_mc_addr = 0x0, p5_mc_type = 0x1, tsc = 0x10, kvm_wall_clock_old = 0x11,
                     kvm_system_time_old = 0x12, platform_id = 0x17, apic_base = 0x1b, feature_control = 0x3a,
                     spec_ctrl = 0x48, pred_cmd = 0x49, microcode_update = 0x79, microcode_revision = 0x8b,
                     platform_info = 0xce, mtrr_cap = 0xfe, arch_capabilities = 0x10a, flush_cmd = 0x10b,
                     sysenter_cs = 0x174, sysenter_esp = 0x175, sysenter_eip = 0x176, mcg_cap = 0x179,
                     mcg_status = 0x17a, misc_enable = 0x1a0, debugctl = 0x1d9, mtrr_variable_first = 0x200,
                     pat = 0x277, mtrr_def_type = 0x2ff, tsc_deadline = 0x6e0;
inline constexpr u32 kvm_wall_clock = 0x4b564d00, kvm_system_time = 0x4b564d01;
inline constexpr u32 efer = 0xc0000080, star = 0xc0000081, lstar = 0xc0000082, cstar = 0xc0000083,
                     sfmask = 0xc0000084, fs_base = 0xc0000100, gs_base = 0xc0000101,
                     kernel_gs_base = 0xc0000102, tsc_aux = 0xc0000103;
inline constexpr u32 amd_syscfg = 0xc0010010, amd_hwcr = 0xc0010015, amd_top_mem = 0xc001001a,
                     amd_top_mem2 = 0xc001001d, amd_nb_cfg = 0xc001001f, amd_patch_loader = 0xc0010020,
                     amd_int_pending = 0xc0010055, amd_mmio_conf_base = 0xc0010058,
                     amd_osvw_length = 0xc0010140, amd_osvw_status = 0xc0010141, amd_dc_cfg = 0xc0011022,
                     amd_cu_cfg = 0xc0011023, amd_de_cfg = 0xc0011029, amd_bu_cfg2 = 0xc001102a;

/// PerfEvtSel0-3 and PerfCtr0-3, which every AMD64 processor has whatever CPUID says (AMD APM 2 13.2.1).
constexpr bool is_amd_perf(u32 m) { return m - 0xc0010000 < 8; }

/// Index into VcpuState::mtrr_fixed, or -1.
constexpr int mtrr_fixed_index(u32 m) {
    if (m == 0x250) return 0;
    if (m == 0x258 || m == 0x259) return static_cast<int>(m - 0x258) + 1;
    if (m >= 0x268 && m <= 0x26f) return static_cast<int>(m - 0x268) + 3;
    return -1;
}
/// UC, WC, WT, WP, WB.
constexpr bool valid_mtrr_type(u64 t) { return t <= 6 && t != 2 && t != 3; }
/// Eight fields of UC, WC, WT, WP, WB, UC-.
constexpr bool valid_pat(u64 v) {
    for (unsigned b = 0; b < 64; b += 8) {
        const u64 t = (v >> b) & 0xff;
        if (t > 7 || t == 2 || t == 3) return false;
    }
    return true;
}

}  // namespace triune::hypervisor::soft::system::msr
