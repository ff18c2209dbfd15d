// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/interp/alu_unsafe.h"
#include "hypervisor/soft/interp/handlers.h"

namespace triune::hypervisor::soft::interp {
namespace {

namespace flag = x86::flag;

enum class BitOp { test, set, reset, complement };

/// BT, BTS, BTR, BTC. A register bit offset with a memory operand reaches beyond the operand: it
/// is signed and addresses a bit string (Intel SDM 2A BT).
template <class T, BitOp op>
bool bit_test(Exec& e, const Insn& i) {
    constexpr unsigned bits = sizeof(T) * 8;
    const Operand& d = i.op[0];
    const bool immediate = i.op[1].kind == OperandKind::imm;
    const T offset = immediate ? static_cast<T>(i.op[1].disp) : e.reg<T>(i.op[1]);
    const T mask = static_cast<T>(T{1} << (offset & (bits - 1)));
    bool was = false;
    const auto change = [&](T old, T& next) {
        was = old & mask;
        if constexpr (op == BitOp::set)
            next = old | mask;
        else if constexpr (op == BitOp::reset)
            next = old & static_cast<T>(~mask);
        else if constexpr (op == BitOp::complement)
            next = old ^ mask;
        else
            next = old;
    };
    if (d.kind == OperandKind::gpr) {
        T next;
        change(e.reg<T>(d), next);
        if constexpr (op != BitOp::test) e.set_reg<T>(d, next);
    } else {
        u64 address = e.effective_address(i, d);
        if (!immediate) {
            const i64 element =
                static_cast<i64>(static_cast<std::make_signed_t<T>>(offset)) >> std::countr_zero(bits);
            address = (address + static_cast<u64>(element) * sizeof(T)) & base::low_mask(i.address_bits);
        }
        Gva a = 0;
        const Access access = op == BitOp::test ? Access::read : Access::write;
        if (!e.linear(i.code, static_cast<Seg>(d.segment), address, sizeof(T), access, a)) return false;
        if constexpr (op == BitOp::test) {
            T v, unused;
            if (!e.load<T>(a, v, d.segment)) return false;
            change(v, unused);
        } else if (!e.modify_at<T>(a, d.segment, i.lock, change)) {
            return false;
        }
    }
    e.set_flags(flag::cf, was ? flag::cf : 0);
    return true;
}

/// BSF, BSR, POPCNT, LZCNT, TZCNT.
template <class T, class F>
bool scan(Exec& e, const Insn& i, F f) {
    T v;
    if (!e.read<T>(i, i.op[1], v)) return false;
    u32 flags = 0;
    e.s.gpr[i.op[0].reg] = f(e.s.gpr[i.op[0].reg], v, flags);
    e.set_arithmetic(flags);
    return true;
}

/// ANDN, PDEP, PEXT: r = op1 f op2, op2 may be memory; BEXTR, BZHI: op1 may be memory.
template <class T, class F>
bool bmi(Exec& e, const Insn& i, u64 changed, F f) {
    if constexpr (sizeof(T) < 4) {
        return e.ud();
    } else {
        T a, b;
        if (!e.read<T>(i, i.op[1], a) || !e.read<T>(i, i.op[2], b)) return false;
        u32 flags = 0;
        e.set_reg<T>(i.op[0], f(a, b, flags));
        e.set_flags(changed, flags);
        return true;
    }
}

template <class T, class F>
bool bls(Exec& e, const Insn& i, F f) {
    if constexpr (sizeof(T) < 4) {
        return e.ud();
    } else {
        T a;
        if (!e.read<T>(i, i.op[1], a)) return false;
        u32 flags = 0;
        e.set_reg<T>(i.op[0], f(a, flags));
        e.set_arithmetic(flags);
        return true;
    }
}

bool crc32(Exec& e, const Insn& i) {
    return with_width(i.op[1].bits, [&]<class T>() {
        T v;
        if (!e.read<T>(i, i.op[1], v)) return false;
        e.s.gpr[i.op[0].reg] = alu::crc32c<T>(static_cast<u32>(e.s.gpr[i.op[0].reg]), v);
        return true;
    });
}

template <class T>
bool random_value(Exec& e, const Insn& i, bool (*get)(u64&)) {
    u64 v = 0;
    const bool ok = get(v);
    e.set_reg<T>(i.op[0], ok ? static_cast<T>(v) : T{0});
    e.set_arithmetic(ok ? flag::cf : 0);
    return true;
}

}  // namespace

void register_bits(HandlerTable& t) {
    t.add_sized(ZYDIS_MNEMONIC_BT,
                []<class T>(Exec& e, const Insn& i) { return bit_test<T, BitOp::test>(e, i); });
    t.add_sized(ZYDIS_MNEMONIC_BTS,
                []<class T>(Exec& e, const Insn& i) { return bit_test<T, BitOp::set>(e, i); });
    t.add_sized(ZYDIS_MNEMONIC_BTR,
                []<class T>(Exec& e, const Insn& i) { return bit_test<T, BitOp::reset>(e, i); });
    t.add_sized(ZYDIS_MNEMONIC_BTC,
                []<class T>(Exec& e, const Insn& i) { return bit_test<T, BitOp::complement>(e, i); });
    t.add_sized(ZYDIS_MNEMONIC_BSF,
                []<class T>(Exec& e, const Insn& i) { return scan<T>(e, i, alu::bsf<T>); });
    t.add_sized(ZYDIS_MNEMONIC_BSR,
                []<class T>(Exec& e, const Insn& i) { return scan<T>(e, i, alu::bsr<T>); });
    t.add_sized(ZYDIS_MNEMONIC_POPCNT,
                []<class T>(Exec& e, const Insn& i) { return scan<T>(e, i, alu::popcnt<T>); });
    t.add_sized(ZYDIS_MNEMONIC_LZCNT,
                []<class T>(Exec& e, const Insn& i) { return scan<T>(e, i, alu::lzcnt<T>); });
    t.add_sized(ZYDIS_MNEMONIC_TZCNT,
                []<class T>(Exec& e, const Insn& i) { return scan<T>(e, i, alu::tzcnt<T>); });
    t.add_sized(ZYDIS_MNEMONIC_ANDN,
                []<class T>(Exec& e, const Insn& i) { return bmi<T>(e, i, flag::arithmetic, alu::andn<T>); });
    t.add_sized(ZYDIS_MNEMONIC_BEXTR, []<class T>(Exec& e, const Insn& i) {
        return bmi<T>(e, i, flag::arithmetic, alu::bextr<T>);
    });
    t.add_sized(ZYDIS_MNEMONIC_BZHI,
                []<class T>(Exec& e, const Insn& i) { return bmi<T>(e, i, flag::arithmetic, alu::bzhi<T>); });
    t.add_sized(ZYDIS_MNEMONIC_PDEP,
                []<class T>(Exec& e, const Insn& i) { return bmi<T>(e, i, 0, alu::pdep<T>); });
    t.add_sized(ZYDIS_MNEMONIC_PEXT,
                []<class T>(Exec& e, const Insn& i) { return bmi<T>(e, i, 0, alu::pext<T>); });
    t.add_sized(ZYDIS_MNEMONIC_BLSI,
                []<class T>(Exec& e, const Insn& i) { return bls<T>(e, i, alu::blsi<T>); });
    t.add_sized(ZYDIS_MNEMONIC_BLSR,
                []<class T>(Exec& e, const Insn& i) { return bls<T>(e, i, alu::blsr<T>); });
    t.add_sized(ZYDIS_MNEMONIC_BLSMSK,
                []<class T>(Exec& e, const Insn& i) { return bls<T>(e, i, alu::blsmsk<T>); });
    t.add(ZYDIS_MNEMONIC_CRC32, crc32);
    t.add_sized(ZYDIS_MNEMONIC_RDRAND,
                []<class T>(Exec& e, const Insn& i) { return random_value<T>(e, i, alu::rdrand); });
    t.add_sized(ZYDIS_MNEMONIC_RDSEED,
                []<class T>(Exec& e, const Insn& i) { return random_value<T>(e, i, alu::rdseed); });
}

}  // namespace triune::hypervisor::soft::interp
