// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/system/detail.h"

/// Control and debug registers, XCR0, PKRU, INVLPG, INVPCID (Intel SDM 3A 2.5, 4.6.2, 4.10.4; 3B 17.2).
namespace triune::hypervisor::soft::system {
namespace {

namespace cr0 = x86::cr0;
namespace cr4 = x86::cr4;
namespace efer = x86::efer;

constexpr u64 cr3_no_flush = u64{1} << 63;

/// CPL 0 outside virtual-8086 mode, as privileged instructions want it.
bool privileged(const VcpuState& st) { return st.cpl() == 0 && !st.v8086(); }

Guest<void> write_cr0(System& s, u64 value) {
    constexpr u64 known =
        cr0::pe | cr0::mp | cr0::em | cr0::ts | cr0::ne | cr0::wp | cr0::am | cr0::nw | cr0::cd | cr0::pg;
    auto& st = s.vcpu().state;
    if (value >> 32) return raise(Fault::gp(0));
    value = (value & known) | cr0::et;
    if ((value & cr0::nw) && !(value & cr0::cd)) return raise(Fault::gp(0));
    if ((value & cr0::pg) && !(value & cr0::pe)) return raise(Fault::gp(0));
    const u64 changed = st.cr0 ^ value;
    u64 new_efer = st.efer;
    if (changed & cr0::pg) {
        if (value & cr0::pg) {
            if (st.efer & efer::lme) {
                const bool tss16 = !st.tr.unusable() && !(st.tr.type() & 8);
                if (!(st.cr4 & cr4::pae) || st.seg[Seg::cs].long_mode() || tss16) return raise(Fault::gp(0));
                new_efer |= efer::lma;
            }
        } else {
            if (st.code64() || (st.cr4 & cr4::pcide)) return raise(Fault::gp(0));
            new_efer &= ~efer::lma;
        }
    }
    if ((value & cr0::pg) && (st.cr4 & cr4::pae) && !(new_efer & efer::lma) && (changed & pdpte_cr0)) {
        SYS_TRY(entries, read_pdptes(s, st.cr3));
        st.pdpte = *entries;
    }
    st.cr0 = value;
    st.efer = new_efer;
    // TLB entries hold rights that follow WP.
    if (changed & (cr0::pg | cr0::pe | cr0::wp)) s.mmu().flush_all();
    return {};
}

Guest<void> write_cr3(System& s, u64 value) {
    auto& st = s.vcpu().state;
    bool keep = false;
    if (st.cr4 & cr4::pcide) {
        keep = value & cr3_no_flush;
        value &= ~cr3_no_flush;
    }
    if (st.long_mode_active()) {
        if (value & SystemDetail::features(s).phys_reserved) return raise(Fault::gp(0));
    } else {
        value &= 0xffffffff;
        if ((st.cr0 & cr0::pg) && (st.cr4 & cr4::pae)) {
            SYS_TRY(entries, read_pdptes(s, value));
            st.pdpte = *entries;
        }
    }
    // The TLB is not tagged with PCIDs: entries survive only when the address space stays the same.
    keep = keep && value == st.cr3;
    st.cr3 = value;
    if (!keep) s.mmu().flush_non_global();
    return {};
}

Guest<void> write_cr4(System& s, u64 value) {
    auto& st = s.vcpu().state;
    if (value & ~SystemDetail::features(s).cr4_mask) return raise(Fault::gp(0));
    const u64 changed = st.cr4 ^ value;
    if (st.long_mode_active()) {
        if (!(value & cr4::pae) || (changed & cr4::la57)) return raise(Fault::gp(0));
    }
    if ((changed & cr4::pcide) && (value & cr4::pcide) && (!st.long_mode_active() || (st.cr3 & 0xfff)))
        return raise(Fault::gp(0));
    if ((st.cr0 & cr0::pg) && (value & cr4::pae) && !st.long_mode_active() && (changed & pdpte_cr4)) {
        SYS_TRY(entries, read_pdptes(s, st.cr3));
        st.pdpte = *entries;
    }
    st.cr4 = value;
    if (changed &
        (cr4::pge | cr4::pae | cr4::pse | cr4::pcide | cr4::smep | cr4::smap | cr4::pke | cr4::la57))
        s.mmu().flush_all();
    return {};
}

/// DR0-3, 6, 7 for `n`; DR4 and DR5 are the last two unless CR4.DE makes them invalid.
Guest<unsigned> debug_register(System& s, unsigned n) {
    auto& st = s.vcpu().state;
    if (n > 7) return raise(Fault::ud());
    if (n == 4 || n == 5) {
        if (st.cr4 & cr4::de) return raise(Fault::ud());
        n += 2;
    }
    if (!privileged(st)) return raise(Fault::gp(0));
    if (st.dr[7] & x86::dr7::gd) return raise(debug_exception(st, x86::dr6::bd));
    return n;
}

constexpr u64 dr6_fixed = 0xffff0ff0, dr6_writable = 0xe00f;
constexpr u64 dr7_fixed = 0x400, dr7_writable = 0xffff23ff;

}  // namespace

Guest<std::array<u64, 4>> read_pdptes(System& s, u64 cr3) {
    auto& vcpu = s.vcpu();
    std::array<u64, 4> entries;
    if (!vcpu.memory->read(cr3 & 0xffffffe0, entries.data(), sizeof entries)) return raise(Fault::gp(0));
    const u64 reserved = SystemDetail::features(s).phys_reserved | 0x1e6;
    for (const u64 e : entries)
        if ((e & 1) && (e & reserved)) return raise(Fault::gp(0));
    return entries;
}

bool loadable_address(System& s, u64 address) {
    return base::sign_extend(address, SystemDetail::features(s).linear_bits) == address;
}

Guest<u64> System::read_cr(unsigned n) {
    const auto& st = vcpu_.state;
    if (n != 0 && n != 2 && n != 3 && n != 4 && n != 8) return raise(Fault::ud());
    if (!privileged(st)) return raise(Fault::gp(0));
    switch (n) {
        case 0: return st.cr0 | cr0::et;
        case 2: return st.cr2;
        case 3: return st.cr3;
        case 4: return st.cr4;
        default: return vcpu_.apic->cr8();
    }
}

Guest<void> System::write_cr(unsigned n, u64 value) {
    auto& st = vcpu_.state;
    if (n != 0 && n != 2 && n != 3 && n != 4 && n != 8) return raise(Fault::ud());
    if (!privileged(st)) return raise(Fault::gp(0));
    switch (n) {
        case 0: return write_cr0(*this, value);
        case 2: st.cr2 = value; return {};
        case 3: return write_cr3(*this, value);
        case 4: return write_cr4(*this, value);
        default:
            if (value > 15) return raise(Fault::gp(0));
            vcpu_.apic->set_cr8(value);
            return {};
    }
}

Guest<void> System::clts() {
    if (!privileged(vcpu_.state)) return raise(Fault::gp(0));
    vcpu_.state.cr0 &= ~cr0::ts;
    return {};
}

Guest<void> System::lmsw(u16 value) {
    auto& st = vcpu_.state;
    if (!privileged(st)) return raise(Fault::gp(0));
    // PE can be set but not cleared.
    constexpr u64 low = cr0::pe | cr0::mp | cr0::em | cr0::ts;
    return write_cr0(*this, (st.cr0 & ~(low & ~cr0::pe)) | (value & low));
}

Guest<u64> System::read_dr(unsigned n) {
    SYS_TRY(r, debug_register(*this, n));
    const u64 v = vcpu_.state.dr[*r];
    return *r == 6 ? v | dr6_fixed : *r == 7 ? v | dr7_fixed : v;
}

Guest<void> System::write_dr(unsigned n, u64 value) {
    SYS_TRY(r, debug_register(*this, n));
    auto& st = vcpu_.state;
    if (*r >= 6 && value >> 32) return raise(Fault::gp(0));
    if (*r == 6) value = (value & dr6_writable) | dr6_fixed;
    if (*r == 7) value = (value & dr7_writable) | dr7_fixed;
    // Pages with data breakpoints are kept out of the TLB.
    const bool armed = (st.dr[7] | (*r == 7 ? value : 0)) & x86::dr7::enabled;
    st.dr[*r] = value;
    if (armed && *r != 6) mmu_.flush_data();
    return {};
}

Guest<void> System::xsetbv(u32 index, u64 value) {
    auto& st = vcpu_.state;
    if (!(st.cr4 & cr4::osxsave)) return raise(Fault::ud());
    if (!privileged(st) || index != 0) return raise(Fault::gp(0));
    const u64 mask = vcpu_.model ? vcpu_.model->xcr0_mask : 3;
    if (!(value & 1) || (value & ~mask) || ((value & 4) && !(value & 2))) return raise(Fault::gp(0));
    st.xcr0 = value;
    return {};
}

Guest<u64> System::xgetbv(u32 index) {
    const auto& st = vcpu_.state;
    if (!(st.cr4 & cr4::osxsave)) return raise(Fault::ud());
    // Index 1: XINUSE. A component may be reported as in use although it is in its initial state.
    if (index == 0 || (index == 1 && SystemDetail::features(*this).xgetbv1)) return st.xcr0;
    return raise(Fault::gp(0));
}

Guest<u32> System::rdpkru(u32 index) {
    const auto& st = vcpu_.state;
    if (!(st.cr4 & cr4::pke)) return raise(Fault::ud());
    if (index != 0) return raise(Fault::gp(0));
    return st.pkru;
}

Guest<void> System::wrpkru(u32 index, u32 high, u32 value) {
    if (!(vcpu_.state.cr4 & cr4::pke)) return raise(Fault::ud());
    if (index != 0 || high != 0) return raise(Fault::gp(0));
    mmu_.set_pkru(value);
    return {};
}

Guest<void> System::invlpg(Gva gva) {
    const auto& st = vcpu_.state;
    if (!privileged(st)) return raise(Fault::gp(0));
    // A non-canonical address has no translation to drop (Intel SDM 2A INVLPG).
    if (!st.code64())
        mmu_.flush_page(gva & 0xffffffff);
    else if (mmu_.canonical(gva))
        mmu_.flush_page(gva);
    return {};
}

Guest<void> System::invpcid(u64 type, u64 pcid, Gva gva) {
    const auto& st = vcpu_.state;
    if (!SystemDetail::features(*this).invpcid) return raise(Fault::ud());
    if (!privileged(st)) return raise(Fault::gp(0));
    const bool pcide = st.cr4 & cr4::pcide;
    const u64 current = pcide ? st.cr3 & 0xfff : 0;
    if (type > 3) return raise(Fault::gp(0));
    if (type <= 1 && (pcid > 0xfff || (!pcide && pcid != 0))) return raise(Fault::gp(0));
    switch (type) {
        case 0:
            if (!loadable_address(*this, gva)) return raise(Fault::gp(0));
            // Nothing of another PCID is cached: see write_cr3.
            if (pcid == current) mmu_.flush_page(gva);
            break;
        case 1:
            if (pcid == current) mmu_.flush_non_global();
            break;
        case 2: mmu_.flush_all(); break;
        default: mmu_.flush_non_global(); break;
    }
    return {};
}

}  // namespace triune::hypervisor::soft::system
