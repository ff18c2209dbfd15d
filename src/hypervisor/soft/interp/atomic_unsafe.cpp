// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/interp/alu_unsafe.h"
#include "hypervisor/soft/interp/handlers.h"

namespace triune::hypervisor::soft::interp {
namespace {

namespace flag = x86::flag;
using x86::rax;
using x86::rbx;
using x86::rcx;
using x86::rdx;

/// XCHG with memory is locked with or without the prefix.
template <class T>
bool xchg(Exec& e, const Insn& i) {
    const Operand& a = i.op[0];
    const Operand& b = i.op[1];
    if (a.kind == OperandKind::gpr && b.kind == OperandKind::gpr) {
        const T x = e.reg<T>(a), y = e.reg<T>(b);
        e.set_reg<T>(a, y);
        e.set_reg<T>(b, x);
        return true;
    }
    const Operand& m = a.kind == OperandKind::mem ? a : b;
    const Operand& r = a.kind == OperandKind::mem ? b : a;
    const T value = e.reg<T>(r);
    T was{};
    if (!e.modify<T>(i, m, true, [&](T old, T& next) {
            was = old;
            next = value;
        }))
        return false;
    e.set_reg<T>(r, was);
    return true;
}

template <class T>
bool xadd(Exec& e, const Insn& i) {
    const Operand& d = i.op[0];
    const T value = e.reg<T>(i.op[1]);
    T was{};
    u32 flags = 0;
    const auto change = [&](T old, T& next) {
        was = old;
        next = alu::add<T>(old, value, flags);
    };
    if (d.kind == OperandKind::gpr) {
        T next;
        change(e.reg<T>(d), next);
        e.set_reg<T>(i.op[1], was);
        e.set_reg<T>(d, next);  // wins when both are the same register
    } else {
        if (!e.modify<T>(i, d, i.lock, change)) return false;
        e.set_reg<T>(i.op[1], was);
    }
    e.set_arithmetic(flags);
    return true;
}

template <class T>
bool cmpxchg(Exec& e, const Insn& i) {
    const Operand& d = i.op[0];
    const T expected = static_cast<T>(e.s.gpr[rax]);
    const T value = e.reg<T>(i.op[1]);
    T was{};
    u32 flags = 0;
    const auto change = [&](T old, T& next) {
        was = old;
        (void)alu::sub<T>(expected, old, flags);
        next = (flags & flag::zf) ? value : old;  // the destination is written back either way
    };
    if (d.kind == OperandKind::gpr) {
        T next;
        change(e.reg<T>(d), next);
        // On failure a 32-bit destination's upper half is left alone.
        if (flags & flag::zf) e.set_reg<T>(d, next);
    } else if (!e.modify<T>(i, d, i.lock, change)) {
        return false;
    }
    if (!(flags & flag::zf)) e.set_gpr(rax, was, sizeof(T) * 8);
    e.set_arithmetic(flags);
    return true;
}

bool cmpxchg8b(Exec& e, const Insn& i) {
    const u64 expected = e.gpr(rdx, 32) << 32 | e.gpr(rax, 32);
    const u64 value = e.gpr(rcx, 32) << 32 | e.gpr(rbx, 32);
    u64 was = 0;
    if (!e.modify<u64>(i, *i.memory(), i.lock, [&](u64 old, u64& next) {
            was = old;
            next = old == expected ? value : old;
        }))
        return false;
    e.set_flags(flag::zf, was == expected ? flag::zf : 0);
    if (was != expected) {
        e.s.gpr[rax] = static_cast<u32>(was);
        e.s.gpr[rdx] = was >> 32;
    }
    return true;
}

struct Pair {
    u64 low = 0, high = 0;
    bool operator==(const Pair&) const = default;
};

/// SAFETY: `p` is 16-byte aligned guest RAM of 16 bytes; CMPXCHG16B is the guest's own
/// instruction, RBX is the only register the compiler may have reserved and it is declared.
bool host_cmpxchg16b(u8* p, Pair& expected, const Pair& value) {
    bool ok;
    asm volatile("lock cmpxchg16b %[m]"
                 : [m] "+m"(*reinterpret_cast<Pair*>(p)), "+a"(expected.low), "+d"(expected.high), "=@ccz"(ok)
                 : "b"(value.low), "c"(value.high)
                 : "memory");
    return ok;
}

bool cmpxchg16b(Exec& e, const Insn& i) {
    const Operand& m = *i.memory();
    Gva a = 0;
    if (!e.linear(i.code, static_cast<Seg>(m.segment), e.effective_address(i, m), 16, Access::write, a))
        return false;
    if (a & 15) return e.gp();
    const Pair expected{e.s.gpr[rax], e.s.gpr[rdx]}, value{e.s.gpr[rbx], e.s.gpr[rcx]};
    Pair was = expected;
    bool equal = false;
    u8* p = e.probe_write(a, 16);
    bool slow = false;
    if (!p) {
        if (!e.check_canonical(a, 16, m.segment)) return false;
        const auto host = e.mmu.rmw_pointer(a, 16, e.sys.privilege());
        if (!host) return e.raise(Fault::pf(host.error()));
        p = *host;
        slow = true;
    }
    if (p) {
        equal = host_cmpxchg16b(p, was, value);
        if (slow) e.mmu.rmw_done(a, 16);
    } else {  // MMIO
        const mmu::BusLock lock;
        if (!e.probe(a, 16, Access::write, m.segment) || !e.load_bytes(a, &was, 16, m.segment)) return false;
        equal = was == expected;
        const Pair next = equal ? value : was;
        if (!e.store_bytes(a, &next, 16, m.segment)) return false;
    }
    e.set_flags(flag::zf, equal ? flag::zf : 0);
    if (!equal) {
        e.s.gpr[rax] = was.low;
        e.s.gpr[rdx] = was.high;
    }
    return true;
}

}  // namespace

void register_atomic(HandlerTable& t) {
    t.add_sized(ZYDIS_MNEMONIC_XCHG, []<class T>(Exec& e, const Insn& i) { return xchg<T>(e, i); });
    t.add_sized(ZYDIS_MNEMONIC_XADD, []<class T>(Exec& e, const Insn& i) { return xadd<T>(e, i); });
    t.add_sized(ZYDIS_MNEMONIC_CMPXCHG, []<class T>(Exec& e, const Insn& i) { return cmpxchg<T>(e, i); });
    t.add(ZYDIS_MNEMONIC_CMPXCHG8B, cmpxchg8b);
    t.add(ZYDIS_MNEMONIC_CMPXCHG16B, cmpxchg16b);
}

}  // namespace triune::hypervisor::soft::interp
