// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
/// The vector instructions that memory and string functions consist of, without a trip through the
/// host's registers: whole-register moves, bitwise logic, byte comparison.
#include <algorithm>

#include "hypervisor/soft/interp/handlers.h"
#include "hypervisor/soft/interp/vector_checks.h"

namespace triune::hypervisor::soft::interp {
namespace {

using V = VectorState;
using Bytes = std::array<u8, 32>;

bool usable(Exec& e, const Insn& i) { return i.vex ? avx_usable(e) : sse_usable(e); }

/// Reads a register or memory operand of 16 or 32 bytes.
bool read_operand(Exec& e, const Insn& i, const Operand& o, unsigned bytes, bool aligned, Bytes& value) {
    if (o.kind == OperandKind::vector) {
        V(e.s).read_vector(o.reg, value.data(), bytes);
        return true;
    }
    Gva a = 0;
    if (!e.linear(i.code, static_cast<Seg>(o.segment), e.effective_address(i, o), bytes, Access::read, a))
        return false;
    if (aligned && (a & (bytes - 1))) return e.gp();
    if (const u8* p = e.probe_read(a, bytes)) {
        memory::copy_guest(value.data(), p, bytes);
        return true;
    }
    return e.load_bytes(a, value.data(), bytes, o.segment);
}

template <bool aligned>
bool move(Exec& e, const Insn& i) {
    if (!usable(e, i)) return false;
    const Operand& d = i.op[0];
    const unsigned bytes = d.bits / 8u;
    Bytes value;
    if (!read_operand(e, i, i.op[1], bytes, aligned, value)) return false;
    if (d.kind == OperandKind::vector) {
        V(e.s).write_vector(d.reg, value.data(), bytes, i.vex);
        return true;
    }
    Gva a = 0;
    if (!e.linear(i.code, static_cast<Seg>(d.segment), e.effective_address(i, d), bytes, Access::write, a))
        return false;
    if (aligned && (a & (bytes - 1))) return e.gp();
    if (u8* p = e.probe_write(a, bytes)) {
        memory::copy_guest(p, value.data(), bytes);
        return true;
    }
    return e.store_bytes(a, value.data(), bytes, d.segment);
}

/// Element-wise f of two sources: (d, s) with d the first source too, or VEX's (d, s1, s2). Legacy
/// memory operands are aligned.
template <class T, class F>
bool combine(Exec& e, const Insn& i, F f) {
    if (!usable(e, i)) return false;
    const unsigned bytes = i.op[0].bits / 8u;
    Bytes a, b;
    V v(e.s);
    v.read_vector(i.op[i.vex ? 1 : 0].reg, a.data(), bytes);
    if (!read_operand(e, i, i.op[i.vex ? 2 : 1], bytes, !i.vex, b)) return false;
    for (unsigned n = 0; n < bytes; n += sizeof(T)) {
        T x, y;
        std::memcpy(&x, &a[n], sizeof x);
        std::memcpy(&y, &b[n], sizeof y);
        x = f(x, y);
        std::memcpy(&a[n], &x, sizeof x);
    }
    v.write_vector(i.op[0].reg, a.data(), bytes, i.vex);
    return true;
}

bool move_mask(Exec& e, const Insn& i) {
    if (!usable(e, i)) return false;
    const unsigned bytes = i.op[1].bits / 8u;
    Bytes value;
    V(e.s).read_vector(i.op[1].reg, value.data(), bytes);
    u32 mask = 0;
    for (unsigned n = 0; n < bytes; ++n) mask |= static_cast<u32>(value[n] >> 7) << n;
    e.s.gpr[i.op[0].reg] = mask;
    return true;
}

}  // namespace

void register_vector_moves(HandlerTable& t) {
    t.add({ZYDIS_MNEMONIC_MOVUPS, ZYDIS_MNEMONIC_MOVUPD, ZYDIS_MNEMONIC_MOVDQU, ZYDIS_MNEMONIC_LDDQU,
           ZYDIS_MNEMONIC_VMOVUPS, ZYDIS_MNEMONIC_VMOVUPD, ZYDIS_MNEMONIC_VMOVDQU, ZYDIS_MNEMONIC_VLDDQU},
          move<false>);
    t.add({ZYDIS_MNEMONIC_MOVAPS, ZYDIS_MNEMONIC_MOVAPD, ZYDIS_MNEMONIC_MOVDQA, ZYDIS_MNEMONIC_MOVNTDQ,
           ZYDIS_MNEMONIC_MOVNTPS, ZYDIS_MNEMONIC_MOVNTPD, ZYDIS_MNEMONIC_VMOVAPS, ZYDIS_MNEMONIC_VMOVAPD,
           ZYDIS_MNEMONIC_VMOVDQA, ZYDIS_MNEMONIC_VMOVNTDQ, ZYDIS_MNEMONIC_VMOVNTPS, ZYDIS_MNEMONIC_VMOVNTPD},
          move<true>);
    t.add({ZYDIS_MNEMONIC_PXOR, ZYDIS_MNEMONIC_XORPS, ZYDIS_MNEMONIC_XORPD, ZYDIS_MNEMONIC_VPXOR,
           ZYDIS_MNEMONIC_VXORPS, ZYDIS_MNEMONIC_VXORPD},
          [](Exec& e, const Insn& i) { return combine<u64>(e, i, [](u64 a, u64 b) { return a ^ b; }); });
    t.add({ZYDIS_MNEMONIC_POR, ZYDIS_MNEMONIC_ORPS, ZYDIS_MNEMONIC_ORPD, ZYDIS_MNEMONIC_VPOR,
           ZYDIS_MNEMONIC_VORPS, ZYDIS_MNEMONIC_VORPD},
          [](Exec& e, const Insn& i) { return combine<u64>(e, i, [](u64 a, u64 b) { return a | b; }); });
    t.add({ZYDIS_MNEMONIC_PAND, ZYDIS_MNEMONIC_ANDPS, ZYDIS_MNEMONIC_ANDPD, ZYDIS_MNEMONIC_VPAND,
           ZYDIS_MNEMONIC_VANDPS, ZYDIS_MNEMONIC_VANDPD},
          [](Exec& e, const Insn& i) { return combine<u64>(e, i, [](u64 a, u64 b) { return a & b; }); });
    t.add({ZYDIS_MNEMONIC_PCMPEQB, ZYDIS_MNEMONIC_VPCMPEQB}, [](Exec& e, const Insn& i) {
        return combine<u8>(e, i, [](u8 a, u8 b) { return static_cast<u8>(a == b ? 0xff : 0); });
    });
    t.add({ZYDIS_MNEMONIC_PMINUB, ZYDIS_MNEMONIC_VPMINUB}, [](Exec& e, const Insn& i) {
        return combine<u8>(e, i, [](u8 a, u8 b) { return std::min(a, b); });
    });
    t.add({ZYDIS_MNEMONIC_PMOVMSKB, ZYDIS_MNEMONIC_VPMOVMSKB}, move_mask);
}

}  // namespace triune::hypervisor::soft::interp
