// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
/// x87 control instructions and environments; they move state without computing anything.
#include "hypervisor/soft/interp/handlers.h"
#include "hypervisor/soft/interp/vector_checks.h"

namespace triune::hypervisor::soft::interp {
namespace {

using V = VectorState;

void init(V& v) {
    v.set_status(0);
    v.set<u16>(V::fcw, 0x37f);
    v.set<u8>(V::ftw, 0);
    v.set<u16>(V::fop, 0);
    v.set<u64>(V::fip, 0);
    v.set<u64>(V::fdp, 0);
}

/// The 16-bit tag word (Intel SDM 1 8.1.7) from the abridged one and the registers.
u16 full_tags(const V& v) {
    const unsigned top = (v.get<u16>(V::fsw) >> 11) & 7;
    const u8 abridged = v.get<u8>(V::ftw);
    unsigned tags = 0;
    for (unsigned r = 0; r < 8; ++r) {
        unsigned tag = 3;
        if (abridged & (1u << r)) {
            const unsigned at = V::st + ((r - top) & 7) * 16;
            const u64 mantissa = v.get<u64>(at);
            const unsigned exponent = v.get<u16>(at + 8) & 0x7fff;
            if (!exponent && !mantissa)
                tag = 1;
            else if (!exponent || exponent == 0x7fff || !(mantissa >> 63))
                tag = 2;
            else
                tag = 0;
        }
        tags |= tag << (2 * r);
    }
    return static_cast<u16>(tags);
}
u8 abridged_tags(u16 full) {
    unsigned r = 0;
    for (unsigned n = 0; n < 8; ++n)
        if (((full >> (2 * n)) & 3) != 3) r |= 1u << n;
    return static_cast<u8>(r);
}

/// Environment image: 28 bytes, or 14 with 16-bit operands (Intel SDM 1 8.1.10). CS and DS are not
/// kept by processors that deprecate them: 0.
struct Image {
    std::array<u8, 28> bytes{};
    unsigned size;

