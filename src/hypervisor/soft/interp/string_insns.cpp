// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
/// String instructions. A repeated one runs in chunks within pages and leaves early, with RIP
/// still at it and RCX, RSI, RDI exact, when a signal is pending, after a bounded amount of work,
/// and after each iteration when single-stepping.
#include <algorithm>

#include "hypervisor/soft/interp/alu_unsafe.h"
#include "hypervisor/soft/interp/handlers.h"

namespace triune::hypervisor::soft::interp {
namespace {

namespace flag = x86::flag;
using x86::rax;
using x86::rcx;
using x86::rdi;
using x86::rdx;
using x86::rsi;

constexpr unsigned max_chunks = 256;

/// Segment of the source: DS unless overridden.
unsigned source_segment(const Insn& i) {
    for (u8 n = 0; n < i.operand_count; ++n)
        if (i.op[n].kind == OperandKind::mem && i.op[n].base == rsi) return i.op[n].segment;
    return x86::ds;
}

/// One string instruction under way.
struct Run {
    Exec& e;
    const Insn& i;
    unsigned size;
    bool repeated = i.rep || i.repne;
    bool down = e.flag(flag::df);

    [[nodiscard]] u64 count() const { return repeated ? e.gpr(rcx, i.address_bits) : 1; }
    [[nodiscard]] u64 offset(unsigned r) const { return e.gpr(r, i.address_bits); }
    void advance(unsigned r, u64 elements) {
        const u64 d = elements * size;
        e.set_gpr(r, e.s.gpr[r] + (down ? ~d + 1 : d), i.address_bits);
    }
    /// Writes ECX, and clears RCX's upper half, only when something was done.
    void counted(u64 elements) {
        if (repeated && elements) e.set_gpr(rcx, e.s.gpr[rcx] - elements, i.address_bits);
    }
    /// Elements from `offset` on (upwards) that stay within its page and the address size.
    [[nodiscard]] u64 in_page(u64 offset, Gva linear) const {
        u64 bytes = page_size - (linear & page_mask);
        if (i.address_bits < 64) bytes = std::min(bytes, (u64{1} << i.address_bits) - offset);
        return bytes / size;
    }
    bool source(u64 elements, Gva& a) {
        return e.linear(i.code, static_cast<Seg>(segment), offset(rsi),
                        static_cast<unsigned>(elements * size), Access::read, a);
    }
    bool destination(u64 elements, Access access, Gva& a) {
        return e.linear(i.code, x86::es, offset(rdi), static_cast<unsigned>(elements * size), access, a);
    }
    unsigned segment = source_segment(i);
};

/// Calls `chunk(run, limit)`, which does 1..limit iterations and gives how many, or 0 for a fault;
/// `done()` ends CMPS and SCAS early.
template <class F, class D>
bool repeat(Run& r, F chunk, D done) {
    Exec& e = r.e;
    u64 left = r.count();
    const bool stepping = e.flag(flag::tf);
    // A data or I/O breakpoint traps after the iteration that meets it.
    const bool single = stepping || (e.s.dr[7] & x86::dr7::enabled);
    for (unsigned n = 0; left; ++n) {
        const u64 did = chunk(r, single ? 1 : left);
        if (!did) return false;
        r.counted(did);
        left -= did;
        if (done()) break;
        if (left && (stepping || e.vcpu.debug_hits || n >= max_chunks || e.vcpu.signals.any())) {
            // What comes between two iterations returns with RF set, so that the instruction's own
            // breakpoint hits once (Intel SDM 3B 18.3.1.1).
            e.next_rip = e.s.rip;
            e.s.rflags |= flag::rf;
            e.keep_rf = true;
            break;
        }
    }
    return true;
}
constexpr auto never = [] { return false; };

/// Elements of a chunk at most: 1 when going down, and when each may need its alignment checked.
u64 chunk_limit(const Run& r, u64 limit) { return r.down || r.e.flag(flag::ac) ? 1 : limit; }

void copy_up(u8* to, const u8* from, u64 bytes, unsigned size) {
    // A destination that starts inside the source repeats what was just written.
    if (to > from && to < from + bytes) {
        for (u64 n = 0; n < bytes; n += size) {
            u64 v;
            memory::copy_guest(&v, from + n, size);
            memory::copy_guest(to + n, &v, size);
        }
    } else {
        memory::copy_guest(to, from, bytes);
    }
}

template <unsigned size>
bool movs(Exec& e, const Insn& i) {
    Run run{e, i, size};
    return repeat(
        run,
        [](Run& r, u64 limit) -> u64 {
            Gva from = 0, to = 0;
            if (!r.source(1, from) || !r.destination(1, Access::write, to)) return 0;
            u64 n = chunk_limit(r, limit);
            if (n > 1) {
                n = std::min({n, r.in_page(r.offset(rsi), from), r.in_page(r.offset(rdi), to)});
                Gva unused = 0;
                if (n > 1 && (!r.source(n, unused) || !r.destination(n, Access::write, unused))) n = 1;
            }
            const unsigned bytes = static_cast<unsigned>(std::max<u64>(n, 1) * size);
            const u8* p = r.e.probe_read(from, bytes);
            u8* q = p ? r.e.probe_write(to, bytes) : nullptr;
            if (q) {
                n = bytes / size;
                copy_up(q, p, bytes, size);
            } else {
                n = 1;
                u64 v = 0;
                if (!r.e.load_sized(from, v, size, r.segment) || !r.e.store_sized(to, v, size, x86::es))
                    return 0;
            }
            r.advance(rsi, n);
            r.advance(rdi, n);
            return n;
        },
        never);
}

template <unsigned size>
bool stos(Exec& e, const Insn& i) {
    Run run{e, i, size};
    return repeat(
        run,
        [](Run& r, u64 limit) -> u64 {
            Gva to = 0;
            if (!r.destination(1, Access::write, to)) return 0;
            u64 n = chunk_limit(r, limit);
            if (n > 1) {
                n = std::min(n, r.in_page(r.offset(rdi), to));
                Gva unused = 0;
                if (n > 1 && !r.destination(n, Access::write, unused)) n = 1;
            }
            n = std::max<u64>(n, 1);
            const u64 value = r.e.s.gpr[rax];
            if (u8* q = r.e.probe_write(to, static_cast<unsigned>(n * size))) {
                if constexpr (size == 1) {
                    memory::fill_guest(q, static_cast<u8>(value), n);
                } else {
                    for (u64 k = 0; k < n; ++k) memory::copy_guest(q + k * size, &value, size);
                }
            } else {
                n = 1;
                if (!r.e.store_sized(to, value & base::low_mask(size * 8), size, x86::es)) return 0;
            }
            r.advance(rdi, n);
            return n;
        },
        never);
}

template <unsigned size>
bool lods(Exec& e, const Insn& i) {
    Run run{e, i, size};
    return repeat(
        run,
        [](Run& r, u64) -> u64 {
            Gva from = 0;
            u64 v = 0;
            if (!r.source(1, from) || !r.e.load_sized(from, v, size, r.segment)) return 0;
            r.e.set_gpr(rax, v, size * 8);
            r.advance(rsi, 1);
            return 1;
        },
        never);
}

template <class T>
struct Comparison {
    Exec& e;
    const Insn& i;
    u64 iterations = 0;

