// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include <limits>

#include "hypervisor/soft/interp/alu_unsafe.h"
#include "hypervisor/soft/interp/handlers.h"

namespace triune::hypervisor::soft::interp {
namespace {

__extension__ using u128 = unsigned __int128;
__extension__ using i128 = __int128;
using x86::rax;
using x86::rdx;

/// High and low half of a double-width value in AX, DX:AX, EDX:EAX or RDX:RAX.
template <class T>
void set_pair(Exec& e, T low, T high) {
    if constexpr (sizeof(T) == 1) {
        e.set_gpr(rax, static_cast<u64>(low) | static_cast<u64>(high) << 8, 16);
    } else {
        e.set_gpr(rax, low, sizeof(T) * 8);
        e.set_gpr(rdx, high, sizeof(T) * 8);
    }
}
template <class T>
u128 pair(const Exec& e) {
    if constexpr (sizeof(T) == 1)
        return static_cast<u16>(e.s.gpr[rax]);
    else
        return static_cast<u128>(static_cast<T>(e.s.gpr[rdx])) << (sizeof(T) * 8) |
               static_cast<T>(e.s.gpr[rax]);
}

template <class T, class F>
bool multiply_wide(Exec& e, const Insn& i, F f) {
    T b, low, high;
    if (!e.read<T>(i, i.op[0], b)) return false;
    u32 flags = 0;
    f(static_cast<T>(e.s.gpr[rax]), b, low, high, flags);
    set_pair<T>(e, low, high);
    e.set_arithmetic(flags);
    return true;
}

template <class T>
bool imul(Exec& e, const Insn& i) {
    const bool one_operand = !(i.op[1].is_explicit && i.operand_count > 1);
    if (one_operand) return multiply_wide<T>(e, i, alu::imul_wide<T>);
    if constexpr (sizeof(T) == 1) {
        return e.ud();
    } else {
        // imul r, r/m  or  imul r, r/m, imm
        const bool three = i.operand_count > 2 && i.op[2].is_explicit;
        T a, b;
        if (!e.read<T>(i, i.op[1], a)) return false;
        b = three ? static_cast<T>(i.op[2].disp) : e.reg<T>(i.op[0]);
        u32 flags = 0;
        e.set_reg<T>(i.op[0], alu::imul<T>(a, b, flags));
        e.set_arithmetic(flags);
        return true;
    }
}

template <class T>
bool div(Exec& e, const Insn& i) {
    T b;
    if (!e.read<T>(i, i.op[0], b)) return false;
    if (!b) return e.raise(Fault::de());
    const u128 a = pair<T>(e);
    const u128 q = a / b;
    if (q > std::numeric_limits<T>::max()) return e.raise(Fault::de());
    set_pair<T>(e, static_cast<T>(q), static_cast<T>(a % b));
    return true;
}

template <class T>
bool idiv(Exec& e, const Insn& i) {
    using S = std::make_signed_t<T>;
    T raw;
    if (!e.read<T>(i, i.op[0], raw)) return false;
    const i128 b = static_cast<S>(raw);
    if (!b) return e.raise(Fault::de());
    constexpr unsigned unused = 128 - 2 * 8 * sizeof(T);
    const u128 unsigned_a = pair<T>(e);
    const i128 a = static_cast<i128>(unsigned_a << unused) >> unused;
    // The quotient -(-2^127) of a 128-bit dividend does not fit either; do not compute it.
    if (b == -1 && unsigned_a == u128{1} << 127) return e.raise(Fault::de());
    const i128 q = a / b;
    if (q > std::numeric_limits<S>::max() || q < std::numeric_limits<S>::min()) return e.raise(Fault::de());
    set_pair<T>(e, static_cast<T>(q), static_cast<T>(a % b));
    return true;
}

template <class T>
bool mulx(Exec& e, const Insn& i) {
    T b;
    if (!e.read<T>(i, i.op[2], b)) return false;
    const u128 p = static_cast<u128>(static_cast<T>(e.s.gpr[rdx])) * b;
    e.set_reg<T>(i.op[1], static_cast<T>(p));
    e.set_reg<T>(i.op[0], static_cast<T>(p >> (sizeof(T) * 8)));  // wins when both are the same register
    return true;
}

}  // namespace

void register_multiply(HandlerTable& t) {
    t.add_sized(ZYDIS_MNEMONIC_MUL,
                []<class T>(Exec& e, const Insn& i) { return multiply_wide<T>(e, i, alu::mul_wide<T>); });
    t.add_sized(ZYDIS_MNEMONIC_IMUL, []<class T>(Exec& e, const Insn& i) { return imul<T>(e, i); });
    t.add_sized(ZYDIS_MNEMONIC_DIV, []<class T>(Exec& e, const Insn& i) { return div<T>(e, i); });
    t.add_sized(ZYDIS_MNEMONIC_IDIV, []<class T>(Exec& e, const Insn& i) { return idiv<T>(e, i); });
    t.add_sized(ZYDIS_MNEMONIC_MULX, []<class T>(Exec& e, const Insn& i) { return mulx<T>(e, i); });
}

}  // namespace triune::hypervisor::soft::interp
