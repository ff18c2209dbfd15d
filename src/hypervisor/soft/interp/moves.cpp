// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/interp/handlers.h"

namespace triune::hypervisor::soft::interp {
namespace {

using x86::rax;
using x86::rdx;

template <class T>
bool mov(Exec& e, const Insn& i) {
    T v;
    return e.read<T>(i, i.op[1], v) && e.write<T>(i, i.op[0], v);
}

template <class T>
bool lea(Exec& e, const Insn& i) {
    e.set_reg<T>(i.op[0], static_cast<T>(e.effective_address(i, i.op[1])));
    return true;
}

template <class T>
bool movzx(Exec& e, const Insn& i) {
    if (i.op[1].bits == 8) {
        u8 v;
        if (!e.read<u8>(i, i.op[1], v)) return false;
        e.set_reg<T>(i.op[0], v);
    } else {
        u16 v;
        if (!e.read<u16>(i, i.op[1], v)) return false;
        e.set_reg<T>(i.op[0], static_cast<T>(v));
    }
    return true;
}

template <class T>
bool movsx(Exec& e, const Insn& i) {
    return with_width(i.op[1].bits, [&]<class S>() {
        S v;
        if (!e.read<S>(i, i.op[1], v)) return false;
        e.set_reg<T>(i.op[0], static_cast<T>(static_cast<std::make_signed_t<S>>(v)));
        return true;
    });
}

template <class T>
T byte_swapped(T v) {
    if constexpr (sizeof(T) == 1)
        return v;
    else
        return std::byteswap(v);
}

template <class T>
bool movbe(Exec& e, const Insn& i) {
    T v;
    return e.read<T>(i, i.op[1], v) && e.write<T>(i, i.op[0], byte_swapped(v));
}

template <class T>
bool bswap(Exec& e, const Insn& i) {
    // A 16-bit operand is undefined; processors give zero.
    if constexpr (sizeof(T) <= 2)
        e.set_reg<T>(i.op[0], 0);
    else
        e.set_reg<T>(i.op[0], std::byteswap(e.reg<T>(i.op[0])));
    return true;
}

template <class T>
bool cmov(Exec& e, const Insn& i) {
    // The source is read, and a 32-bit destination's upper half cleared, whatever the condition.
    T v;
    if (!e.read<T>(i, i.op[1], v)) return false;
    e.set_reg<T>(i.op[0], e.condition(i.opcode & 15) ? v : e.reg<T>(i.op[0]));
    return true;
}

bool setcc(Exec& e, const Insn& i) { return e.write<u8>(i, i.op[0], e.condition(i.opcode & 15)); }

bool cbw(Exec& e, const Insn&) {
    e.set_gpr(rax, base::sign_extend(e.s.gpr[rax], 8), 16);
    return true;
}
bool cwde(Exec& e, const Insn&) {
    e.set_gpr(rax, base::sign_extend(e.s.gpr[rax], 16), 32);
    return true;
}
bool cdqe(Exec& e, const Insn&) {
    e.s.gpr[rax] = base::sign_extend(e.s.gpr[rax], 32);
    return true;
}
/// CWD, CDQ, CQO: the sign of the accumulator into rDX.
template <unsigned bits>
bool sign_into_dx(Exec& e, const Insn&) {
    e.set_gpr(rdx, base::bit(e.s.gpr[rax], bits - 1) ? ~u64{0} : 0, bits);
    return true;
}

bool lahf(Exec& e, const Insn&) {
    const u64 ah = (e.s.rflags & 0xd5) | 2;
    e.s.gpr[rax] = (e.s.gpr[rax] & ~u64{0xff00}) | ah << 8;
    return true;
}
bool sahf(Exec& e, const Insn&) {
    e.set_flags(0xd5, e.s.gpr[rax] >> 8);
    return true;
}

bool xlat(Exec& e, const Insn& i) {
    const u64 offset = (e.s.gpr[x86::rbx] + (e.s.gpr[rax] & 0xff)) & base::low_mask(i.address_bits);
    const Operand* m = i.memory();
    const unsigned seg = m ? m->segment : u8{x86::ds};
    Gva a = 0;
    u8 v;
    if (!e.linear(i.code, static_cast<Seg>(seg), offset, 1, Access::read, a) || !e.load<u8>(a, v, seg))
        return false;
    e.set_gpr(rax, v, 8);
    return true;
}

bool nothing(Exec&, const Insn&) { return true; }

}  // namespace

void register_moves(HandlerTable& t) {
    t.add_sized(ZYDIS_MNEMONIC_MOV, []<class T>(Exec& e, const Insn& i) { return mov<T>(e, i); });
    t.add_sized(ZYDIS_MNEMONIC_MOVNTI, []<class T>(Exec& e, const Insn& i) { return mov<T>(e, i); });
    t.add_sized(ZYDIS_MNEMONIC_LEA, []<class T>(Exec& e, const Insn& i) { return lea<T>(e, i); });
    t.add_sized(ZYDIS_MNEMONIC_MOVZX, []<class T>(Exec& e, const Insn& i) { return movzx<T>(e, i); });
    t.add_sized(ZYDIS_MNEMONIC_MOVSX, []<class T>(Exec& e, const Insn& i) { return movsx<T>(e, i); });
    t.add_sized(ZYDIS_MNEMONIC_MOVSXD, []<class T>(Exec& e, const Insn& i) { return movsx<T>(e, i); });
    t.add_sized(ZYDIS_MNEMONIC_MOVBE, []<class T>(Exec& e, const Insn& i) { return movbe<T>(e, i); });
    t.add_sized(ZYDIS_MNEMONIC_BSWAP, []<class T>(Exec& e, const Insn& i) { return bswap<T>(e, i); });
    for (const ZydisMnemonic m :
         {ZYDIS_MNEMONIC_CMOVB, ZYDIS_MNEMONIC_CMOVBE, ZYDIS_MNEMONIC_CMOVL, ZYDIS_MNEMONIC_CMOVLE,
          ZYDIS_MNEMONIC_CMOVNB, ZYDIS_MNEMONIC_CMOVNBE, ZYDIS_MNEMONIC_CMOVNL, ZYDIS_MNEMONIC_CMOVNLE,
          ZYDIS_MNEMONIC_CMOVNO, ZYDIS_MNEMONIC_CMOVNP, ZYDIS_MNEMONIC_CMOVNS, ZYDIS_MNEMONIC_CMOVNZ,
          ZYDIS_MNEMONIC_CMOVO, ZYDIS_MNEMONIC_CMOVP, ZYDIS_MNEMONIC_CMOVS, ZYDIS_MNEMONIC_CMOVZ})
        t.add_sized(m, []<class T>(Exec& e, const Insn& i) { return cmov<T>(e, i); });
    t.add({ZYDIS_MNEMONIC_SETB, ZYDIS_MNEMONIC_SETBE, ZYDIS_MNEMONIC_SETL, ZYDIS_MNEMONIC_SETLE,
           ZYDIS_MNEMONIC_SETNB, ZYDIS_MNEMONIC_SETNBE, ZYDIS_MNEMONIC_SETNL, ZYDIS_MNEMONIC_SETNLE,
           ZYDIS_MNEMONIC_SETNO, ZYDIS_MNEMONIC_SETNP, ZYDIS_MNEMONIC_SETNS, ZYDIS_MNEMONIC_SETNZ,
           ZYDIS_MNEMONIC_SETO, ZYDIS_MNEMONIC_SETP, ZYDIS_MNEMONIC_SETS, ZYDIS_MNEMONIC_SETZ},
          setcc);
    t.add(ZYDIS_MNEMONIC_CBW, cbw);
    t.add(ZYDIS_MNEMONIC_CWDE, cwde);
    t.add(ZYDIS_MNEMONIC_CDQE, cdqe);
    t.add(ZYDIS_MNEMONIC_CWD, sign_into_dx<16>);
    t.add(ZYDIS_MNEMONIC_CDQ, sign_into_dx<32>);
    t.add(ZYDIS_MNEMONIC_CQO, sign_into_dx<64>);
    t.add(ZYDIS_MNEMONIC_LAHF, lahf);
    t.add(ZYDIS_MNEMONIC_SAHF, sahf);
    t.add(ZYDIS_MNEMONIC_XLAT, xlat);
    // Hints; all memory accesses here are in order already. CLFLUSH and CLWB are in system_insns.
    t.add({ZYDIS_MNEMONIC_NOP, ZYDIS_MNEMONIC_ENDBR64, ZYDIS_MNEMONIC_ENDBR32, ZYDIS_MNEMONIC_PREFETCH,
           ZYDIS_MNEMONIC_PREFETCHW, ZYDIS_MNEMONIC_PREFETCHNTA, ZYDIS_MNEMONIC_PREFETCHT0,
           ZYDIS_MNEMONIC_PREFETCHT1, ZYDIS_MNEMONIC_PREFETCHT2, ZYDIS_MNEMONIC_PREFETCHWT1,
           ZYDIS_MNEMONIC_LFENCE, ZYDIS_MNEMONIC_FNOP},
          nothing);
    t.add(ZYDIS_MNEMONIC_PAUSE, [](Exec& e, const Insn& i) {
        // With REX.B it is XCHG R8, rAX; F3 means nothing then.
        if (i.rex & 1) {
            const unsigned bits = i.operand_bits;
            const u64 a = e.gpr(rax, bits), b = e.gpr(x86::r8, bits);
            e.set_gpr(rax, b, bits);
            e.set_gpr(x86::r8, a, bits);
        }
        return true;
    });
    t.add({ZYDIS_MNEMONIC_MFENCE, ZYDIS_MNEMONIC_SFENCE}, [](Exec&, const Insn&) {
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        return true;
    });
}

}  // namespace triune::hypervisor::soft::interp
