// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/system/detail.h"

namespace triune::hypervisor::soft::system {
namespace {

constexpr auto implicit = mmu::Privilege::implicit_supervisor;

/// Byte 5 of a descriptor holds the type and with it the accessed and busy bits.
Guest<void> write_type_byte(System& s, u16 selector, u8 byte) {
    const auto& st = s.vcpu().state;
    const u64 base = selector & 4 ? st.ldtr.base : st.gdtr.base;
    return write_system(s, base, u64{error_of(selector) & ~u32{7}} + 5, byte, 1);
}

}  // namespace

Guest<u64> read_system(System& s, u64 base, u64 offset, unsigned size) {
    const Gva gva = system_address(s.vcpu().state, base, offset);
    // A table may lie where only 57 bits of address reach.
    if (!s.mmu().canonical(gva)) [[unlikely]]
        return raise(Fault::gp(0));
    SYS_TRY(v, s.mmu().read(gva, size, implicit));
    return *v;
}

Guest<void> write_system(System& s, u64 base, u64 offset, u64 value, unsigned size) {
    SYS_CHECK(s.mmu().write(system_address(s.vcpu().state, base, offset), value, size, implicit));
    return {};
}

Guest<Descriptor> read_descriptor(System& s, u16 selector, const Fault& beyond_limit) {
    const auto& st = s.vcpu().state;
    const u64 offset = selector & ~u32{7};
    u64 base, limit;
    if (selector & 4) {
        if (st.ldtr.unusable()) return raise(beyond_limit);
        base = st.ldtr.base;
        limit = st.ldtr.limit;
    } else {
        base = st.gdtr.base;
        limit = st.gdtr.limit;
    }
    if (offset + 7 > limit) return raise(beyond_limit);
    SYS_TRY(low, read_system(s, base, offset, 8));
    return Descriptor{*low, 0};
}

Guest<void> read_descriptor_high(System& s, u16 selector, Descriptor& d, const Fault& bad) {
    const auto& st = s.vcpu().state;
    const u64 offset = selector & ~u32{7};
    const u64 limit = selector & 4 ? st.ldtr.limit : st.gdtr.limit;
    if (offset + 15 > limit) return raise(bad);
    SYS_TRY(high, read_system(s, selector & 4 ? st.ldtr.base : st.gdtr.base, offset + 8, 8));
    if ((*high >> 40) & 0x1f) return raise(bad);
    d.high = *high & 0xffffffff;
    return {};
}

Guest<void> mark_accessed(System& s, u16 selector, Descriptor& d) {
    if (d.type() & 1) return {};
    d.low |= u64{1} << 40;
    return write_type_byte(s, selector, static_cast<u8>(d.low >> 40));
}

Guest<void> set_busy(System& s, u16 selector, const Descriptor& d, bool busy) {
    const u8 byte = static_cast<u8>(d.low >> 40);
    return write_type_byte(s, selector, static_cast<u8>(busy ? byte | 2 : byte & ~2));
}

Segment real_segment(const Segment& old, u16 selector) {
    // A segment that protected mode left null has no limit to keep.
    const u32 limit = old.unusable() ? 0xffff : old.limit;
    return {selector,           0,     (old.attr & (attr_granular | attr_big | 0x1000)) | 0x93,
            u64{selector} << 4, limit, 0};
}

Guest<Segment> code_segment_for_jump(System& s, u16 selector, Descriptor d) {
    const auto& st = s.vcpu().state;
    const unsigned cpl = st.cpl();
    const Fault gp = Fault::gp(error_of(selector));
    if (!d.code()) return raise(gp);
    if (st.long_mode_active() && d.long_mode() && d.db()) return raise(gp);
    if (d.conforming() ? d.dpl() > cpl : rpl_of(selector) > cpl || d.dpl() != cpl) return raise(gp);
    if (!d.present()) return raise(Fault::np(error_of(selector)));
    SYS_CHECK(mark_accessed(s, selector, d));
    return d.segment(static_cast<u16>(error_of(selector) | cpl));
}

Guest<Segment> code_segment_for_return(System& s, u16 selector) {
    const auto& st = s.vcpu().state;
    if (is_null(selector)) return raise(Fault::gp(0));
    const Fault gp = Fault::gp(error_of(selector));
    const unsigned rpl = rpl_of(selector);
    if (rpl < st.cpl()) return raise(gp);
    SYS_TRY(d, read_descriptor(s, selector, gp));
    if (!d->code()) return raise(gp);
    if (st.long_mode_active() && d->long_mode() && d->db()) return raise(gp);
    if (d->conforming() ? d->dpl() > rpl : d->dpl() != rpl) return raise(gp);
    if (!d->present()) return raise(Fault::np(error_of(selector)));
    SYS_CHECK(mark_accessed(s, selector, *d));
    return d->segment(selector);
}

Guest<Segment> stack_segment_for_return(System& s, u16 selector, unsigned cpl, bool to_long) {
    if (is_null(selector)) {
        if (to_long && cpl != 3 && rpl_of(selector) == cpl) return null_segment(selector, cpl);
        return raise(Fault::gp(0));
    }
    const Fault gp = Fault::gp(error_of(selector));
    SYS_TRY(d, read_descriptor(s, selector, gp));
    if (rpl_of(selector) != cpl || !d->writable_data() || d->dpl() != cpl) return raise(gp);
    if (!d->present()) return raise(Fault::ss(error_of(selector)));
    SYS_CHECK(mark_accessed(s, selector, *d));
    return d->segment(selector);
}

void drop_inaccessible_segments(VcpuState& st, unsigned cpl) {
    for (const Seg seg : {Seg::es, Seg::ds, Seg::fs, Seg::gs}) {
        Segment& r = st.seg[seg];
        // Selectors 1-3 are null too and become 0 (Intel SDM 2A IRET, 2B RET: return to an outer privilege
        // level). The hidden part stays: in long mode FS and GS keep the base that an MSR gave them.
        if (r.unusable()) {
            r.selector = 0;
            continue;
        }
        if (r.dpl() >= cpl) continue;
        if ((r.type() & 12) == 12) continue;  // conforming code
        // The base stays too: nobody can use it but 64-bit code, and for FS and GS only.
        r = {0, 0, attr_unusable, r.base, 0, 0};
    }
}

Guest<void> check_target(System& s, const Segment& cs, u64 rip) {
    if (s.vcpu().state.long_mode_active() && cs.long_mode() ? !s.mmu().canonical(rip) : rip > cs.limit)
        return raise(Fault::gp(0));
    return {};
}

}  // namespace triune::hypervisor::soft::system
