// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/system/detail.h"

/// CLI, STI, PUSHF, POPF with IOPL, VME and PVI (Intel SDM 2A, 2B; 3B 20.3, 20.4); HLT.
namespace triune::hypervisor::soft::system {
namespace {

constexpr u64 always = flag::arithmetic | flag::tf | flag::df | flag::nt;

bool iopl_allows(const VcpuState& st) { return st.cpl() <= ((st.rflags >> 12) & 3); }

/// IOPL forbids IF itself, but VIF stands for it (VME in v8086 mode, PVI in ring 3).
bool virtual_if(const VcpuState& st) {
    return st.v8086() ? st.cr4 & x86::cr4::vme : (st.cr4 & x86::cr4::pvi) && st.cpl() == 3;
}

}  // namespace

Guest<void> System::cli() {
    auto& st = vcpu_.state;
    if (!st.protected_mode() || iopl_allows(st)) [[likely]]
        st.rflags &= ~flag::if_;
    else if (virtual_if(st))
        st.rflags &= ~flag::vif;
    else
        return raise(Fault::gp(0));
    return {};
}

Guest<void> System::sti() {
    auto& st = vcpu_.state;
    if (!st.protected_mode() || iopl_allows(st)) [[likely]] {
        if (!(st.rflags & flag::if_)) {
            st.rflags |= flag::if_;
            st.interrupt_shadow = x86::shadow::sti;
        }
    } else if (virtual_if(st) && !(st.rflags & flag::vip)) {
        st.rflags |= flag::vif;
    } else {
        return raise(Fault::gp(0));
    }
    return {};
}

Guest<void> System::popf(u64 value, unsigned operand_bits) {
    auto& st = vcpu_.state;
    u64 mask = always;
    if (operand_bits > 16) mask |= flag::ac | (!vcpu_.model || vcpu_.model->has_cpuid ? flag::id : 0);
    if (st.v8086() && !iopl_allows(st)) {
        if (operand_bits != 16 || !(st.cr4 & x86::cr4::vme)) return raise(Fault::gp(0));
        if ((value & flag::tf) || ((value & flag::if_) && (st.rflags & flag::vip)))
            return raise(Fault::gp(0));
        u64 flags = (st.rflags & ~(mask | flag::vif | flag::rf)) | (value & mask) | flag::fixed;
        if (value & flag::if_) flags |= flag::vif;
        st.rflags = flags;
        return {};
    }
    if (!st.protected_mode() || iopl_allows(st)) mask |= flag::if_;
    if (!st.protected_mode() || st.cpl() == 0) mask |= flag::iopl;
    st.rflags = (st.rflags & ~(mask | flag::rf)) | (value & mask) | flag::fixed;
    return {};
}

Guest<u64> System::pushf(unsigned operand_bits) {
    const auto& st = vcpu_.state;
    u64 image = st.rflags & ~(flag::rf | flag::vm);
    if (st.v8086() && !iopl_allows(st)) {
        if (operand_bits != 16 || !(st.cr4 & x86::cr4::vme)) return raise(Fault::gp(0));
        image = (image & ~flag::if_) | flag::iopl;
        if (st.rflags & flag::vif) image |= flag::if_;
    }
    return image & base::low_mask(operand_bits);
}

Guest<void> System::hlt() {
    auto& st = vcpu_.state;
    if (st.cpl() != 0 || st.v8086()) return raise(Fault::gp(0));
    st.halted = 1;
    return {};
}

}  // namespace triune::hypervisor::soft::system
