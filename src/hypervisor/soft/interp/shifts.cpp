// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/interp/alu_unsafe.h"
#include "hypervisor/soft/interp/handlers.h"

namespace triune::hypervisor::soft::interp {
namespace {

namespace flag = x86::flag;
inline constexpr u64 rotate_flags = flag::cf | flag::of;

/// Count of a shift: masked to 5 bits, 6 with 64-bit operands (Intel SDM 2B SAL/SAR/SHL/SHR).
template <class T>
u8 masked_count(Exec& e, const Operand& o) {
    const u64 v = o.kind == OperandKind::imm ? static_cast<u64>(o.disp) : e.s.gpr[x86::rcx];
    return static_cast<u8>(v & (sizeof(T) == 8 ? 63 : 31));
}

template <class T, class F>
bool shift(Exec& e, const Insn& i, u64 changed, F f) {
    const Operand& d = i.op[0];
    const u8 count = masked_count<T>(e, i.op[1]);
    const u32 carry = static_cast<u32>(e.s.rflags & flag::cf);
    u32 flags = 0;
    const auto change = [&](T old, T& next) { next = count ? f(old, count, flags, carry) : old; };
    if (d.kind == OperandKind::gpr) {
        T next;
        change(e.reg<T>(d), next);
        e.set_reg<T>(d, next);
    } else if (!e.modify<T>(i, d, false, change)) {
        return false;
    }
    if (count) e.set_flags(changed, flags);
    return true;
}

template <class T, class F>
bool double_shift(Exec& e, const Insn& i, F f) {
    const Operand& d = i.op[0];
    const u8 count = masked_count<T>(e, i.op[2]);
    const T b = e.reg<T>(i.op[1]);
    u32 flags = 0;
    const auto change = [&](T old, T& next) { next = count ? f(old, b, count, flags) : old; };
    if (d.kind == OperandKind::gpr) {
        T next;
        change(e.reg<T>(d), next);
        e.set_reg<T>(d, next);
    } else if (!e.modify<T>(i, d, false, change)) {
        return false;
    }
    if (count) e.set_arithmetic(flags);
    return true;
}

/// SHLX, SHRX, SARX and RORX change no flags.
template <class T, class F>
bool shift_x(Exec& e, const Insn& i, F f) {
    T a;
    if (!e.read<T>(i, i.op[1], a)) return false;
    const u64 count =
        i.op[2].kind == OperandKind::imm ? static_cast<u64>(i.op[2].disp) : e.s.gpr[i.op[2].reg];
    e.set_reg<T>(i.op[0], f(a, static_cast<unsigned>(count & (sizeof(T) * 8 - 1))));
    return true;
}

}  // namespace

void register_shifts(HandlerTable& t) {
    t.add_sized(ZYDIS_MNEMONIC_SHL, []<class T>(Exec& e, const Insn& i) {
        return shift<T>(e, i, flag::arithmetic, alu::shl<T>);
    });
    t.add_sized(ZYDIS_MNEMONIC_SHR, []<class T>(Exec& e, const Insn& i) {
        return shift<T>(e, i, flag::arithmetic, alu::shr<T>);
    });
    t.add_sized(ZYDIS_MNEMONIC_SAR, []<class T>(Exec& e, const Insn& i) {
        return shift<T>(e, i, flag::arithmetic, alu::sar<T>);
    });
    t.add_sized(ZYDIS_MNEMONIC_ROL,
                []<class T>(Exec& e, const Insn& i) { return shift<T>(e, i, rotate_flags, alu::rol<T>); });
    t.add_sized(ZYDIS_MNEMONIC_ROR,
                []<class T>(Exec& e, const Insn& i) { return shift<T>(e, i, rotate_flags, alu::ror<T>); });
    t.add_sized(ZYDIS_MNEMONIC_RCL,
                []<class T>(Exec& e, const Insn& i) { return shift<T>(e, i, rotate_flags, alu::rcl<T>); });
    t.add_sized(ZYDIS_MNEMONIC_RCR,
                []<class T>(Exec& e, const Insn& i) { return shift<T>(e, i, rotate_flags, alu::rcr<T>); });
    t.add_sized(ZYDIS_MNEMONIC_SHLD, []<class T>(Exec& e, const Insn& i) {
        if constexpr (sizeof(T) == 1)
            return e.ud();
        else
            return double_shift<T>(e, i, alu::shld<T>);
    });
    t.add_sized(ZYDIS_MNEMONIC_SHRD, []<class T>(Exec& e, const Insn& i) {
        if constexpr (sizeof(T) == 1)
            return e.ud();
        else
            return double_shift<T>(e, i, alu::shrd<T>);
    });
    t.add_sized(ZYDIS_MNEMONIC_SHLX, []<class T>(Exec& e, const Insn& i) {
        return shift_x<T>(e, i, [](T a, unsigned n) { return static_cast<T>(a << n); });
    });
    t.add_sized(ZYDIS_MNEMONIC_SHRX, []<class T>(Exec& e, const Insn& i) {
        return shift_x<T>(e, i, [](T a, unsigned n) { return static_cast<T>(a >> n); });
    });
    t.add_sized(ZYDIS_MNEMONIC_SARX, []<class T>(Exec& e, const Insn& i) {
        return shift_x<T>(
            e, i, [](T a, unsigned n) { return static_cast<T>(static_cast<std::make_signed_t<T>>(a) >> n); });
    });
    t.add_sized(ZYDIS_MNEMONIC_RORX, []<class T>(Exec& e, const Insn& i) {
        return shift_x<T>(e, i, [](T a, unsigned n) { return std::rotr(a, static_cast<int>(n)); });
    });
}

}  // namespace triune::hypervisor::soft::interp
