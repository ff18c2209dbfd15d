// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

/// The guest's extended state as it lies in VcpuState::xsave: the standard XSAVE format with 64-bit
/// pointers (Intel SDM 1 13.4). A component whose XSTATE_BV bit is clear is in its initial state
/// whatever the area holds; MXCSR is always valid.
#include <cstring>

#include "x86/vcpu_state.h"

namespace triune::hypervisor::soft::interp {

struct VectorState {
    explicit VectorState(x86::VcpuState& s) : area(s.xsave.data()) {}
    u8* area;

    static constexpr unsigned fcw = 0, fsw = 2, ftw = 4, fop = 6, fip = 8, fdp = 16, mxcsr_at = 24,
                              mask_at = 28, st = 32, xmm = 160, xmm_end = 416, header = 512, ymmh = 576,
                              end = 832;
    static constexpr u64 x87_bit = 1, sse_bit = 2, avx_bit = 4;
    static constexpr u32 mxcsr_mask = 0xffff;
    static constexpr u16 es = 0x80, busy = 0x8000;  ///< FSW: unmasked exception pending

    template <class T>
    [[nodiscard]] T get(unsigned at) const {
        T v;
        std::memcpy(&v, area + at, sizeof v);
        return v;
    }
    template <class T>
    void set(unsigned at, T v) {
        std::memcpy(area + at, &v, sizeof v);
    }
    [[nodiscard]] u64 in_use() const { return get<u64>(header); }
    void mark(u64 bits) { set<u64>(header, in_use() | bits); }

    /// Makes the area say explicitly what an initial component holds.
    void settle(u64 components) {
        const u64 missing = components & ~in_use();
        if (!missing) return;
        if (missing & x87_bit) init_x87();
        if (missing & sse_bit) std::memset(area + xmm, 0, xmm_end - xmm);
        if (missing & avx_bit) std::memset(area + ymmh, 0, end - ymmh);
        mark(missing);
    }
    void init_x87() {
        std::memset(area, 0, mxcsr_at);
        std::memset(area + st, 0, xmm - st);
        set<u16>(fcw, 0x37f);
    }

    [[nodiscard]] u32 mxcsr() const { return get<u32>(mxcsr_at); }
    void set_mxcsr(u32 v) { set<u32>(mxcsr_at, v); }
    [[nodiscard]] u16 control() const { return in_use() & x87_bit ? get<u16>(fcw) : u16{0x37f}; }
    [[nodiscard]] u16 status() const { return in_use() & x87_bit ? get<u16>(fsw) : u16{0}; }

    /// Reserved bits of FCW read as 0, bit 6 as 1.
    void set_control(u16 v) { set<u16>(fcw, static_cast<u16>((v & 0x1f3f) | 0x40)); }
    /// Sets FSW; the register file in the area is in stack order, so a new TOP turns it.
    void set_status(u16 v) {
        settle(x87_bit);
        const unsigned turn = ((v >> 11) - (get<u16>(fsw) >> 11)) & 7;
        if (turn) {
            u8 old[128];
            std::memcpy(old, area + st, 128);
            for (unsigned n = 0; n < 8; ++n) std::memcpy(area + st + n * 16, old + ((n + turn) & 7) * 16, 16);
        }
        set<u16>(fsw, v);
    }
    /// What every MMX instruction does: TOP is 0 and all registers are valid.
    void enter_mmx() {
        settle(x87_bit);
        set_status(get<u16>(fsw) & static_cast<u16>(~0x3800));
        area[ftw] = 0xff;
    }
    /// FSW.ES and B follow from the flags and the masks.
    void update_summary() {
        u16 v = get<u16>(fsw);
        v &= static_cast<u16>(~(es | busy));
        if (v & ~get<u16>(fcw) & 0x3f) v |= es | busy;
        set<u16>(fsw, v);
    }

    /// `bytes` 8, 16 or 32 of vector register n.
    void read_vector(unsigned n, void* to, unsigned bytes) {
        settle(bytes > 16 ? sse_bit | avx_bit : sse_bit);
        std::memcpy(to, area + xmm + n * 16, bytes < 16 ? bytes : 16);
        if (bytes > 16) std::memcpy(static_cast<u8*>(to) + 16, area + ymmh + n * 16, 16);
    }
    /// Writes 16 or 32 bytes; a VEX-encoded 16-byte write clears the upper half.
    void write_vector(unsigned n, const void* from, unsigned bytes, bool vex) {
        settle(vex ? sse_bit | avx_bit : sse_bit);
        std::memcpy(area + xmm + n * 16, from, 16);
        if (bytes > 16)
            std::memcpy(area + ymmh + n * 16, static_cast<const u8*>(from) + 16, 16);
        else if (vex)
            std::memset(area + ymmh + n * 16, 0, 16);
    }
};

}  // namespace triune::hypervisor::soft::interp
