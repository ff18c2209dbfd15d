// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/system/detail.h"

/// Hardware task switches (Intel SDM 3A 7).
namespace triune::hypervisor::soft::system {
namespace {

// The part of a TSS that a switch saves: IP to the last segment register.
constexpr unsigned saved32_offset = 0x20, saved32_size = 0x40;
constexpr unsigned saved16_offset = 0x0e, saved16_size = 0x1c;
constexpr std::array<Seg, 6> segment_order = {Seg::es, Seg::cs, Seg::ss, Seg::ds, Seg::fs, Seg::gs};

/// What a TSS holds of a task.
struct Task {
    u64 cr3 = 0, rip = 0, flags = 0;
    std::array<u64, 8> gpr{};
    std::array<u16, 6> selector{};  ///< in segment_order
    u16 ldt = 0;
    bool trap = false;
};

template <class T>
T load(const u8* from) {
    T v;
    std::memcpy(&v, from, sizeof v);
    return v;
}

Task parse32(const std::array<u8, 104>& tss) {
    Task t;
    t.cr3 = load<u32>(&tss[0x1c]);
    t.rip = load<u32>(&tss[0x20]);
    t.flags = load<u32>(&tss[0x24]);
    for (unsigned i = 0; i < 8; ++i) t.gpr[i] = load<u32>(&tss[0x28 + 4 * i]);
    for (unsigned i = 0; i < 6; ++i) t.selector[i] = load<u16>(&tss[0x48 + 4 * i]);
    t.ldt = load<u16>(&tss[0x60]);
    t.trap = tss[0x64] & 1;
    return t;
}

Task parse16(const std::array<u8, 104>& tss) {
    Task t;
    t.rip = load<u16>(&tss[0x0e]);
    t.flags = load<u16>(&tss[0x10]);
    for (unsigned i = 0; i < 8; ++i) t.gpr[i] = load<u16>(&tss[0x12 + 2 * i]) | 0xffff0000;
    for (unsigned i = 0; i < 4; ++i) t.selector[i] = load<u16>(&tss[0x22 + 2 * i]);
    t.ldt = load<u16>(&tss[0x2a]);
    return t;
}

Guest<void> save_old(System& s, bool wide, u64 rip, u64 flags) {
    const auto& st = s.vcpu().state;
    std::array<u8, saved32_size> out{};
    auto put = [&out, wide, at = 0u](u64 v) mutable {
        const unsigned bytes = wide ? 4 : 2;
        std::memcpy(&out[at], &v, bytes);
        at += bytes;
    };
    put(rip);
    put(flags);
    for (unsigned i = 0; i < 8; ++i) put(st.gpr[i]);
    for (unsigned i = 0; i < (wide ? 6u : 4u); ++i) put(st.seg[segment_order[i]].selector);
    const Gva at = system_address(st, st.tr.base, wide ? saved32_offset : saved16_offset);
    SYS_CHECK(s.mmu().write_bytes(at, out.data(), wide ? saved32_size : saved16_size,
                                  mmu::Privilege::implicit_supervisor));
    return {};
}

Guest<void> load_ldt(System& s, u16 selector) {
    auto& st = s.vcpu().state;
    if (is_null(selector)) return {};
    const Fault ts = Fault::ts(error_of(selector));
    if (selector & 4) return raise(ts);
    SYS_TRY(d, read_descriptor(s, selector, ts));
    if (!d->system() || d->type() != systype::ldt || !d->present()) return raise(ts);
    st.ldtr = d->segment(selector);
    return {};
}

/// One segment register of the new task, at the new CPL.
Guest<void> load_task_segment(System& s, Seg seg, u16 selector, unsigned cpl) {
    auto& st = s.vcpu().state;
    const Fault ts = Fault::ts(error_of(selector));
    if (is_null(selector)) {
        if (seg == Seg::cs || seg == Seg::ss) return raise(ts);
        return {};
    }
    SYS_TRY(d, read_descriptor(s, selector, ts));
    const unsigned rpl = rpl_of(selector);
    bool good;
    if (seg == Seg::cs)
        good = d->code() && (d->conforming() ? d->dpl() <= rpl : d->dpl() == rpl);
    else if (seg == Seg::ss)
        good = d->writable_data() && rpl == cpl && d->dpl() == cpl;
    else
        good = d->readable() && ((d->code() && d->conforming()) || (rpl <= d->dpl() && cpl <= d->dpl()));
    if (!good) return raise(ts);
    if (!d->present())
        return raise(seg == Seg::ss ? Fault::ss(error_of(selector)) : Fault::np(error_of(selector)));
    SYS_CHECK(mark_accessed(s, selector, *d));
    st.seg[seg] = d->segment(selector);
    return {};
}

/// Segments, error code and debug trap: what may fault in the new task.
Guest<void> enter(System& s, const Task& task, bool wide, std::optional<u32> error_code) {
    auto& st = s.vcpu().state;
    SYS_CHECK(load_ldt(s, task.ldt));
    if (!st.v8086()) {
        const unsigned cpl = st.cpl();
        constexpr std::array<unsigned, 6> order = {1, 2, 0, 3, 4, 5};  // CS and SS first
        for (const unsigned i : order)
            SYS_CHECK(load_task_segment(s, segment_order[i], task.selector[i], cpl));
    }
    SYS_CHECK(check_target(s, st.seg[Seg::cs], st.rip));
    if (error_code) SYS_CHECK(s.push(*error_code, wide ? 32 : 16));
    if (task.trap) {
        return raise(debug_exception(st, x86::dr6::bt));
    }
    return {};
}

}  // namespace

Guest<void> task_switch(System& s, u16 selector, TaskSwitch source, u64 return_rip, u64 flags,
                        std::optional<u32> error_code) {
    auto& st = s.vcpu().state;
    const bool returning = source == TaskSwitch::iret;
    const bool nesting = source == TaskSwitch::call || source == TaskSwitch::gate;
    const Fault bad = returning ? Fault::ts(error_of(selector)) : Fault::gp(error_of(selector));
    if (is_null(selector) || (selector & 4)) return raise(bad);
    SYS_TRY(d, read_descriptor(s, selector, bad));
    const unsigned wanted = returning ? 2 : 0;  // busy or available
    if (!d->system() || (d->type() & 7) != (1 | wanted)) return raise(bad);
    if (!d->present()) return raise(Fault::np(error_of(selector)));
    const bool wide = d->type() & 8;
    const unsigned size = wide ? 104 : 44;
    if (d->limit() < size - 1) return raise(Fault::ts(error_of(selector)));
    const u16 old_selector = st.tr.selector;
    const bool old_wide = st.tr.type() & 8;
    if (st.tr.unusable() || st.tr.limit < (old_wide ? 103u : 43u))
        return raise(Fault::ts(error_of(old_selector)));

    // Everything that may fault before the switch: read the new TSS, write the old one.
    std::array<u8, 104> image{};
    SYS_CHECK(s.mmu().read_bytes(system_address(st, d->base32(), 0), image.data(), size,
                                 mmu::Privilege::implicit_supervisor));
    std::array<u64, 4> pdptes{};
    if (wide && (st.cr0 & x86::cr0::pg) && (st.cr4 & x86::cr4::pae)) {
        SYS_TRY(entries, read_pdptes(s, load<u32>(&image[0x1c])));
        pdptes = *entries;
    }
    SYS_CHECK(s.mmu().probe(system_address(st, d->base32(), 0), 2, mmu::Access::write,
                            mmu::Privilege::implicit_supervisor));
    SYS_CHECK(save_old(s, old_wide, return_rip, returning ? flags & ~flag::nt : flags));
    if (!nesting) {
        SYS_TRY(old, read_descriptor(s, old_selector, Fault::ts(error_of(old_selector))));
        SYS_CHECK(set_busy(s, old_selector, *old, false));
    }
    if (!returning) {
        // The image was read while the new TSS was still available; its own entry becomes busy.
        SYS_CHECK(set_busy(s, selector, *d, true));
        d->low |= u64{2} << 40;
    }
    if (nesting) SYS_CHECK(write_system(s, d->base32(), 0, old_selector, 2));

    const Task task = wide ? parse32(image) : parse16(image);
    st.tr = d->segment(selector);
    st.cr0 |= x86::cr0::ts;
    st.dr[7] &= ~u64{x86::dr7::local};  // local breakpoints are the old task's
    if (wide && (st.cr0 & x86::cr0::pg)) {
        st.cr3 = task.cr3;
        st.pdpte = pdptes;
        s.mmu().flush_non_global();
    }
    st.rip = task.rip;
    constexpr u64 known = flag::arithmetic | flag::tf | flag::if_ | flag::df | flag::iopl | flag::nt |
                          flag::rf | flag::vm | flag::ac | flag::vif | flag::vip | flag::id;
    st.rflags = (task.flags & known) | flag::fixed | (nesting ? flag::nt : 0);
    for (unsigned i = 0; i < 8; ++i) st.gpr[i] = task.gpr[i];
    st.ldtr = null_segment(task.ldt);
    for (unsigned i = 0; i < 6; ++i)
        st.seg[segment_order[i]] =
            st.v8086() ? v8086_segment(task.selector[i]) : null_segment(task.selector[i]);
    if (!st.v8086())
        st.seg[Seg::ss].attr |= rpl_of(task.selector[1]) << 5;  // the CPL, whatever SS turns out to be
    return enter(s, task, wide, error_code);
}

}  // namespace triune::hypervisor::soft::system
