// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

/// x86: the architecture as data: registers, CPU models, decoded instructions. No threads.
#include <array>

#include "base/types.h"

namespace triune::base {
class StateVisitor;
}

namespace triune::x86 {

enum Gpr : u8 { rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15 };
enum Seg : u8 { es, cs, ss, ds, fs, gs };

/// Segment register with its hidden part. `attr` in the layout of VMX access rights
/// (Intel SDM 3C 25.4.1): type 3:0, S 4, DPL 6:5, P 7, AVL 12, L 13, D/B 14, G 15, unusable 16.
struct Segment {
    u16 selector = 0;
    u16 pad_ = 0;
    u32 attr = 0;
    u64 base = 0;
    u32 limit = 0;  ///< in bytes, granularity applied
    u32 pad2_ = 0;

    [[nodiscard]] unsigned type() const { return attr & 15; }
    [[nodiscard]] bool system() const { return !(attr & 0x10); }
    [[nodiscard]] unsigned dpl() const { return (attr >> 5) & 3; }
    [[nodiscard]] bool present() const { return attr & 0x80; }
    [[nodiscard]] bool long_mode() const { return attr & (1u << 13); }
    [[nodiscard]] bool db() const { return attr & (1u << 14); }
    [[nodiscard]] bool unusable() const { return attr & (1u << 16); }
};

struct DescriptorTable {
    u64 base = 0;
    u32 limit = 0;
    u32 pad_ = 0;
};

namespace flag {
inline constexpr u64 cf = 1 << 0, pf = 1 << 2, af = 1 << 4, zf = 1 << 6, sf = 1 << 7, tf = 1 << 8,
                     if_ = 1 << 9, df = 1 << 10, of = 1 << 11, iopl = 3 << 12, nt = 1 << 14, rf = 1 << 16,
                     vm = 1 << 17, ac = 1 << 18, vif = 1 << 19, vip = 1 << 20, id = 1 << 21, fixed = 1 << 1;
inline constexpr u64 arithmetic = cf | pf | af | zf | sf | of;
}  // namespace flag

namespace cr0 {
inline constexpr u64 pe = 1 << 0, mp = 1 << 1, em = 1 << 2, ts = 1 << 3, et = 1 << 4, ne = 1 << 5,
                     wp = 1 << 16, am = 1 << 18, nw = 1 << 29, cd = 1 << 30, pg = u64{1} << 31;
}
namespace cr4 {
inline constexpr u64 vme = 1 << 0, pvi = 1 << 1, tsd = 1 << 2, de = 1 << 3, pse = 1 << 4, pae = 1 << 5,
                     mce = 1 << 6, pge = 1 << 7, pce = 1 << 8, osfxsr = 1 << 9, osxmmexcpt = 1 << 10,
                     umip = 1 << 11, la57 = 1 << 12, fsgsbase = 1 << 16, pcide = 1 << 17, osxsave = 1 << 18,
                     smep = 1 << 20, smap = 1 << 21, pke = 1 << 22;
}
namespace efer {
inline constexpr u64 sce = 1 << 0, lme = 1 << 8, lma = 1 << 10, nxe = 1 << 11, ffxsr = 1 << 14,
                     autoibrs = 1 << 21;
}

/// Exception vectors (Intel SDM 3A table 6-1).
namespace vec {
inline constexpr u8 de = 0, db = 1, nmi = 2, bp = 3, of = 4, br = 5, ud = 6, nm = 7, df = 8, ts = 10, np = 11,
                    ss = 12, gp = 13, pf = 14, mf = 16, ac = 17, mc = 18, xm = 19;
}

/// Bits of DR6 and DR7 (Intel SDM 3B 18.2).
namespace dr6 {
inline constexpr u32 hits = 15, bd = 1 << 13, bs = 1 << 14, bt = 1 << 15;
}
namespace dr7 {
inline constexpr u32 enabled = 0xff, local = 0x155, gd = 1 << 13;
}
namespace debugctl {
inline constexpr u64 lbr = 1, btf = 2;
}
/// What holds interrupts off for one instruction. MOV SS and POP SS put debug exceptions off too.
namespace shadow {
inline constexpr u8 none = 0, sti = 1, mov_ss = 2;
}

/// Size of the guest's extended state in the standard (non-compacted) XSAVE format: x87, SSE
/// (512 bytes), header (64), AVX (256).
inline constexpr size_t xsave_size = 832;

/// Architectural state of one processor. Plain data at fixed offsets: translated code reaches the
/// fields directly, so its layout is part of the contract with the engines.
struct VcpuState {
    std::array<u64, 16> gpr{};
    u64 rip = 0;
    u64 rflags = flag::fixed;
    std::array<Segment, 6> seg{};  ///< indexed by Seg
    Segment ldtr, tr;
    DescriptorTable gdtr, idtr;
    u64 cr0 = 0, cr2 = 0, cr3 = 0, cr4 = 0, xcr0 = 1, efer = 0;
    std::array<u64, 8> dr{};  ///< 4 and 5 unused
    u64 star = 0, lstar = 0, cstar = 0, sfmask = 0, kernel_gs_base = 0;
    u64 sysenter_cs = 0, sysenter_esp = 0, sysenter_eip = 0;
    u64 tsc_offset = 0;  ///< guest TSC = host TSC + tsc_offset
    u64 tsc_aux = 0;
    u64 pat = 0x0007040600070406;
    u64 misc_enable = 1, mtrr_def_type = 0, spec_ctrl = 0, debugctl = 0;
    std::array<u64, 16> mtrr_variable{};  ///< base, mask pairs
    std::array<u64, 11> mtrr_fixed{};
    u64 kvmclock_msr = 0, kvm_wall_clock_msr = 0;
    /// The page-directory-pointer entries that the last load of CR3 under PAE paging read (Intel SDM
    /// 3A 4.4.1); meaningless in other modes.
    std::array<u64, 4> pdpte{};
    /// AMD configuration MSRs that guests read, set bits in and read back; nothing depends on them.
    u64 amd_hwcr = u64{1} << 24;  ///< TscFreqSel: the TSC counts at a constant rate
    u64 amd_de_cfg = 2;           ///< LFENCE is serialising, as on the host
    u32 pkru = 0;
    /// Debug exceptions that wait for the next instruction boundary, as bits of DR6: what a MOV SS or
    /// POP SS put off, and the single-step trap after SYSRET.
    u32 pending_debug = 0;
    u8 interrupt_shadow = 0;  ///< shadow::none, sti or mov_ss: no interrupt before the next instruction ends
    u8 nmi_blocked = 0;
    u8 halted = 0;
    u8 waiting_for_sipi = 0;
    u8 nmi_pending = 0;                                      ///< 0-2: wait for the end of NMI blocking
    u8 init_pending = 0, sipi_pending = 0, sipi_vector = 0;  ///< messages that came but were not looked at
    alignas(64) std::array<u8, xsave_size> xsave{};          ///< standard XSAVE format

    [[nodiscard]] unsigned cpl() const { return seg[ss].dpl(); }
    [[nodiscard]] bool long_mode_active() const { return efer & efer::lma; }
    [[nodiscard]] bool code64() const { return long_mode_active() && seg[cs].long_mode(); }
    [[nodiscard]] bool protected_mode() const { return cr0 & cr0::pe; }
    [[nodiscard]] bool v8086() const { return rflags & flag::vm; }
};

/// Every field by name.
void describe(base::StateVisitor& v, Segment& s);
void describe(base::StateVisitor& v, DescriptorTable& t);
void describe(base::StateVisitor& v, VcpuState& s);

/// State after power-on or INIT (Intel SDM 3A table 9-1) of the bootstrap processor; the caller sets
/// waiting_for_sipi for others. tsc_offset is the VM's business and stays.
void reset_state(VcpuState& s, bool init);

}  // namespace triune::x86
