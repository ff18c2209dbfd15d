// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/system/msr.h"

#include "hypervisor/soft/system/detail.h"

/// RDMSR and WRMSR (Intel SDM 4; AMD APM 2 appendix A). An MSR that is not here does not exist: #GP.
namespace triune::hypervisor::soft::system {
namespace {

namespace efer = x86::efer;

constexpr u32 x2apic_first = 0x800, x2apic_count = 0x100;

Guest<void> write_efer(System& s, u64 value) {
    auto& st = s.vcpu().state;
    const u64 mask = SystemDetail::features(s).efer_mask;
    if (!mask) return raise(Fault::gp(0));
    value &= ~efer::lma;  // read-only; the processor keeps its own
    if (value & ~mask) return raise(Fault::gp(0));
    if ((value & ~st.efer & efer::nxe) && (st.misc_enable & x86::misc_enable_no_xd))
        return raise(Fault::gp(0));
    const u64 changed = (st.efer ^ value) & ~efer::lma;
    if ((changed & efer::lme) && (st.cr0 & x86::cr0::pg)) return raise(Fault::gp(0));
    st.efer = value | (st.efer & efer::lma);
    if (changed & efer::nxe) s.mmu().flush_all();
    return {};
}

Guest<void> write_canonical(System& s, u64& to, u64 value) {
    if (!loadable_address(s, value)) return raise(Fault::gp(0));
    to = value;
    return {};
}

Guest<void> write_tsc(System& s, u64 value) {
    auto& c = s.vcpu();
    c.state.tsc_offset += value - c.guest_tsc();
    kvmclock_update(s);
    // The timer's deadline is a guest TSC value: it is now another instant.
    if (const u64 deadline = c.apic->tsc_deadline()) c.apic->set_tsc_deadline(deadline);
    return {};
}

}  // namespace

Guest<u64> System::rdmsr(u32 msr) {
    auto& st = vcpu_.state;
    if (st.cpl() != 0 || st.v8086()) [[unlikely]]
        return raise(Fault::gp(0));
    vcpu_.counters.add(observe::Counter::msr_accesses);
    const Features& f = SystemDetail::features(*this);
    const auto when = [](bool exists, u64 value) -> Guest<u64> {
        if (!exists) return raise(Fault::gp(0));
        return value;
    };
    if (msr - x2apic_first < x2apic_count) {
        if (!f.x2apic) return raise(Fault::gp(0));
        if (const auto v = vcpu_.apic->read_x2apic(msr)) return *v;
        return raise(Fault::gp(0));
    }
    switch (msr) {
        case msr::tsc: return vcpu_.guest_tsc();
        case msr::tsc_deadline: return when(f.tsc_deadline, f.tsc_deadline ? vcpu_.apic->tsc_deadline() : 0);
        case msr::apic_base: return vcpu_.apic->apic_base();
        case msr::efer: return when(f.efer_mask, st.efer);
        case msr::star: return when(f.syscall, st.star);
        case msr::lstar: return when(f.long_mode, st.lstar);
        case msr::cstar: return when(f.long_mode, st.cstar);
        case msr::sfmask: return when(f.syscall, st.sfmask);
        case msr::fs_base: return when(f.long_mode, st.seg[Seg::fs].base);
        case msr::gs_base: return when(f.long_mode, st.seg[Seg::gs].base);
        case msr::kernel_gs_base: return when(f.long_mode, st.kernel_gs_base);
        case msr::tsc_aux: return when(f.rdtscp || f.rdpid, st.tsc_aux);
        case msr::sysenter_cs: return when(f.sysenter, st.sysenter_cs);
        case msr::sysenter_esp: return when(f.sysenter, st.sysenter_esp);
        case msr::sysenter_eip: return when(f.sysenter, st.sysenter_eip);
        case msr::pat: return when(f.pat, st.pat);
        case msr::spec_ctrl: return when(f.spec_ctrl_mask, st.spec_ctrl);
        case msr::arch_capabilities:
            return when(f.arch_capabilities, f.arch_capabilities ? x86::arch_capabilities(*f.model) : 0);
        case msr::debugctl: return st.debugctl;
        // No machine-check banks: MCG_CAP says so.
        case msr::mcg_cap:
        case msr::mcg_status:
        case msr::p5_mc_addr:
        case msr::p5_mc_type: return 0;
        // Last-branch records never hold anything.
        case 0x1db:
        case 0x1dc:
        case 0x1dd:
        case 0x1de: return 0;
        case msr::microcode_revision: return f.amd ? 0x01000065 : u64{1} << 32;
        case msr::platform_id: return when(!f.amd, 0);
        case msr::feature_control:
            return when(!f.amd, 1);  // locked, nothing enabled
        // Maximum non-turbo ratio in units of 100 MHz; no CPUID faulting.
        case msr::platform_info:
            return when(!f.amd, (((f.model ? f.model->tsc_hz : 0) / 100'000'000) & 0xff) << 8);
        // BTS and PEBS are unavailable. Intel's, but KVM has it whatever the vendor.
        case msr::misc_enable: return st.misc_enable | 0x1800;
        case msr::mtrr_cap: return when(f.mtrr, 0x508);  // WC, fixed ranges, 8 variable ones
        case msr::mtrr_def_type: return when(f.mtrr, st.mtrr_def_type);
        case msr::kvm_wall_clock: return when(f.kvmclock, st.kvm_wall_clock_msr);
        case msr::kvm_system_time: return when(f.kvmclock, st.kvmclock_msr);
        case msr::kvm_wall_clock_old: return when(f.kvmclock_old, st.kvm_wall_clock_msr);
        case msr::kvm_system_time_old: return when(f.kvmclock_old, st.kvmclock_msr);
        case msr::amd_hwcr: return when(f.amd, st.amd_hwcr);
        case msr::amd_de_cfg: return when(f.amd, st.amd_de_cfg);
        case msr::amd_syscfg:
        case msr::amd_top_mem:
        case msr::amd_top_mem2:
        case msr::amd_nb_cfg:
        case msr::amd_int_pending:
        case msr::amd_mmio_conf_base:
        case msr::amd_dc_cfg:
        case msr::amd_cu_cfg:
        case msr::amd_bu_cfg2: return when(f.amd, 0);
        case msr::amd_osvw_length:
        case msr::amd_osvw_status: return when(f.amd && f.osvw, 0);
        default: break;
    }
    // Counters that never count. Software that tests them finds that they do not hold what it writes.
    if (f.amd && msr::is_amd_perf(msr)) return 0;
    if (f.mtrr) {
        if (msr - msr::mtrr_variable_first < st.mtrr_variable.size())
            return st.mtrr_variable[msr - msr::mtrr_variable_first];
        if (const int i = msr::mtrr_fixed_index(msr); i >= 0) return st.mtrr_fixed[static_cast<unsigned>(i)];
    }
    return raise(Fault::gp(0));
}

Guest<void> System::wrmsr(u32 msr, u64 value) {
    auto& st = vcpu_.state;
    if (st.cpl() != 0 || st.v8086()) [[unlikely]]
        return raise(Fault::gp(0));
    vcpu_.counters.add(observe::Counter::msr_accesses);
    const Features& f = SystemDetail::features(*this);
    const auto ok_if = [](bool allowed) -> Guest<void> {
        if (!allowed) return raise(Fault::gp(0));
        return {};
    };
    const auto store_if = [](bool allowed, u64& to, u64 v) -> Guest<void> {
        if (!allowed) return raise(Fault::gp(0));
        to = v;
        return {};
    };
    if (msr - x2apic_first < x2apic_count) return ok_if(f.x2apic && vcpu_.apic->write_x2apic(msr, value));
    switch (msr) {
        case msr::tsc_deadline:
            if (!f.tsc_deadline) return raise(Fault::gp(0));
            vcpu_.apic->set_tsc_deadline(value);
            return {};
        case msr::tsc: return write_tsc(*this, value);
        case msr::apic_base:
            if ((value & (u64{1} << 10)) && !f.x2apic) return raise(Fault::gp(0));
            return ok_if(vcpu_.apic->set_apic_base(value));
        case msr::efer: return write_efer(*this, value);
        case msr::star: return store_if(f.syscall, st.star, value);
        case msr::lstar: return f.long_mode ? write_canonical(*this, st.lstar, value) : raise(Fault::gp(0));
        case msr::cstar: return f.long_mode ? write_canonical(*this, st.cstar, value) : raise(Fault::gp(0));
        case msr::sfmask: return store_if(f.syscall && !(value >> 32), st.sfmask, value);
        case msr::fs_base:
            return f.long_mode ? write_canonical(*this, st.seg[Seg::fs].base, value) : raise(Fault::gp(0));
        case msr::gs_base:
            return f.long_mode ? write_canonical(*this, st.seg[Seg::gs].base, value) : raise(Fault::gp(0));
        case msr::kernel_gs_base:
            return f.long_mode ? write_canonical(*this, st.kernel_gs_base, value) : raise(Fault::gp(0));
        case msr::tsc_aux: return store_if((f.rdtscp || f.rdpid) && !(value >> 32), st.tsc_aux, value);
        case msr::sysenter_cs: return store_if(f.sysenter, st.sysenter_cs, value & 0xffffffff);
        case msr::sysenter_esp:
            return f.sysenter ? write_canonical(*this, st.sysenter_esp, value) : raise(Fault::gp(0));
        case msr::sysenter_eip:
            return f.sysenter ? write_canonical(*this, st.sysenter_eip, value) : raise(Fault::gp(0));
        case msr::pat: return store_if(f.pat && msr::valid_pat(value), st.pat, value);
        case msr::spec_ctrl:
            return store_if(f.spec_ctrl_mask && !(value & ~f.spec_ctrl_mask), st.spec_ctrl, value);
        // Commands: the host's own predictors and caches are the host's business.
        case msr::pred_cmd: return ok_if(f.pred_cmd && value <= 1);
        case msr::flush_cmd: return ok_if(f.flush_cmd && value <= 1);
        case msr::debugctl: return store_if(!(value & ~(f.amd ? u64{0x3f} : u64{3})), st.debugctl, value);
        case msr::mcg_status: return ok_if(value == 0);
        case msr::p5_mc_addr:
        case msr::p5_mc_type: return ok_if(value == 0);
        // Written before CPUID to read the revision (Intel); loads of microcode are dropped.
        case msr::microcode_revision: return ok_if(!f.amd);
        case msr::microcode_update: return ok_if(!f.amd);
        case msr::amd_patch_loader: return ok_if(f.amd);
        case msr::misc_enable:
            return store_if(!(value & ~(0xd51889 | (f.nx ? x86::misc_enable_no_xd : 0))), st.misc_enable,
                            value & ~u64{0x1800});
        case msr::mtrr_def_type:
            return store_if(f.mtrr && !(value & ~u64{0xcff}) && msr::valid_mtrr_type(value & 0xff),
                            st.mtrr_def_type, value);
        case msr::kvm_wall_clock_old:
        case msr::kvm_wall_clock:
            if (!(msr == msr::kvm_wall_clock ? f.kvmclock : f.kvmclock_old)) return raise(Fault::gp(0));
            st.kvm_wall_clock_msr = value;
            kvmclock_write_wall_clock(*this, value);
            return {};
        case msr::kvm_system_time_old:
        case msr::kvm_system_time:
            if (!(msr == msr::kvm_system_time ? f.kvmclock : f.kvmclock_old)) return raise(Fault::gp(0));
            st.kvmclock_msr = value;
            kvmclock_update(*this);
            return {};
        // HWCR: cache and errata switches without effect here, McStatusWrEn, TscFreqSel (read-only),
        // CpbDis, IRPerfEn.
        case msr::amd_hwcr:
            if (!f.amd || (value & ~u64{0x4704'0158})) return raise(Fault::gp(0));
            st.amd_hwcr = value | (u64{1} << 24);
            return {};
        case msr::amd_de_cfg: return store_if(f.amd, st.amd_de_cfg, value & 0x202);
        case msr::amd_syscfg:
        case msr::amd_nb_cfg:
        case msr::amd_int_pending:
        case msr::amd_dc_cfg:
        case msr::amd_cu_cfg:
        case msr::amd_bu_cfg2: return ok_if(f.amd);
        default: break;
    }
    if (f.amd && msr::is_amd_perf(msr)) return {};
    if (f.mtrr) {
        if (msr - msr::mtrr_variable_first < st.mtrr_variable.size()) {
            const bool is_mask = msr & 1;
            const u64 reserved = f.phys_reserved | (is_mask ? 0x7ff : 0xf00);
            if ((value & reserved) || (!is_mask && !msr::valid_mtrr_type(value & 0xff)))
                return raise(Fault::gp(0));
            st.mtrr_variable[msr - msr::mtrr_variable_first] = value;
            return {};
        }
        if (const int i = msr::mtrr_fixed_index(msr); i >= 0) {
            for (unsigned b = 0; b < 64; b += 8)
                if (!msr::valid_mtrr_type((value >> b) & 0xff)) return raise(Fault::gp(0));
            st.mtrr_fixed[static_cast<unsigned>(i)] = value;
            return {};
        }
    }
    return raise(Fault::gp(0));
}

}  // namespace triune::hypervisor::soft::system
