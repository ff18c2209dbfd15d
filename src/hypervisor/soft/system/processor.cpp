// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/system/detail.h"

/// CPUID, RDTSC, RDPMC, SWAPGS and hypercalls.
namespace triune::hypervisor::soft::system {

Guest<u64> System::rdtsc() {
    const auto& st = vcpu_.state;
    if ((st.cr4 & x86::cr4::tsd) && st.cpl() != 0) return raise(Fault::gp(0));
    return vcpu_.guest_tsc();
}

Guest<u64> System::rdpmc() {
    return raise(Fault::gp(0));  // CPUID shows no performance counters, so every index is invalid
}

Guest<void> System::cpuid() {
    auto& st = vcpu_.state;
    vcpu_.counters.add(observe::Counter::cpuid);
    x86::CpuidResult r;
    if (vcpu_.model) {
        x86::CpuidContext context;
        context.apic_id = vcpu_.index;
        context.cr4 = st.cr4;
        context.xcr0 = st.xcr0;
        context.misc_enable = st.misc_enable;
        context.apic_enabled = !vcpu_.apic || base::bit(vcpu_.apic->apic_base(), 11);
        r = x86::cpuid(*vcpu_.model, context, static_cast<u32>(st.gpr[x86::rax]),
                       static_cast<u32>(st.gpr[x86::rcx]));
    }
    st.gpr[x86::rax] = r.eax;
    st.gpr[x86::rbx] = r.ebx;
    st.gpr[x86::rcx] = r.ecx;
    st.gpr[x86::rdx] = r.edx;
    return {};
}

Guest<void> System::swapgs() {
    auto& st = vcpu_.state;
    if (!st.code64()) return raise(Fault::ud());
    if (st.cpl() != 0) return raise(Fault::gp(0));
    std::swap(st.seg[Seg::gs].base, st.kernel_gs_base);
    return {};
}

/// VMCALL and VMMCALL by KVM's ABI: the number in RAX, the result in RAX.
Guest<void> System::vmcall() {
    constexpr u64 poll_irq = 1;  // KVM_HC_VAPIC_POLL_IRQ: an exit by itself is all it wants
    constexpr u64 enosys = 1000, eperm = 1;
    auto& st = vcpu_.state;
    if (!SystemDetail::features(*this).kvm) return raise(Fault::ud());
    const bool wide = st.code64();
    const u64 number = wide ? st.gpr[x86::rax] : st.gpr[x86::rax] & 0xffffffff;
    u64 result = 0 - enosys;
    if (st.cpl() != 0)
        result = 0 - eperm;
    else if (number == poll_irq)
        result = 0;
    st.gpr[x86::rax] = wide ? result : result & 0xffffffff;
    return {};
}

}  // namespace triune::hypervisor::soft::system
