// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/system/features.h"

#include "base/bits.h"
#include "x86/vcpu_state.h"

namespace triune::hypervisor::soft::system {
namespace {

using base::bit;

constexpr u32 word(const char (&s)[5]) {
    return static_cast<u32>(static_cast<u8>(s[0])) | static_cast<u32>(static_cast<u8>(s[1])) << 8 |
           static_cast<u32>(static_cast<u8>(s[2])) << 16 | static_cast<u32>(static_cast<u8>(s[3])) << 24;
}

u64 cr4_bits(const x86::CpuidResult& l1, const x86::CpuidResult& l7) {
    namespace cr4 = x86::cr4;
    u64 m = cr4::pce;  // RDPMC raises #GP either way: there are no counters
    const auto allow = [&m](bool present, u64 bits) { m |= present ? bits : 0; };
    allow(bit(l1.edx, 1), cr4::vme | cr4::pvi);
    allow(bit(l1.edx, 4), cr4::tsd);
    allow(bit(l1.edx, 2), cr4::de);
    allow(bit(l1.edx, 3), cr4::pse);
    allow(bit(l1.edx, 6), cr4::pae);
    allow(bit(l1.edx, 7), cr4::mce);
    allow(bit(l1.edx, 13), cr4::pge);
    allow(bit(l1.edx, 24), cr4::osfxsr);
    allow(bit(l1.edx, 25), cr4::osxmmexcpt);
    allow(bit(l1.ecx, 17), cr4::pcide);
    allow(bit(l1.ecx, 26), cr4::osxsave);
    allow(bit(l7.ebx, 0), cr4::fsgsbase);
    allow(bit(l7.ebx, 7), cr4::smep);
    allow(bit(l7.ebx, 20), cr4::smap);
    allow(bit(l7.ecx, 2), cr4::umip);
    allow(bit(l7.ecx, 3), cr4::pke);
    allow(bit(l7.ecx, 16), cr4::la57);
    return m;
}

}  // namespace

Features Features::of(const x86::CpuModel& model) {
    // lookup() is the static part of CPUID: the bits that follow run-time state do not matter here.
    const auto l0 = model.lookup(0, 0);
    const auto l1 = model.lookup(1, 0);
    const auto l7 = l0.eax >= 7 ? model.lookup(7, 0) : x86::CpuidResult{};
    const auto xsave1 = l0.eax >= 13 ? model.lookup(13, 1) : x86::CpuidResult{};
    const auto l6 = l0.eax >= 6 ? model.lookup(6, 0) : x86::CpuidResult{};
    const u32 max_extended = model.lookup(0x80000000, 0).eax;
    const auto extended = [&](u32 function) {
        return max_extended >= function && max_extended >> 16 == 0x8000 ? model.lookup(function, 0)
                                                                        : x86::CpuidResult{};
    };
    const auto e1 = extended(0x80000001), e8 = extended(0x80000008), e21 = extended(0x80000021);

    Features f;
    f.model = &model;
    f.amd = (l0.ebx == word("Auth") && l0.edx == word("enti") && l0.ecx == word("cAMD")) ||
            (l0.ebx == word("Hygo") && l0.edx == word("nGen") && l0.ecx == word("uine"));
    if (bit(l1.ecx, 31)) {
        const auto h = model.lookup(0x40000000, 0);
        f.kvm = h.ebx == word("KVMK") && h.ecx == word("VMKV") && h.edx == 0x4d;
        const u32 kvm_features = f.kvm ? model.lookup(0x40000001, 0).eax : 0;
        f.kvmclock = bit(kvm_features, 3);
        f.kvmclock_old = bit(kvm_features, 0);
    }
    f.long_mode = bit(e1.edx, 29);
    f.syscall = bit(e1.edx, 11) || f.long_mode;
    f.sysenter = bit(l1.edx, 11);
    f.nx = bit(e1.edx, 20);
    f.invpcid = bit(l7.ebx, 10);
    f.rdtscp = bit(e1.edx, 27);
    f.rdpid = bit(l7.ecx, 22);
    f.xsave = bit(l1.ecx, 26);
    f.xgetbv1 = bit(xsave1.eax, 2);
    f.mtrr = bit(l1.edx, 12);
    f.pat = bit(l1.edx, 16);
    f.tsc_deadline = bit(l1.ecx, 24);
    f.x2apic = bit(l1.ecx, 21);
    f.aperfmperf = bit(l6.ecx, 0);
    f.osvw = bit(e1.ecx, 9);
    f.pred_cmd = bit(l7.edx, 26) || bit(e8.ebx, 12);
    f.flush_cmd = bit(l7.edx, 28);
    f.arch_capabilities = bit(l7.edx, 29);
    f.spec_ctrl_mask = (bit(l7.edx, 26) || bit(e8.ebx, 14) ? 1u : 0u) |
                       (bit(l7.edx, 27) || bit(e8.ebx, 15) ? 2u : 0u) |
                       (bit(l7.edx, 31) || bit(e8.ebx, 24) ? 4u : 0u) | (bit(e8.ebx, 28) ? 0x80u : 0u);
    f.cr4_mask = cr4_bits(l1, l7);
    f.efer_mask = (f.syscall ? x86::efer::sce : 0) | (f.long_mode ? x86::efer::lme : 0) |
                  (f.nx ? x86::efer::nxe : 0) | (bit(e1.edx, 25) ? x86::efer::ffxsr : 0) |
                  (bit(e21.eax, 8) ? x86::efer::autoibrs : 0);
    f.linear_bits = bit(l7.ecx, 16) ? 57 : 48;
    f.phys_reserved = ~base::low_mask(model.phys_bits);
    return f;
}

}  // namespace triune::hypervisor::soft::system
