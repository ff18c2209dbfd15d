// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "gdb/registers.h"

#include <algorithm>
#include <cstring>

#include "base/bits.h"
#include "gdb/x87_tags.h"

namespace triune::gdb {
namespace {

using Kind = Register::Kind;
using x86::VcpuState;

/// Offsets in the XSAVE area (Intel SDM 1 13.4).
namespace xsave {
constexpr size_t fcw = 0, fsw = 2, ftw = 4, fop = 6, fip = 8, fcs = 12, fdp = 16, fds = 20, mxcsr = 24,
                 st = 32, xmm = 160, header = 512, ymm_high = 576;
constexpr u64 x87_bit = 1, sse_bit = 2, avx_bit = 4;
}  // namespace xsave

template <class T>
T load(const VcpuState& s, size_t at) {
    T v;
    std::memcpy(&v, s.xsave.data() + at, sizeof v);
    return v;
}

template <class T>
void store(VcpuState& s, size_t at, T v) {
    std::memcpy(s.xsave.data() + at, &v, sizeof v);
}

/// Puts the initial state of components that XSTATE_BV calls initial into their place, and marks
/// them as present (Intel SDM 1 13.6): then all can be read and written there.
void settle(VcpuState& s) {
    const u64 present = load<u64>(s, xsave::header);
    if (!(present & xsave::x87_bit)) {
        std::memset(s.xsave.data(), 0, xsave::mxcsr);
        std::memset(s.xsave.data() + xsave::st, 0, xsave::xmm - xsave::st);
        store<u16>(s, xsave::fcw, 0x37f);
    }
    if (!(present & xsave::sse_bit)) {
        std::memset(s.xsave.data() + xsave::xmm, 0, 256);
        if (!(present & xsave::avx_bit)) store<u32>(s, xsave::mxcsr, 0x1f80);
    }
    if (!(present & xsave::avx_bit)) std::memset(s.xsave.data() + xsave::ymm_high, 0, 256);
    u64 all = present | xsave::x87_bit | xsave::sse_bit;
    if (s.xcr0 & xsave::avx_bit) all |= xsave::avx_bit;
    store<u64>(s, xsave::header, all);
}

/// fctrl, fstat, ftag, fiseg, fioff, foseg, fooff, fop, as GDB orders them.
u32 x87_control(const VcpuState& s, unsigned index) {
    switch (index) {
        case 0: return load<u16>(s, xsave::fcw);
        case 1: return load<u16>(s, xsave::fsw);
        case 2:
            return full_x87_tags(s.xsave.data() + xsave::st, load<u8>(s, xsave::ftw),
                                 load<u16>(s, xsave::fsw));
        case 3: return load<u16>(s, xsave::fcs);
        case 4: return load<u32>(s, xsave::fip);
        case 5: return load<u16>(s, xsave::fds);
        case 6: return load<u32>(s, xsave::fdp);
        default: return load<u16>(s, xsave::fop) & 0x7ff;
    }
}

void set_x87_control(VcpuState& s, unsigned index, u32 v) {
    switch (index) {
        case 0: return store(s, xsave::fcw, static_cast<u16>(v));
        case 1: return store(s, xsave::fsw, static_cast<u16>(v));
        case 2: return store(s, xsave::ftw, short_x87_tags(static_cast<u16>(v)));
        case 3: return store(s, xsave::fcs, static_cast<u16>(v));
        case 4: return store(s, xsave::fip, v);
        case 5: return store(s, xsave::fds, static_cast<u16>(v));
        case 6: return store(s, xsave::fdp, v);
        default: return store(s, xsave::fop, static_cast<u16>(v & 0x7ff));
    }
}

u64 scalar(const Register& r, const VcpuState& s) {
    switch (r.kind) {
        case Kind::gpr: return s.gpr[r.index];
        case Kind::rip: return s.rip;
        case Kind::rflags: return s.rflags;
        case Kind::selector: return s.seg[r.index].selector;
        case Kind::x87_control: return x87_control(s, r.index);
        case Kind::mxcsr: return load<u32>(s, xsave::mxcsr);
        case Kind::segment_base: return s.seg[r.index].base;
        case Kind::kernel_gs_base: return s.kernel_gs_base;
        case Kind::cr: return r.index == 0 ? s.cr0 : r.index == 2 ? s.cr2 : r.index == 3 ? s.cr3 : s.cr4;
        case Kind::dr: return s.dr[r.index];
        case Kind::efer: return s.efer;
        case Kind::xcr0: return s.xcr0;
        case Kind::gdtr_base: return s.gdtr.base;
        case Kind::gdtr_limit: return s.gdtr.limit;
        case Kind::idtr_base: return s.idtr.base;
        case Kind::idtr_limit: return s.idtr.limit;
        case Kind::ldtr: return s.ldtr.selector;
        case Kind::tr: return s.tr.selector;
        case Kind::tr_base: return s.tr.base;
        default: return 0;
    }
}

bool canonical(u64 address) {
    return static_cast<u64>(static_cast<i64>(address << 7) >> 7) == address;  // in either paging depth
}

/// Takes `v` unless it changes bits outside `changeable`.
bool set_bits(u64& field, u64 v, u64 changeable) {
    if ((field ^ v) & ~changeable) return false;
    field = v;
    return true;
}

constexpr u64 rflags_changeable = x86::flag::arithmetic | x86::flag::tf | x86::flag::if_ | x86::flag::df |
                                  x86::flag::iopl | x86::flag::nt | x86::flag::rf | x86::flag::ac |
                                  x86::flag::id;
constexpr u64 cr0_changeable =
    x86::cr0::mp | x86::cr0::em | x86::cr0::ts | x86::cr0::ne | x86::cr0::wp | x86::cr0::am;
constexpr u64 cr4_changeable =
    x86::cr4::tsd | x86::cr4::de | x86::cr4::pce | x86::cr4::osfxsr | x86::cr4::osxmmexcpt | x86::cr4::umip;
constexpr u64 efer_changeable = x86::efer::sce;
/// Reserved bits of MXCSR would make the host's FXRSTOR fault.
constexpr u32 mxcsr_changeable = 0xffff;

bool set_scalar(const Register& r, VcpuState& s, u64 v) {
    switch (r.kind) {
        case Kind::gpr: s.gpr[r.index] = v; return true;
        case Kind::rip:
            s.rip = v;
            s.halted = 0;
            return true;
        case Kind::rflags: return set_bits(s.rflags, v, rflags_changeable);
        case Kind::selector:
            if (v == s.seg[r.index].selector) return true;
            if (v > 0xffff || (s.protected_mode() && !s.v8086()))
                return false;  // it would need its descriptor
            s.seg[r.index].selector = static_cast<u16>(v);
            s.seg[r.index].base = v << 4;
            return true;
        case Kind::x87_control: set_x87_control(s, r.index, static_cast<u32>(v)); return true;
        case Kind::mxcsr:
            if (v & ~u64{mxcsr_changeable}) return false;
            store(s, xsave::mxcsr, static_cast<u32>(v));
            return true;
        case Kind::segment_base:
            if (s.seg[r.index].base == v) return true;
            if ((r.index != x86::fs && r.index != x86::gs) || !canonical(v)) return false;
            s.seg[r.index].base = v;
            return true;
        case Kind::kernel_gs_base:
            if (!canonical(v)) return false;
            s.kernel_gs_base = v;
            return true;
        case Kind::cr:
            if (r.index == 0) return set_bits(s.cr0, v, cr0_changeable);
            if (r.index == 4) return set_bits(s.cr4, v, cr4_changeable);
            if (r.index == 3) return set_bits(s.cr3, v, base::low_mask(40));
            s.cr2 = v;
            return true;
        case Kind::efer: return set_bits(s.efer, v, efer_changeable);
        default: return scalar(r, s) == v;
    }
}

/// Where a vector or x87 register lies in the XSAVE area; 0: it is none.
size_t in_xsave(const Register& r) {
    if (r.kind == Kind::x87) return xsave::st + size_t{16} * r.index;
    if (r.kind == Kind::xmm) return xsave::xmm + size_t{16} * r.index;
    if (r.kind == Kind::ymm_high) return xsave::ymm_high + size_t{16} * r.index;
    return 0;
}

}  // namespace

size_t RegisterFile::bytes() const {
    size_t n = 0;
    for (const Register& r : registers_) n += r.bytes;
    return n;
}

std::vector<u8> RegisterFile::read(size_t n, const VcpuState& s) const {
    const Register& r = registers_[n];
    std::vector<u8> out(r.bytes);
    VcpuState settled = s;
    settle(settled);
    if (const size_t at = in_xsave(r)) {
        std::memcpy(out.data(), settled.xsave.data() + at, out.size());
    } else {
        const u64 v = scalar(r, settled);
        std::memcpy(out.data(), &v, out.size());
    }
    return out;
}

bool RegisterFile::write(size_t n, VcpuState& s, std::span<const u8> value) const {
    const Register& r = registers_[n];
    if (value.size() != r.bytes) return false;
    if (std::ranges::equal(read(n, s), value)) return true;
    if (r.kind == Kind::ymm_high && !(s.xcr0 & xsave::avx_bit)) return false;
    if (const size_t at = in_xsave(r)) {
        settle(s);
        std::memcpy(s.xsave.data() + at, value.data(), value.size());
        return true;
    }
    if (r.kind == Kind::x87_control || r.kind == Kind::mxcsr) settle(s);
    u64 v = 0;
    std::memcpy(&v, value.data(), value.size());
    // A narrow view of a wide register leaves the upper half alone.
    if (r.bytes == 4 && (r.kind == Kind::cr || r.kind == Kind::segment_base))
        v |= scalar(r, s) & ~base::low_mask(32);
    return set_scalar(r, s, v);
}

}  // namespace triune::gdb