    void compare(T a, T b) {
        u32 flags = 0;
        (void)alu::sub<T>(a, b, flags);
        e.set_arithmetic(flags);
    }
    [[nodiscard]] bool over() const { return (i.rep && !e.flag(flag::zf)) || (i.repne && e.flag(flag::zf)); }
};

/// Iterations of CMPS and SCAS done before signals are looked at.
constexpr u64 compare_batch = 512;

template <class T>
bool cmps(Exec& e, const Insn& i) {
    Run run{e, i, sizeof(T)};
    Comparison<T> c{e, i};
    return repeat(
        run,
        [&](Run& r, u64 limit) -> u64 {
            u64 n = 0;
            do {
                Gva a = 0, b = 0;
                T x, y;
                if (!r.source(1, a) || !r.destination(1, Access::read, b) || !e.load<T>(a, x, r.segment) ||
                    !e.load<T>(b, y, x86::es)) {
                    r.counted(n);  // what was done stays done
                    return 0;
                }
                c.compare(x, y);
                r.advance(rsi, 1);
                r.advance(rdi, 1);
                ++n;
            } while (n < std::min(limit, compare_batch) && !c.over());
            return n;
        },
        [&] { return c.over(); });
}

template <class T>
bool scas(Exec& e, const Insn& i) {
    Run run{e, i, sizeof(T)};
    Comparison<T> c{e, i};
    return repeat(
        run,
        [&](Run& r, u64 limit) -> u64 {
            u64 n = 0;
            do {
                Gva a = 0;
                T y;
                if (!r.destination(1, Access::read, a) || !e.load<T>(a, y, x86::es)) {
                    r.counted(n);
                    return 0;
                }
                c.compare(static_cast<T>(e.s.gpr[rax]), y);
                r.advance(rdi, 1);
                ++n;
            } while (n < std::min(limit, compare_batch) && !c.over());
            return n;
        },
        [&] { return c.over(); });
}

template <unsigned size>
bool ins(Exec& e, const Insn& i) {
    Run run{e, i, size};
    // The right to the port is asked for even when nothing is to be moved.
    if (!run.count()) return e.take(e.sys.check_io(static_cast<u16>(e.s.gpr[rdx]), size));
    return repeat(
        run,
        [](Run& r, u64) -> u64 {
            Exec& x = r.e;
            const u16 port = static_cast<u16>(x.s.gpr[rdx]);
            Gva to = 0;
            u32 v = 0;
            // The device must not be read when the store would fault.
            if (!x.take(x.sys.check_io(port, size)) || !r.destination(1, Access::write, to) ||
                (!x.probe_write(to, size) && !x.probe(to, size, Access::write, x86::es)) ||
                !x.take(x.sys.in(port, size), v) || !x.store_sized(to, v, size, x86::es))
                return 0;
            r.advance(rdi, 1);
            return 1;
        },
        never);
}

template <unsigned size>
bool outs(Exec& e, const Insn& i) {
    Run run{e, i, size};
    // The right to the port is asked for even when nothing is to be moved.
    if (!run.count()) return e.take(e.sys.check_io(static_cast<u16>(e.s.gpr[rdx]), size));
    return repeat(
        run,
        [](Run& r, u64) -> u64 {
            Exec& x = r.e;
            const u16 port = static_cast<u16>(x.s.gpr[rdx]);
            Gva from = 0;
            u64 v = 0;
            if (!x.take(x.sys.check_io(port, size)) || !r.source(1, from) ||
                !x.load_sized(from, v, size, r.segment) ||
                !x.take(x.sys.out(port, static_cast<u32>(v), size)))
                return 0;
            r.advance(rsi, 1);
            return 1;
        },
        never);
}

}  // namespace

// MOVSD and CMPSD are also SSE instructions; those are sorted out by Insn::uses_vector_state.
void register_string(HandlerTable& t) {
    t.add(ZYDIS_MNEMONIC_MOVSB, movs<1>);
    t.add(ZYDIS_MNEMONIC_MOVSW, movs<2>);
    t.add(ZYDIS_MNEMONIC_MOVSD, movs<4>);
    t.add(ZYDIS_MNEMONIC_MOVSQ, movs<8>);
    t.add(ZYDIS_MNEMONIC_STOSB, stos<1>);
    t.add(ZYDIS_MNEMONIC_STOSW, stos<2>);
    t.add(ZYDIS_MNEMONIC_STOSD, stos<4>);
    t.add(ZYDIS_MNEMONIC_STOSQ, stos<8>);
    t.add(ZYDIS_MNEMONIC_LODSB, lods<1>);
    t.add(ZYDIS_MNEMONIC_LODSW, lods<2>);
    t.add(ZYDIS_MNEMONIC_LODSD, lods<4>);
    t.add(ZYDIS_MNEMONIC_LODSQ, lods<8>);
    t.add(ZYDIS_MNEMONIC_CMPSB, cmps<u8>);
    t.add(ZYDIS_MNEMONIC_CMPSW, cmps<u16>);
    t.add(ZYDIS_MNEMONIC_CMPSD, cmps<u32>);
    t.add(ZYDIS_MNEMONIC_CMPSQ, cmps<u64>);
    t.add(ZYDIS_MNEMONIC_SCASB, scas<u8>);
    t.add(ZYDIS_MNEMONIC_SCASW, scas<u16>);
    t.add(ZYDIS_MNEMONIC_SCASD, scas<u32>);
    t.add(ZYDIS_MNEMONIC_SCASQ, scas<u64>);
    t.add(ZYDIS_MNEMONIC_INSB, ins<1>);
    t.add(ZYDIS_MNEMONIC_INSW, ins<2>);
    t.add(ZYDIS_MNEMONIC_INSD, ins<4>);
    t.add(ZYDIS_MNEMONIC_OUTSB, outs<1>);
    t.add(ZYDIS_MNEMONIC_OUTSW, outs<2>);
    t.add(ZYDIS_MNEMONIC_OUTSD, outs<4>);
}

}  // namespace triune::hypervisor::soft::interp
