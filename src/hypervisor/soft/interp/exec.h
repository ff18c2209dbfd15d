// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

/// What an instruction handler works with: the processor, fast guest memory access, operands and
/// flags. One Exec per interpreter; it carries no state from one instruction to the next.
#include <bit>
#include <cstring>
#include <type_traits>

#include "base/bits.h"
#include "hypervisor/soft/interp/host_exec.h"
#include "hypervisor/soft/system/system.h"
#include "memory/guest_access.h"
#include "x86/insn.h"

namespace triune::hypervisor::soft::interp {

using mmu::Access;
using mmu::Privilege;
using system::Fault;
using system::Guest;
using x86::CodeSize;
using x86::Insn;
using x86::Operand;
using x86::OperandKind;
using x86::Seg;

struct Exec {
    explicit Exec(system::System& system)
        : sys(system),
          vcpu(system.vcpu()),
          s(system.vcpu().state),
          mmu(system.mmu()),
          tlb(system.mmu().tlb()) {}

    system::System& sys;
    cpu::VcpuContext& vcpu;
    x86::VcpuState& s;
    mmu::Mmu& mmu;
    mmu::Tlb& tlb;
    HostExecutor host;

    Fault fault;           ///< why a handler gave false
    u64 next_rip = 0;      ///< becomes RIP when the handler gives true; branches change it
    bool retry = false;    ///< with `false` from a handler: no fault, the instruction has not been done yet
    bool halted = false;   ///< HLT was executed
    bool no_trap = false;  ///< no single-step trap after this instruction (INT n, SYSCALL)
    bool keep_rf = false;  ///< RFLAGS.RF was set by the instruction (IRET, a string instruction half done)

    // -- outcomes -------------------------------------------------------------------------------
    bool raise(const Fault& f) {
        fault = f;
        return false;
    }
    bool ud() { return raise(Fault::ud()); }
    bool gp() { return raise(Fault::gp()); }
    bool take(const Guest<void>& g) { return g ? true : raise(g.error()); }
    template <class T, class U>
    bool take(const Guest<T>& g, U& out) {
        if (!g) return raise(g.error());
        out = static_cast<U>(*g);
        return true;
    }
    /// For System functions that set CS:RIP themselves.
    bool transferred(const Guest<void>& g) {
        if (!g) return raise(g.error());
        next_rip = s.rip;
        return true;
    }

    // -- registers ------------------------------------------------------------------------------
    [[nodiscard]] u8* gpr_bytes(const Operand& o) {
        return reinterpret_cast<u8*>(s.gpr.data()) + o.reg * 8u + (o.high8 ? 1 : 0);
    }
    template <class T>
    [[nodiscard]] T reg(const Operand& o) {
        T v;
        std::memcpy(&v, gpr_bytes(o), sizeof v);
        return v;
    }
    template <class T>
    void set_reg(const Operand& o, T v) {
        if constexpr (sizeof(T) == 4)
            s.gpr[o.reg] = v;  // 32-bit results clear the upper half
        else
            std::memcpy(gpr_bytes(o), &v, sizeof v);
    }
    /// Low `bits` of a register, by number (never AH..BH).
    [[nodiscard]] u64 gpr(unsigned n, unsigned bits) const { return s.gpr[n] & base::low_mask(bits); }
    void set_gpr(unsigned n, u64 v, unsigned bits) {
        if (bits >= 32)
            s.gpr[n] = v & base::low_mask(bits);
        else
            s.gpr[n] = (s.gpr[n] & ~base::low_mask(bits)) | (v & base::low_mask(bits));
    }

    // -- flags ----------------------------------------------------------------------------------
    void set_flags(u64 mask, u64 value) { s.rflags = (s.rflags & ~mask) | (value & mask); }
    void set_arithmetic(u64 flags) { set_flags(x86::flag::arithmetic, flags); }
    [[nodiscard]] bool flag(u64 f) const { return s.rflags & f; }
    /// Condition code 0-15 of Jcc, SETcc, CMOVcc (Intel SDM 1 appendix B.1).
    [[nodiscard]] bool condition(unsigned cc) const {
        const u64 f = s.rflags;
        bool r = false;
        switch (cc >> 1) {
            case 0: r = f & x86::flag::of; break;
            case 1: r = f & x86::flag::cf; break;
            case 2: r = f & x86::flag::zf; break;
            case 3: r = f & (x86::flag::cf | x86::flag::zf); break;
            case 4: r = f & x86::flag::sf; break;
            case 5: r = f & x86::flag::pf; break;
            case 6: r = ((f >> 7) ^ (f >> 11)) & 1; break;
            default: r = (((f >> 7) ^ (f >> 11)) & 1) || (f & x86::flag::zf); break;
        }
        return r != static_cast<bool>(cc & 1);
    }

