// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/interp/alu_unsafe.h"
#include "hypervisor/soft/interp/handlers.h"

namespace triune::hypervisor::soft::interp {
namespace {

namespace flag = x86::flag;

/// op0 = f(op0, op1, flags) for ADD, OR, AND, SUB, XOR (and ADC, SBB with the carry bound in f).
template <class T, class F>
bool binary(Exec& e, const Insn& i, F f) {
    const Operand& d = i.op[0];
    T b;
    if (!e.read<T>(i, i.op[1], b)) return false;
    u32 flags = 0;
    if (d.kind == OperandKind::gpr) {
        e.set_reg<T>(d, f(e.reg<T>(d), b, flags));
    } else if (!e.modify<T>(i, d, i.lock, [&](T old, T& next) { next = f(old, b, flags); })) {
        return false;
    }
    e.set_arithmetic(flags);
    return true;
}

template <class T, class F>
bool compare(Exec& e, const Insn& i, F f) {
    T a, b;
    if (!e.read<T>(i, i.op[0], a) || !e.read<T>(i, i.op[1], b)) return false;
    u32 flags = 0;
    f(a, b, flags);
    e.set_arithmetic(flags);
    return true;
}

template <class T, class F>
bool unary(Exec& e, const Insn& i, u64 changed, F f) {
    const Operand& d = i.op[0];
    u32 flags = 0;
    if (d.kind == OperandKind::gpr) {
        e.set_reg<T>(d, f(e.reg<T>(d), flags));
    } else if (!e.modify<T>(i, d, i.lock, [&](T old, T& next) { next = f(old, flags); })) {
        return false;
    }
    e.set_flags(changed, flags);
    return true;
}

u32 carry(const Exec& e) { return static_cast<u32>(e.s.rflags & flag::cf); }

/// ADCX and ADOX: add with one flag as the carry, leaving the others.
template <class T>
bool add_with(Exec& e, const Insn& i, u64 which) {
    T b;
    if (!e.read<T>(i, i.op[1], b)) return false;
    u32 flags = 0;
    e.set_reg<T>(i.op[0], alu::adc<T>(e.reg<T>(i.op[0]), b, flags, e.flag(which)));
    e.set_flags(which, (flags & flag::cf) ? which : 0);
    return true;
}

}  // namespace

void register_alu(HandlerTable& t) {
    t.add_sized(ZYDIS_MNEMONIC_ADD,
                []<class T>(Exec& e, const Insn& i) { return binary<T>(e, i, alu::add<T>); });
    t.add_sized(ZYDIS_MNEMONIC_SUB,
                []<class T>(Exec& e, const Insn& i) { return binary<T>(e, i, alu::sub<T>); });
    t.add_sized(ZYDIS_MNEMONIC_AND,
                []<class T>(Exec& e, const Insn& i) { return binary<T>(e, i, alu::and_<T>); });
    t.add_sized(ZYDIS_MNEMONIC_OR,
                []<class T>(Exec& e, const Insn& i) { return binary<T>(e, i, alu::or_<T>); });
    t.add_sized(ZYDIS_MNEMONIC_XOR,
                []<class T>(Exec& e, const Insn& i) { return binary<T>(e, i, alu::xor_<T>); });
    t.add_sized(ZYDIS_MNEMONIC_ADC, []<class T>(Exec& e, const Insn& i) {
        return binary<T>(e, i, [c = carry(e)](T a, T b, u32& f) { return alu::adc<T>(a, b, f, c); });
    });
    t.add_sized(ZYDIS_MNEMONIC_SBB, []<class T>(Exec& e, const Insn& i) {
        return binary<T>(e, i, [c = carry(e)](T a, T b, u32& f) { return alu::sbb<T>(a, b, f, c); });
    });
    t.add_sized(ZYDIS_MNEMONIC_CMP,
                []<class T>(Exec& e, const Insn& i) { return compare<T>(e, i, alu::sub<T>); });
    t.add_sized(ZYDIS_MNEMONIC_TEST,
                []<class T>(Exec& e, const Insn& i) { return compare<T>(e, i, alu::and_<T>); });
    t.add_sized(ZYDIS_MNEMONIC_INC, []<class T>(Exec& e, const Insn& i) {
        return unary<T>(e, i, flag::arithmetic & ~flag::cf, alu::inc<T>);
    });
    t.add_sized(ZYDIS_MNEMONIC_DEC, []<class T>(Exec& e, const Insn& i) {
        return unary<T>(e, i, flag::arithmetic & ~flag::cf, alu::dec<T>);
    });
    t.add_sized(ZYDIS_MNEMONIC_NEG, []<class T>(Exec& e, const Insn& i) {
        return unary<T>(e, i, flag::arithmetic, alu::neg<T>);
    });
    t.add_sized(ZYDIS_MNEMONIC_NOT, []<class T>(Exec& e, const Insn& i) {
        return unary<T>(e, i, 0, [](T v, u32&) { return static_cast<T>(~v); });
    });
    t.add_sized(ZYDIS_MNEMONIC_ADCX,
                []<class T>(Exec& e, const Insn& i) { return add_with<T>(e, i, flag::cf); });
    t.add_sized(ZYDIS_MNEMONIC_ADOX,
                []<class T>(Exec& e, const Insn& i) { return add_with<T>(e, i, flag::of); });
    t.add(ZYDIS_MNEMONIC_CLC, [](Exec& e, const Insn&) { return e.s.rflags &= ~flag::cf, true; });
    t.add(ZYDIS_MNEMONIC_STC, [](Exec& e, const Insn&) { return e.s.rflags |= flag::cf, true; });
    t.add(ZYDIS_MNEMONIC_CMC, [](Exec& e, const Insn&) { return e.s.rflags ^= flag::cf, true; });
    t.add(ZYDIS_MNEMONIC_CLD, [](Exec& e, const Insn&) { return e.s.rflags &= ~flag::df, true; });
    t.add(ZYDIS_MNEMONIC_STD, [](Exec& e, const Insn&) { return e.s.rflags |= flag::df, true; });
}

}  // namespace triune::hypervisor::soft::interp
