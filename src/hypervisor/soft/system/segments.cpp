// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/system/detail.h"

/// Segment and descriptor-table registers, and the instructions that ask about descriptors
/// (Intel SDM 3A 3.4, 5; 2A MOV, LAR, LSL, LLDT, LTR, VERR).
namespace triune::hypervisor::soft::system {
namespace {

Guest<Segment> stack_segment(System& s, u16 selector) {
    const auto& st = s.vcpu().state;
    const unsigned cpl = st.cpl();
    if (is_null(selector)) {
        if (st.code64() && cpl < 3 && rpl_of(selector) == cpl) return null_segment(selector, cpl);
        return raise(Fault::gp(0));
    }
    const Fault gp = Fault::gp(error_of(selector));
    SYS_TRY(d, read_descriptor(s, selector, gp));
    if (rpl_of(selector) != cpl || !d->writable_data() || d->dpl() != cpl) return raise(gp);
    if (!d->present()) return raise(Fault::ss(error_of(selector)));
    SYS_CHECK(mark_accessed(s, selector, *d));
    return d->segment(selector);
}

Guest<Segment> data_segment(System& s, u16 selector) {
    if (is_null(selector)) return null_segment(selector);
    const unsigned cpl = s.vcpu().state.cpl();
    const Fault gp = Fault::gp(error_of(selector));
    SYS_TRY(d, read_descriptor(s, selector, gp));
    if (!d->readable()) return raise(gp);
    const bool conforming_code = d->code() && d->conforming();
    if (!conforming_code && (rpl_of(selector) > d->dpl() || cpl > d->dpl())) return raise(gp);
    if (!d->present()) return raise(Fault::np(error_of(selector)));
    SYS_CHECK(mark_accessed(s, selector, *d));
    return d->segment(selector);
}

/// What LAR, LSL, VERR and VERW look at: nullopt when the selector names nothing they may see.
Guest<std::optional<Descriptor>> visible_descriptor(System& s, u16 selector, u32 system_types) {
    const auto& st = s.vcpu().state;
    if (!st.protected_mode() || st.v8086()) return raise(Fault::ud());
    if (is_null(selector)) return std::nullopt;
    const Fault beyond = Fault::gp(0);
    auto d = read_descriptor(s, selector, beyond);
    if (!d) {
        if (d.error().vector == x86::vec::pf) return raise(d.error());
        return std::nullopt;
    }
    if (d->system()) {
        if (!((system_types >> d->type()) & 1)) return std::nullopt;
        if (st.long_mode_active()) {
            const auto high = read_descriptor_high(s, selector, *d, beyond);
            if (!high) {
                if (high.error().vector == x86::vec::pf) return raise(high.error());
                return std::nullopt;
            }
        }
    }
    const bool conforming_code = d->code() && d->conforming();
    if (!conforming_code && (st.cpl() > d->dpl() || rpl_of(selector) > d->dpl())) return std::nullopt;
    return *d;
}

}  // namespace

Guest<void> System::load_segment(Seg seg, u16 selector) {
    auto& st = vcpu_.state;
    if (seg == Seg::cs) return raise(Fault::ud());
    if (!st.protected_mode()) {
        st.seg[seg] = real_segment(st.seg[seg], selector);
    } else if (st.v8086()) {
        st.seg[seg] = v8086_segment(selector);
    } else if (seg == Seg::ss) {
        SYS_TRY(r, stack_segment(*this, selector));
        st.seg[seg] = *r;
    } else {
        SYS_TRY(r, data_segment(*this, selector));
        st.seg[seg] = *r;
    }
    return {};
}

Guest<void> System::lldt(u16 selector) {
    auto& st = vcpu_.state;
    if (!st.protected_mode() || st.v8086()) return raise(Fault::ud());
    if (st.cpl() != 0) return raise(Fault::gp(0));
    if (is_null(selector)) {
        st.ldtr = null_segment(selector);
        return {};
    }
    const Fault gp = Fault::gp(error_of(selector));
    if (selector & 4) return raise(gp);
    SYS_TRY(d, read_descriptor(*this, selector, gp));
    if (!d->system() || d->type() != systype::ldt) return raise(gp);
    if (!d->present()) return raise(Fault::np(error_of(selector)));
    if (st.long_mode_active()) {
        SYS_CHECK(read_descriptor_high(*this, selector, *d, gp));
        if (!loadable_address(*this, d->base64())) return raise(gp);
    }
    st.ldtr = d->segment(selector, true);
    return {};
}

Guest<void> System::ltr(u16 selector) {
    auto& st = vcpu_.state;
    if (!st.protected_mode() || st.v8086()) return raise(Fault::ud());
    if (st.cpl() != 0) return raise(Fault::gp(0));
    if (is_null(selector)) return raise(Fault::gp(0));
    const Fault gp = Fault::gp(error_of(selector));
    if (selector & 4) return raise(gp);
    SYS_TRY(d, read_descriptor(*this, selector, gp));
    const bool available =
        d->type() == systype::tss32 || (d->type() == systype::tss16 && !st.long_mode_active());
    if (!d->system() || !available) return raise(gp);
    if (!d->present()) return raise(Fault::np(error_of(selector)));
    if (st.long_mode_active()) {
        SYS_CHECK(read_descriptor_high(*this, selector, *d, gp));
        if (!loadable_address(*this, d->base64())) return raise(gp);
    }
    SYS_CHECK(set_busy(*this, selector, *d, true));
    d->low |= u64{2} << 40;
    st.tr = d->segment(selector, true);
    return {};
}

Guest<void> System::lgdt(u64 base, u16 limit) {
    auto& st = vcpu_.state;
    if (st.cpl() != 0 || st.v8086()) return raise(Fault::gp(0));
    if (st.code64() && !loadable_address(*this, base)) return raise(Fault::gp(0));
    st.gdtr = {base, limit, 0};
    return {};
}

Guest<void> System::lidt(u64 base, u16 limit) {
    auto& st = vcpu_.state;
    if (st.cpl() != 0 || st.v8086()) return raise(Fault::gp(0));
    if (st.code64() && !loadable_address(*this, base)) return raise(Fault::gp(0));
    st.idtr = {base, limit, 0};
    return {};
}

Guest<std::optional<u32>> System::lar(u16 selector) {
    // LDT, TSS, call and task gates; only the 64-bit kinds in long mode.
    constexpr u32 legacy = 1u << 1 | 1u << 2 | 1u << 3 | 1u << 4 | 1u << 5 | 1u << 9 | 1u << 11 | 1u << 12;
    constexpr u32 wide = 1u << 2 | 1u << 9 | 1u << 11 | 1u << 12;
    SYS_TRY(d, visible_descriptor(*this, selector, vcpu_.state.long_mode_active() ? wide : legacy));
    if (!*d) return std::nullopt;
    return static_cast<u32>((*d)->low >> 32) & 0x00f0ff00;
}

Guest<std::optional<u32>> System::lsl(u16 selector) {
    constexpr u32 legacy = 1u << 1 | 1u << 2 | 1u << 3 | 1u << 9 | 1u << 11;
    constexpr u32 wide = 1u << 2 | 1u << 9 | 1u << 11;
    SYS_TRY(d, visible_descriptor(*this, selector, vcpu_.state.long_mode_active() ? wide : legacy));
    if (!*d) return std::nullopt;
    return (*d)->limit();
}

Guest<bool> System::verr(u16 selector) {
    SYS_TRY(d, visible_descriptor(*this, selector, 0));
    return *d && (*d)->readable();
}

Guest<bool> System::verw(u16 selector) {
    SYS_TRY(d, visible_descriptor(*this, selector, 0));
    return *d && (*d)->writable_data();
}

}  // namespace triune::hypervisor::soft::system
