// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/system/detail.h"

namespace triune::hypervisor::soft::system {
namespace {

/// Address of [rsp, rsp+size) on `stack`.
Guest<Gva> stack_linear(System& s, const Stack& stack, u64 rsp, unsigned size, mmu::Access access,
                        const Fault& bad) {
    if (stack.bits == 64) {
        if (!s.mmu().canonical(rsp) || !s.mmu().canonical(rsp + size - 1)) return raise(bad);
        return rsp;
    }
    return segment_linear(s.vcpu().state, stack.ss, rsp, size, access, bad);
}

/// Frames are read and written where the TLB points, when they lie in one page of RAM.
Guest<void> store(System& s, Gva gva, const u8* from, unsigned size, mmu::Privilege privilege) {
    if ((gva & page_mask) <= page_size - size) [[likely]] {
        SYS_TRY(t, s.mmu().translate(gva, mmu::Access::write, privilege));
        if (t->host && t->writable) [[likely]] {
            std::memcpy(t->host, from, size);
            return {};
        }
    }
    SYS_CHECK(s.mmu().write_bytes(gva, from, size, privilege));
    return {};
}

Guest<void> load(System& s, Gva gva, u8* to, unsigned size, mmu::Privilege privilege) {
    if ((gva & page_mask) <= page_size - size) [[likely]] {
        SYS_TRY(t, s.mmu().translate(gva, mmu::Access::read, privilege));
        if (t->host) [[likely]] {
            std::memcpy(to, t->host, size);
            return {};
        }
    }
    SYS_CHECK(s.mmu().read_bytes(gva, to, size, privilege));
    return {};
}

unsigned width_of(const Segment& ss) { return ss.db() ? 32 : 16; }

}  // namespace

Guest<Gva> segment_linear(const VcpuState& st, const Segment& seg, u64 offset, unsigned size,
                          mmu::Access access, const Fault& bad) {
    const u64 first = offset & 0xffffffff;
    const u64 last = first + (size ? size - 1 : 0);
    if (st.protected_mode() && !st.v8086()) {
        if (seg.unusable()) return raise(bad);
        const bool code = seg.type() & 8, bit1 = seg.type() & 2;
        if (access == mmu::Access::write ? code || !bit1 : code && !bit1) return raise(bad);
    }
    if ((seg.type() & 12) == 4) {  // expand-down data
        if (first <= seg.limit || last > (seg.db() ? 0xffffffffu : 0xffffu)) return raise(bad);
    } else if (last > seg.limit) {
        return raise(bad);
    }
    return (seg.base + first) & 0xffffffff;
}

Guest<Gva> System::linear(Seg seg, u64 offset, unsigned size, mmu::Access access) {
    const auto& st = vcpu_.state;
    if (st.code64()) [[likely]] {
        const Gva first = seg == Seg::fs || seg == Seg::gs ? offset + st.seg[seg].base : offset;
        if (!mmu_.canonical(first) || !mmu_.canonical(first + (size ? size - 1 : 0))) [[unlikely]]
            return raise(seg == Seg::ss ? Fault::ss() : Fault::gp());
        return first;
    }
    return segment_linear(st, st.seg[seg], offset, size, access, seg == Seg::ss ? Fault::ss() : Fault::gp());
}

Guest<void> System::check_rip(u64 rip) { return check_target(*this, vcpu_.state.seg[Seg::cs], rip); }

unsigned System::stack_bits() const { return vcpu_.state.code64() ? 64 : width_of(vcpu_.state.seg[Seg::ss]); }

Stack Stack::current(System& s) {
    const auto& st = s.vcpu().state;
    return {st.seg[Seg::ss], st.gpr[x86::rsp], s.stack_bits(), s.privilege()};
}

namespace {
/// #AC for a misaligned access at CPL 3 (Intel SDM 3A 6.15).
Guest<void> check_alignment(const VcpuState& st, Gva gva, unsigned bytes) {
    if (!(st.rflags & flag::ac) || !(st.cr0 & x86::cr0::am) || st.cpl() != 3 || !(gva & (bytes - 1)))
        [[likely]]
        return {};
    return raise({x86::vec::ac, true, 0, 0});
}
}  // namespace

Guest<void> System::push(u64 value, unsigned bits) {
    Stack stack = Stack::current(*this);
    const unsigned bytes = bits / 8;
    const u64 rsp = stack.merged(stack.rsp - bytes);
    const u64 offset = rsp & base::low_mask(stack.bits);
    SYS_TRY(gva, stack_linear(*this, stack, offset, bytes, mmu::Access::write, Fault::ss()));
    SYS_CHECK(check_alignment(vcpu_.state, *gva, bytes));
    SYS_CHECK(mmu_.write(*gva, value, bytes, stack.privilege));
    vcpu_.state.gpr[x86::rsp] = rsp;
    return {};
}

Guest<u64> System::pop(unsigned bits) {
    Stack stack = Stack::current(*this);
    SYS_TRY(gva, stack_linear(*this, stack, stack.rsp & base::low_mask(stack.bits), bits / 8,
                              mmu::Access::read, Fault::ss()));
    SYS_CHECK(check_alignment(vcpu_.state, *gva, bits / 8));
    u64 value;
    SYS_CHECK(pop_frame(*this, stack, &value, 1, bits / 8));
    vcpu_.state.gpr[x86::rsp] = stack.rsp;
    return value;
}

Guest<void> push_frame(System& s, Stack& stack, const Frame& frame, unsigned bytes, const Fault& bad) {
    const unsigned total = frame.count * bytes;
    const u64 mask = base::low_mask(stack.bits);
    const u64 top = stack.rsp & mask, bottom = (top - total) & mask;
    if (bottom + total == top || (top == 0 && bottom == mask + 1 - total && stack.bits != 64)) [[likely]] {
        // One store of the whole frame: all of it or nothing.
        std::array<u8, sizeof frame.value> bytes_out;
        for (unsigned i = 0; i < frame.count; ++i)
            std::memcpy(&bytes_out[(frame.count - 1 - i) * bytes], &frame.value[i], bytes);
        SYS_TRY(gva, stack_linear(s, stack, bottom, total, mmu::Access::write, bad));
        SYS_CHECK(store(s, *gva, bytes_out.data(), total, stack.privilege));
    } else {
        for (unsigned i = 0; i < frame.count; ++i) {
            const u64 at = (top - (i + 1) * bytes) & mask;
            SYS_TRY(gva, stack_linear(s, stack, at, bytes, mmu::Access::write, bad));
            SYS_CHECK(
                s.mmu().write(*gva, frame.value[i] & base::low_mask(bytes * 8), bytes, stack.privilege));
        }
    }
    stack.rsp = stack.merged(stack.rsp - total);
    return {};
}

Guest<void> pop_frame(System& s, Stack& stack, u64* values, unsigned count, unsigned bytes) {
    const unsigned total = count * bytes;
    const u64 mask = base::low_mask(stack.bits);
    const u64 bottom = stack.rsp & mask;
    if (bottom + total - 1 <= mask && bottom + total >= bottom) [[likely]] {
        std::array<u8, 96> in;
        SYS_TRY(gva, stack_linear(s, stack, bottom, total, mmu::Access::read, Fault::ss()));
        SYS_CHECK(load(s, *gva, in.data(), total, stack.privilege));
        for (unsigned i = 0; i < count; ++i) {
            values[i] = 0;
            std::memcpy(&values[i], &in[i * bytes], bytes);
        }
    } else {
        for (unsigned i = 0; i < count; ++i) {
            SYS_TRY(gva, stack_linear(s, stack, (bottom + i * bytes) & mask, bytes, mmu::Access::read,
                                      Fault::ss()));
            SYS_TRY(v, s.mmu().read(*gva, bytes, stack.privilege));
            values[i] = *v;
        }
    }
    stack.rsp = stack.merged(stack.rsp + total);
    return {};
}

Guest<Stack> tss_stack(System& s, unsigned cpl) {
    const auto& st = s.vcpu().state;
    const Fault bad_tss = Fault::ts(error_of(st.tr.selector));
    if (st.tr.unusable()) return raise(bad_tss);
    const bool wide = st.tr.type() & 8;
    const u64 slot = wide ? 4 + 8 * u64{cpl} : 2 + 4 * u64{cpl};
    if (slot + (wide ? 5 : 3) > st.tr.limit) return raise(bad_tss);
    SYS_TRY(sp, read_system(s, st.tr.base, slot, wide ? 4 : 2));
    SYS_TRY(selector_read, read_system(s, st.tr.base, slot + (wide ? 4 : 2), 2));
    const u16 selector = static_cast<u16>(*selector_read);
    if (is_null(selector)) return raise(Fault::ts(0));
    const Fault bad = Fault::ts(error_of(selector));
    SYS_TRY(d, read_descriptor(s, selector, bad));
    if (rpl_of(selector) != cpl || d->dpl() != cpl || !d->writable_data()) return raise(bad);
    if (!d->present()) return raise(Fault::ss(error_of(selector)));
    SYS_CHECK(mark_accessed(s, selector, *d));
    const Segment ss = d->segment(selector);
    return Stack{ss, *sp, width_of(ss), cpl == 3 ? mmu::Privilege::user : mmu::Privilege::supervisor};
}

Guest<u64> tss_stack64(System& s, unsigned cpl, unsigned ist) {
    const auto& st = s.vcpu().state;
    const u64 slot = ist ? 0x24 + 8 * u64{ist - 1} : 4 + 8 * u64{cpl};
    if (st.tr.unusable() || slot + 7 > st.tr.limit) return raise(Fault::ts(error_of(st.tr.selector)));
    SYS_TRY(rsp, read_system(s, st.tr.base, slot, 8));
    if (!s.mmu().canonical(*rsp)) return raise(Fault::ss(0));
    return *rsp;
}

}  // namespace triune::hypervisor::soft::system