    [[nodiscard]] bool user() const { return (s.seg[x86::ss].attr & 0x60) == 0x60; }

    // -- memory ---------------------------------------------------------------------------------
    [[nodiscard]] u64 effective_address(const Insn& i, const Operand& m) const {
        u64 a = static_cast<u64>(m.disp);
        if (m.base >= 0) a += m.base == x86::base_rip ? rip_after(i) : s.gpr[static_cast<u8>(m.base)];
        if (m.index >= 0) {
            // In 16- and 32-bit addressing wraps below; upper register halves drop out there.
            a += s.gpr[static_cast<u8>(m.index)] * m.scale;
        }
        if (i.address_bits == 64) return a;
        return a & base::low_mask(i.address_bits);
    }
    [[nodiscard]] u64 rip_after(const Insn& i) const { return s.rip + i.length; }

    /// Linear address of a memory operand. In 64-bit mode the canonical check is left to the
    /// access (a software TLB hit implies it).
    bool address(const Insn& i, const Operand& m, unsigned size, Access access, Gva& out) {
        return linear(i.code, static_cast<Seg>(m.segment), effective_address(i, m), size, access, out);
    }
    bool linear(CodeSize code, Seg seg, u64 offset, unsigned size, Access access, Gva& out) {
        if (code == CodeSize::bits64) [[likely]] {
            out = seg >= x86::fs ? offset + s.seg[seg].base : offset;
        } else if (!take(sys.linear(seg, offset, size, access), out)) {
            return false;
        }
        if (s.rflags & x86::flag::ac) [[unlikely]]
            return check_alignment(out, size);
        return true;
    }
    /// #AC for a misaligned access at CPL 3 with CR0.AM and RFLAGS.AC (Intel SDM 3A 6.15).
    bool check_alignment(Gva gva, unsigned size);

    [[nodiscard]] unsigned tlb_mode() const {
        if (user()) return static_cast<unsigned>(mmu::TlbMode::user);
        return static_cast<unsigned>(!(s.cr4 & x86::cr4::smap) || (s.rflags & x86::flag::ac)
                                         ? mmu::TlbMode::supervisor_ac
                                         : mmu::TlbMode::supervisor);
    }
    /// Host address of [gva, gva+size) when a TLB entry allows the read (write), else null.
    [[nodiscard]] u8* probe_read(Gva gva, unsigned size) const {
        const mmu::TlbEntry& t = tlb.set[tlb_mode()][mmu::Tlb::index(gva)];
        return (gva ^ t.read_tag) < page_size - (size - 1) ? reinterpret_cast<u8*>(t.host) + (gva & page_mask)
                                                           : nullptr;
    }
    [[nodiscard]] u8* probe_write(Gva gva, unsigned size) const {
        const mmu::TlbEntry& t = tlb.set[tlb_mode()][mmu::Tlb::index(gva)];
        return (gva ^ t.write_tag) < page_size - (size - 1)
                   ? reinterpret_cast<u8*>(t.host) + (gva & page_mask)
                   : nullptr;
    }

    /// `seg` tells #SS from #GP when the address is not canonical.
    template <class T>
    bool load(Gva gva, T& v, unsigned seg = x86::ds) {
        if (const u8* p = probe_read(gva, sizeof(T))) [[likely]] {
            v = memory::load_guest<T>(p);
            return true;
        }
        u64 wide = 0;
        if (!load_slow(gva, wide, sizeof(T), seg)) return false;
        v = static_cast<T>(wide);
        return true;
    }
    template <class T>
    bool store(Gva gva, T v, unsigned seg = x86::ds) {
        if (u8* p = probe_write(gva, sizeof(T))) [[likely]] {
            memory::store_guest<T>(p, v);
            return true;
        }
        return store_slow(gva, v, sizeof(T), seg);
    }
    bool load_slow(Gva gva, u64& v, unsigned size, unsigned seg);
    bool store_slow(Gva gva, u64 v, unsigned size, unsigned seg);
    bool load_sized(Gva gva, u64& v, unsigned size, unsigned seg = x86::ds);
    bool store_sized(Gva gva, u64 v, unsigned size, unsigned seg = x86::ds);
    /// Any length up to 4096; for vector operands and memory images.
    bool load_bytes(Gva gva, void* to, unsigned size, unsigned seg = x86::ds);
    bool store_bytes(Gva gva, const void* from, unsigned size, unsigned seg = x86::ds);
    bool probe(Gva gva, unsigned size, Access access, unsigned seg = x86::ds);
    /// #GP(0) or #SS(0) when [gva, gva+size) is not canonical (64-bit mode only).
    bool check_canonical(Gva gva, unsigned size, unsigned seg);

