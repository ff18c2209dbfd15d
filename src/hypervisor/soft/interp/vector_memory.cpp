// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
/// Vector instructions that access memory element by element: masked moves and gathers. Elements
/// whose mask bit is clear are not accessed and cannot fault.
#include <algorithm>

#include "hypervisor/soft/interp/handlers.h"
#include "hypervisor/soft/interp/vector_checks.h"

namespace triune::hypervisor::soft::interp {
namespace {

using V = VectorState;
using Bytes = std::array<u8, 32>;

bool top_bit(const Bytes& b, unsigned element, unsigned size) { return b[element * size + size - 1] & 0x80; }

bool element_address(Exec& e, const Insn& i, const Operand& m, u64 offset, unsigned size, Access access,
                     Gva& a) {
    return e.linear(i.code, static_cast<Seg>(m.segment), offset & base::low_mask(i.address_bits), size,
                    access, a);
}

/// Stores the elements of `value` that `mask` selects; all are checked before the first is written.
bool masked_store(Exec& e, const Insn& i, const Operand& m, u64 offset, const Bytes& value, const Bytes& mask,
                  unsigned bytes, unsigned size) {
    for (const bool writing : {false, true}) {
        for (unsigned n = 0; n < bytes / size; ++n) {
            if (!top_bit(mask, n, size)) continue;
            Gva a = 0;
            if (!element_address(e, i, m, offset + n * size, size, Access::write, a)) return false;
            if (!writing) {
                if (!e.probe_write(a, size) && !e.probe(a, size, Access::write, m.segment)) return false;
                continue;
            }
            u64 v = 0;
            std::memcpy(&v, &value[n * size], size);
            if (!e.store_sized(a, v, size, m.segment)) return false;
        }
    }
    return true;
}

/// VMASKMOVPS, VMASKMOVPD, VPMASKMOVD, VPMASKMOVQ: load (register, mask, memory) and store
/// (memory, mask, register).
template <unsigned size>
bool vmaskmov(Exec& e, const Insn& i) {
    if (!avx_usable(e)) return false;
    V v(e.s);
    const bool load = i.op[0].kind == OperandKind::vector;
    const Operand& m = load ? i.op[2] : i.op[0];
    const unsigned bytes = i.op[load ? 0 : 2].bits / 8u;
    const u64 offset = e.effective_address(i, m);
    Bytes mask{}, value{};
    v.read_vector(i.op[1].reg, mask.data(), bytes);
    if (!load) {
        v.read_vector(i.op[2].reg, value.data(), bytes);
        return masked_store(e, i, m, offset, value, mask, bytes, size);
    }
    for (unsigned n = 0; n < bytes / size; ++n) {
        if (!top_bit(mask, n, size)) continue;
        Gva a = 0;
        u64 x = 0;
        if (!element_address(e, i, m, offset + n * size, size, Access::read, a) ||
            !e.load_sized(a, x, size, m.segment))
            return false;
        std::memcpy(&value[n * size], &x, size);
    }
    v.write_vector(i.op[0].reg, value.data(), bytes, true);
    return true;
}

/// MASKMOVQ, MASKMOVDQU, VMASKMOVDQU: bytes to [rDI].
bool maskmov_bytes(Exec& e, const Insn& i) {
    const bool mmx = i.mnemonic == ZYDIS_MNEMONIC_MASKMOVQ;
    if (!(mmx ? mmx_usable(e) : i.vex ? avx_usable(e) : sse_usable(e))) return false;
    V v(e.s);
    const Operand* m = i.memory();
    Operand fallback;
    if (!m) m = &fallback;  // DS:[rDI] even if the decoder did not say
    std::array<const Operand*, 2> source{};
    unsigned found = 0;
    for (u8 n = 0; n < i.operand_count && found < 2; ++n)
        if (i.op[n].kind == OperandKind::vector || i.op[n].kind == OperandKind::mmx)
            source[found++] = &i.op[n];
    if (found < 2) return e.ud();
    Bytes value{}, mask{};
    if (mmx) {
        // MMX registers are the physical x87 registers; using one empties no stack but sets TOP to 0.
        v.set_status(static_cast<u16>(v.status() & ~0x3800));
        v.set<u8>(V::ftw, 0xff);
        std::memcpy(value.data(), v.area + V::st + source[0]->reg * 16, 8);
        std::memcpy(mask.data(), v.area + V::st + source[1]->reg * 16, 8);
    } else {
        v.read_vector(source[0]->reg, value.data(), 16);
        v.read_vector(source[1]->reg, mask.data(), 16);
    }
    return masked_store(e, i, *m, e.s.gpr[x86::rdi], value, mask, mmx ? 8 : 16, 1);
}

/// VGATHER*, VPGATHER*: (destination, memory with vector index, mask). What was gathered before a
/// fault stays gathered, its mask elements cleared (Intel SDM 2C VPGATHERDD).
template <unsigned size, unsigned index_size>
bool gather(Exec& e, const Insn& i) {
    if (!avx_usable(e)) return false;
    const Operand &d = i.op[0], &m = i.op[1], &k = i.op[2];
    const u8 index_register = static_cast<u8>(m.index);
    if (d.reg == k.reg || d.reg == index_register || k.reg == index_register) return e.ud();
    V v(e.s);
    v.settle(V::sse_bit | V::avx_bit);
    // VEX.L speaks of the wider of data and index; the other is a part of it.
    const bool wide = i.bytes[static_cast<size_t>(i.prefix_bytes) - 1] & 4;
    const unsigned elements = (wide ? 32u : 16u) / std::max(size, index_size);
    Bytes value{}, mask{}, index{};
    v.read_vector(d.reg, value.data(), 32);
    v.read_vector(k.reg, mask.data(), 32);
    v.read_vector(index_register, index.data(), 32);
    const u64 base = static_cast<u64>(m.disp) + (m.base >= 0 ? e.s.gpr[static_cast<u8>(m.base)] : 0);
    bool ok = true;
    for (unsigned n = 0; n < elements; ++n) {
        if (!top_bit(mask, n, size)) continue;
        u64 x = 0;
        std::memcpy(&x, &index[n * index_size], index_size);
        x = base::sign_extend(x, index_size * 8) * m.scale;
        Gva a = 0;
        u64 element = 0;
        if (!element_address(e, i, m, base + x, size, Access::read, a) ||
            !e.load_sized(a, element, size, m.segment)) {
            ok = false;
            break;
        }
        std::memcpy(&value[n * size], &element, size);
        std::memset(&mask[n * size], 0, size);
    }
    if (ok) {
        // Beyond the elements the destination is cleared, as is all of the mask.
        std::fill(value.begin() + elements * size, value.end(), u8{0});
        mask.fill(0);
    }
    v.write_vector(d.reg, value.data(), 32, true);
    v.write_vector(k.reg, mask.data(), 32, true);
    return ok;
}

}  // namespace

void register_vector_memory(HandlerTable& t) {
    t.add({ZYDIS_MNEMONIC_VMASKMOVPS, ZYDIS_MNEMONIC_VPMASKMOVD}, vmaskmov<4>);
    t.add({ZYDIS_MNEMONIC_VMASKMOVPD, ZYDIS_MNEMONIC_VPMASKMOVQ}, vmaskmov<8>);
    t.add({ZYDIS_MNEMONIC_MASKMOVQ, ZYDIS_MNEMONIC_MASKMOVDQU, ZYDIS_MNEMONIC_VMASKMOVDQU}, maskmov_bytes);
    t.add({ZYDIS_MNEMONIC_VGATHERDPS, ZYDIS_MNEMONIC_VPGATHERDD}, gather<4, 4>);
    t.add({ZYDIS_MNEMONIC_VGATHERDPD, ZYDIS_MNEMONIC_VPGATHERDQ}, gather<8, 4>);
    t.add({ZYDIS_MNEMONIC_VGATHERQPS, ZYDIS_MNEMONIC_VPGATHERQD}, gather<4, 8>);
    t.add({ZYDIS_MNEMONIC_VGATHERQPD, ZYDIS_MNEMONIC_VPGATHERQQ}, gather<8, 8>);
}

}  // namespace triune::hypervisor::soft::interp