    template <class T>
    void put(unsigned at, T value) {
        std::memcpy(&bytes[at], &value, sizeof value);
    }
    template <class T>
    [[nodiscard]] T get(unsigned at) const {
        T value;
        std::memcpy(&value, &bytes[at], sizeof value);
        return value;
    }
};

bool real_format(const Exec& e) { return !e.s.protected_mode() || e.s.v8086(); }

Image environment(Exec& e, const Insn& i, const V& v) {
    Image m;
    const u64 fip = v.get<u64>(V::fip), fdp = v.get<u64>(V::fdp);
    const u32 fop = v.get<u16>(V::fop) & 0x7ff;
    const u16 words[3] = {v.get<u16>(V::fcw), v.get<u16>(V::fsw), full_tags(v)};
    if (i.operand_bits == 16) {
        m.size = 14;
        for (unsigned n = 0; n < 3; ++n) m.put<u16>(2 * n, words[n]);
        m.put<u16>(6, static_cast<u16>(fip));
        m.put<u16>(10, static_cast<u16>(fdp));
        if (real_format(e)) {
            m.put<u16>(8, static_cast<u16>((fip >> 4 & 0xf000) | fop));
            m.put<u16>(12, static_cast<u16>(fdp >> 4 & 0xf000));
        }
        return m;
    }
    m.size = 28;
    for (unsigned n = 0; n < 3; ++n) m.put<u32>(4 * n, 0xffff0000u | words[n]);
    if (real_format(e)) {
        m.put<u32>(12, static_cast<u32>(fip & 0xffff));
        m.put<u32>(16, static_cast<u32>((fip >> 4 & 0x0ffff000) | fop));
        m.put<u32>(20, static_cast<u32>(fdp & 0xffff));
        m.put<u32>(24, static_cast<u32>(fdp >> 4 & 0x0ffff000));
    } else {
        m.put<u32>(12, static_cast<u32>(fip));
        m.put<u32>(16, fop << 16);
        m.put<u32>(20, static_cast<u32>(fdp));
        m.put<u32>(24, 0xffff0000u);
    }
    return m;
}

void load_environment(Exec& e, const Insn& i, V& v, const Image& m) {
    const unsigned step = i.operand_bits == 16 ? 2 : 4;
    v.set_status(m.get<u16>(step));
    v.set_control(m.get<u16>(0));
    v.set<u8>(V::ftw, abridged_tags(m.get<u16>(2 * step)));
    u64 fip = step == 2 ? m.get<u16>(6) : m.get<u32>(12);
    u64 fdp = step == 2 ? m.get<u16>(10) : m.get<u32>(20);
    u32 fop = 0;
    if (real_format(e)) {
        const u32 high = step == 2 ? m.get<u16>(8) : m.get<u32>(16);
        fop = high & 0x7ff;
        fip = (fip & 0xffff) | (high & ~0xfffu) << 4;
        fdp = (fdp & 0xffff) | ((step == 2 ? m.get<u16>(12) : m.get<u32>(24)) & ~0xfffu) << 4;
    } else if (step == 4) {
        fop = m.get<u32>(16) >> 16 & 0x7ff;
    }
    v.set<u16>(V::fop, static_cast<u16>(fop));
    v.set<u64>(V::fip, fip);
    v.set<u64>(V::fdp, fdp);
    v.update_summary();
}

bool store_environment(Exec& e, const Insn& i) {
    if (!x87_usable(e)) return false;
    V v(e.s);
    v.settle(V::x87_bit);
    const Operand& m = *i.memory();
    const Image image = environment(e, i, v);
    Gva a = 0;
    if (!e.linear(i.code, static_cast<Seg>(m.segment), e.effective_address(i, m), image.size, Access::write,
                  a) ||
        !e.store_bytes(a, image.bytes.data(), image.size, m.segment))
        return false;
    v.set<u16>(V::fcw, v.get<u16>(V::fcw) | 0x3f);
    v.update_summary();
    return true;
}

bool load_environment_from(Exec& e, const Insn& i) {
    if (!x87_usable(e) || !x87_no_pending(e)) return false;
    const Operand& m = *i.memory();
    Image image;
    image.size = i.operand_bits == 16 ? 14 : 28;
    Gva a = 0;
    if (!e.linear(i.code, static_cast<Seg>(m.segment), e.effective_address(i, m), image.size, Access::read,
                  a) ||
        !e.load_bytes(a, image.bytes.data(), image.size, m.segment))
        return false;
    V v(e.s);
    v.settle(V::x87_bit);
    load_environment(e, i, v, image);
    return true;
}

bool save(Exec& e, const Insn& i) {
    if (!x87_usable(e)) return false;
    V v(e.s);
    v.settle(V::x87_bit);
    const Image image = environment(e, i, v);
    std::array<u8, 108> all{};
    std::memcpy(all.data(), image.bytes.data(), image.size);
    for (unsigned n = 0; n < 8; ++n) std::memcpy(&all[image.size + n * 10], v.area + V::st + n * 16, 10);
    const Operand& m = *i.memory();
    Gva a = 0;
    if (!e.linear(i.code, static_cast<Seg>(m.segment), e.effective_address(i, m), image.size + 80,
                  Access::write, a) ||
        !e.store_bytes(a, all.data(), image.size + 80, m.segment))
        return false;
    init(v);
    return true;
}

bool restore(Exec& e, const Insn& i) {
    if (!x87_usable(e) || !x87_no_pending(e)) return false;
    const Operand& m = *i.memory();
    Image image;
    image.size = i.operand_bits == 16 ? 14 : 28;
    std::array<u8, 108> all{};
    Gva a = 0;
    if (!e.linear(i.code, static_cast<Seg>(m.segment), e.effective_address(i, m), image.size + 80,
                  Access::read, a) ||
        !e.load_bytes(a, all.data(), image.size + 80, m.segment))
        return false;
    V v(e.s);
    v.settle(V::x87_bit);
    std::memcpy(image.bytes.data(), all.data(), image.size);
    load_environment(e, i, v, image);
    for (unsigned n = 0; n < 8; ++n) {
        std::memset(v.area + V::st + n * 16, 0, 16);
        std::memcpy(v.area + V::st + n * 16, &all[image.size + n * 10], 10);
    }
    return true;
}

bool load_control(Exec& e, const Insn& i) {
    u16 w = 0;
    if (!x87_usable(e) || !x87_no_pending(e) || !e.read<u16>(i, *i.memory(), w)) return false;
    V v(e.s);
    v.settle(V::x87_bit);
    v.set_control(w);
    v.update_summary();
    return true;
}

bool store_status(Exec& e, const Insn& i) {
    return x87_usable(e) && e.write<u16>(i, i.op[0], V(e.s).status());
}

bool wait(Exec& e, const Insn&) {
    constexpr u64 both = x86::cr0::mp | x86::cr0::ts;
    if ((e.s.cr0 & both) == both) return e.raise(Fault::nm());
    return x87_no_pending(e);
}

}  // namespace

void register_x87_control(HandlerTable& t) {
    t.add(ZYDIS_MNEMONIC_FNINIT, [](Exec& e, const Insn&) {
        if (!x87_usable(e)) return false;
        V v(e.s);
        v.settle(V::x87_bit);
        init(v);
        return true;
    });
    t.add(ZYDIS_MNEMONIC_FNCLEX, [](Exec& e, const Insn&) {
        if (!x87_usable(e)) return false;
        V v(e.s);
        v.settle(V::x87_bit);
        v.set<u16>(V::fsw, v.get<u16>(V::fsw) & 0x7f00);
        return true;
    });
    t.add(ZYDIS_MNEMONIC_EMMS, [](Exec& e, const Insn&) {
        if (!mmx_usable(e)) return false;
        V v(e.s);
        v.settle(V::x87_bit);
        v.set_status(v.status() & static_cast<u16>(~0x3800));  // as every MMX instruction
        v.set<u8>(V::ftw, 0);
        return true;
    });
    // Of the 8087 and the 80287; NOPs since, and none of them waits.
    t.add({ZYDIS_MNEMONIC_FDISI8087_NOP, ZYDIS_MNEMONIC_FENI8087_NOP, ZYDIS_MNEMONIC_FSETPM287_NOP},
          [](Exec& e, const Insn&) { return x87_usable(e); });
    t.add(ZYDIS_MNEMONIC_FLDCW, load_control);
    t.add(ZYDIS_MNEMONIC_FNSTCW, [](Exec& e, const Insn& i) {
        return x87_usable(e) && e.write<u16>(i, *i.memory(), V(e.s).control());
    });
    t.add(ZYDIS_MNEMONIC_FNSTSW, store_status);
    t.add(ZYDIS_MNEMONIC_FNSTENV, store_environment);
    t.add(ZYDIS_MNEMONIC_FLDENV, load_environment_from);
    t.add(ZYDIS_MNEMONIC_FNSAVE, save);
    t.add(ZYDIS_MNEMONIC_FRSTOR, restore);
    t.add(ZYDIS_MNEMONIC_FWAIT, wait);
}

}  // namespace triune::hypervisor::soft::interp