    template <class T>
    bool read(const Insn& i, const Operand& o, T& v) {
        if (o.kind == OperandKind::gpr) {
            v = reg<T>(o);
            return true;
        }
        if (o.kind == OperandKind::imm) {
            v = static_cast<T>(o.disp);
            return true;
        }
        Gva a = 0;
        return address(i, o, sizeof(T), Access::read, a) && load<T>(a, v, o.segment);
    }
    template <class T>
    bool write(const Insn& i, const Operand& o, T v) {
        if (o.kind == OperandKind::gpr) {
            set_reg<T>(o, v);
            return true;
        }
        Gva a = 0;
        return address(i, o, sizeof(T), Access::write, a) && store<T>(a, v, o.segment);
    }

    /// Read-modify-write of a memory operand: `change(old, new_value)` is called with the old value
    /// and may be called again when another processor interferes; it touches nothing but its own
    /// results. Atomic when `atomic`. Faults as a write (Intel SDM 3A 4.7).
    template <class T, class F>
    bool modify(const Insn& i, const Operand& o, bool atomic, F change) {
        Gva a = 0;
        if (!address(i, o, sizeof(T), Access::write, a)) return false;
        return modify_at<T>(a, o.segment, atomic, change);
    }
    template <class T, class F>
    bool modify_at(Gva a, unsigned seg, bool atomic, F change) {
        u8* p = probe_write(a, sizeof(T));
        if (p) [[likely]] {
            update<T>(p, atomic, change);
            return true;
        }
        if (!check_canonical(a, sizeof(T), seg)) return false;
        const auto host = mmu.rmw_pointer(a, sizeof(T), sys.privilege());
        if (!host) return raise(Fault::pf(host.error()));
        if (*host) {
            update<T>(*host, atomic, change);
            mmu.rmw_done(a, sizeof(T));
            return true;
        }
        return modify_split<T>(a, seg, atomic, change);
    }

    /// Near branch to `target`, already truncated to the operand size.
    bool jump(const Insn& i, u64 target) {
        if (!reachable(i, target)) return false;
        next_rip = target;
        return true;
    }
    /// System::check_rip with the common case here.
    bool reachable(const Insn& i, u64 target) {
        if (i.code == CodeSize::bits64 && mmu.canonical(target)) [[likely]]
            return true;
        return take(sys.check_rip(target));
    }

private:
    template <class T, class F>
    static void update(u8* p, bool atomic, F& change) {
        // SAFETY: p covers sizeof(T) bytes of guest RAM within one page; the host allows misaligned
        // atomics (as split locks), as the guest's processor does.
        T* const t = reinterpret_cast<T*>(p);
        if (!atomic) {
            T next{};
            change(memory::load_guest<T>(p), next);
            memory::store_guest<T>(p, next);
            return;
        }
        T old = __atomic_load_n(t, __ATOMIC_RELAXED);
        for (;;) {
            T next{};
            change(old, next);
            if (__atomic_compare_exchange_n(t, &old, next, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) return;
        }
    }
    template <class T, class F>
    bool modify_split(Gva a, unsigned seg, bool atomic, F& change) {
        std::optional<mmu::BusLock> lock;
        if (atomic) lock.emplace();
        if (!probe(a, sizeof(T), Access::write, seg)) return false;
        u64 wide = 0;
        if (!load_slow(a, wide, sizeof(T), seg)) return false;
        T next{};
        change(static_cast<T>(wide), next);
        return store_slow(a, next, sizeof(T), seg);
    }
};

/// Gives true when done; false when Exec::fault is to be delivered. Then nothing has changed that
/// the architecture says must not.
using Handler = bool (*)(Exec&, const Insn&);

/// `f.template operator()<T>(args...)` with the unsigned type of `bits`.
template <class F>
bool with_width(unsigned bits, F&& f) {
    switch (bits) {
        case 8: return f.template operator()<u8>();
        case 16: return f.template operator()<u16>();
        case 32: return f.template operator()<u32>();
        default: return f.template operator()<u64>();
    }
}

}  // namespace triune::hypervisor::soft::interp
