// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include <utility>

#include "hypervisor/soft/interp/handlers.h"

namespace triune::hypervisor::soft::interp {
namespace {

namespace flag = x86::flag;
using x86::rcx;
using x86::rsp;

/// Width of a near branch target: always 64 in 64-bit mode (Intel ignores the 66 prefix there;
/// compilers do not emit it).
unsigned branch_bits(const Insn& i) { return i.code == CodeSize::bits64 ? 64 : i.operand_bits; }

/// Target of a relative branch, truncated to the operand size.
u64 relative_target(const Exec& e, const Insn& i) {
    return (e.next_rip + static_cast<u64>(i.op[0].disp)) & base::low_mask(branch_bits(i));
}

bool read_near_target(Exec& e, const Insn& i, u64& target) {
    const Operand& o = i.op[0];
    if (o.kind == OperandKind::imm) {
        target = relative_target(e, i);
        return true;
    }
    return with_width(branch_bits(i), [&]<class T>() {
        T v;
        if (!e.read<T>(i, o, v)) return false;
        target = v;
        return true;
    });
}

/// Far pointer in memory or in the instruction.
bool read_far_target(Exec& e, const Insn& i, u16& selector, u64& offset) {
    const Operand& o = i.op[0];
    if (o.kind == OperandKind::far_ptr) {
        selector = o.far_selector;
        offset = static_cast<u64>(o.disp) & base::low_mask(i.operand_bits);
        return true;
    }
    const unsigned bytes = i.operand_bits / 8;
    Gva a = 0;
    u64 s = 0;
    if (!e.address(i, o, bytes + 2, Access::read, a) || !e.load_sized(a, offset, bytes, o.segment) ||
        !e.load_sized(a + bytes, s, 2, o.segment))
        return false;
    selector = static_cast<u16>(s);
    return true;
}

/// FF /3, FF /5, 9A, EA.
bool is_far(const Insn& i) {
    if (i.op[0].kind == OperandKind::far_ptr) return true;
    const unsigned sub = (i.modrm >> 3) & 7;
    return i.opcode == 0xff && (sub == 3 || sub == 5);
}

bool jmp(Exec& e, const Insn& i) {
    if (is_far(i)) {
        u16 selector = 0;
        u64 offset = 0;
        return read_far_target(e, i, selector, offset) &&
               e.transferred(e.sys.far_jump(selector, offset, i.operand_bits, e.next_rip));
    }
    u64 target = 0;
    return read_near_target(e, i, target) && e.jump(i, target);
}

bool call(Exec& e, const Insn& i) {
    if (is_far(i)) {
        u16 selector = 0;
        u64 offset = 0;
        return read_far_target(e, i, selector, offset) &&
               e.transferred(e.sys.far_call(selector, offset, i.operand_bits, e.next_rip));
    }
    u64 target = 0;
    const u64 back = e.next_rip;
    if (!read_near_target(e, i, target) || !e.reachable(i, target)) return false;
    if (i.code == CodeSize::bits64) {
        const Gva a = e.s.gpr[rsp] - 8;
        if (e.flag(flag::ac) && !e.check_alignment(a, 8)) return false;
        if (!e.store<u64>(a, back, x86::ss)) return false;
        e.s.gpr[rsp] = a;
    } else if (!e.take(e.sys.push(back, i.operand_bits))) {
        return false;
    }
    e.next_rip = target;
    return true;
}

bool ret(Exec& e, const Insn& i) {
    const u16 extra = i.op[0].kind == OperandKind::imm ? static_cast<u16>(i.op[0].disp) : u16{0};
    if (i.opcode == 0xca || i.opcode == 0xcb) return e.transferred(e.sys.far_return(i.operand_bits, extra));
    if (i.code == CodeSize::bits64) {
        u64 target;
        if (e.flag(flag::ac) && !e.check_alignment(e.s.gpr[rsp], 8)) return false;
        if (!e.load<u64>(e.s.gpr[rsp], target, x86::ss) || !e.jump(i, target)) return false;
        e.s.gpr[rsp] += 8u + extra;
        return true;
    }
    const u64 old_rsp = e.s.gpr[rsp];
    u64 target = 0;
    if (!e.take(e.sys.pop(i.operand_bits), target)) return false;
    if (!e.jump(i, target)) {
        e.s.gpr[rsp] = old_rsp;
        return false;
    }
    e.set_gpr(rsp, e.s.gpr[rsp] + extra, e.sys.stack_bits());
    return true;
}

template <unsigned cc>
bool jcc(Exec& e, const Insn& i) {
    if (!e.condition(cc)) return true;
    return e.jump(i, relative_target(e, i));
}

bool jrcxz(Exec& e, const Insn& i) {
    return e.gpr(rcx, i.address_bits) ? true : e.jump(i, relative_target(e, i));
}

/// LOOP, LOOPE, LOOPNE: the count is as wide as an address.
template <int zf>
bool loop(Exec& e, const Insn& i) {
    const u64 count = (e.s.gpr[rcx] - 1) & base::low_mask(i.address_bits);
    const bool taken = count && (zf < 0 || e.flag(flag::zf) == (zf == 1));
    if (taken && !e.jump(i, relative_target(e, i))) return false;
    e.set_gpr(rcx, count, i.address_bits);
    return true;
}

bool software_interrupt(Exec& e, u8 vector, system::System::EventKind kind) {
    if (!e.transferred(e.sys.software_interrupt(vector, kind, e.next_rip))) return false;
    e.no_trap = true;
    return true;
}

bool bound(Exec& e, const Insn& i) {
    return with_width(i.operand_bits, [&]<class T>() {
        using S = std::make_signed_t<T>;
        Gva a = 0;
        T low, high;
        const Operand& m = i.op[1];
        if (!e.address(i, m, 2 * sizeof(T), Access::read, a) || !e.load<T>(a, low, m.segment) ||
            !e.load<T>(a + sizeof(T), high, m.segment))
            return false;
        const S index = static_cast<S>(e.reg<T>(i.op[0]));
        if (index < static_cast<S>(low) || index > static_cast<S>(high))
            return e.raise({x86::vec::br, false, 0, 0});
        return true;
    });
}

}  // namespace

void register_control(HandlerTable& t) {
    t.add(ZYDIS_MNEMONIC_JMP, jmp);
    t.add(ZYDIS_MNEMONIC_CALL, call);
    t.add(ZYDIS_MNEMONIC_RET, ret);
    t.add(ZYDIS_MNEMONIC_JO, jcc<0>);
    t.add(ZYDIS_MNEMONIC_JNO, jcc<1>);
    t.add(ZYDIS_MNEMONIC_JB, jcc<2>);
    t.add(ZYDIS_MNEMONIC_JNB, jcc<3>);
    t.add(ZYDIS_MNEMONIC_JZ, jcc<4>);
    t.add(ZYDIS_MNEMONIC_JNZ, jcc<5>);
    t.add(ZYDIS_MNEMONIC_JBE, jcc<6>);
    t.add(ZYDIS_MNEMONIC_JNBE, jcc<7>);
    t.add(ZYDIS_MNEMONIC_JS, jcc<8>);
    t.add(ZYDIS_MNEMONIC_JNS, jcc<9>);
    t.add(ZYDIS_MNEMONIC_JP, jcc<10>);
    t.add(ZYDIS_MNEMONIC_JNP, jcc<11>);
    t.add(ZYDIS_MNEMONIC_JL, jcc<12>);
    t.add(ZYDIS_MNEMONIC_JNL, jcc<13>);
    t.add(ZYDIS_MNEMONIC_JLE, jcc<14>);
    t.add(ZYDIS_MNEMONIC_JNLE, jcc<15>);
    t.add({ZYDIS_MNEMONIC_JCXZ, ZYDIS_MNEMONIC_JECXZ, ZYDIS_MNEMONIC_JRCXZ}, jrcxz);
    t.add(ZYDIS_MNEMONIC_LOOP, loop<-1>);
    t.add(ZYDIS_MNEMONIC_LOOPE, loop<1>);
    t.add(ZYDIS_MNEMONIC_LOOPNE, loop<0>);
    t.add(ZYDIS_MNEMONIC_INT, [](Exec& e, const Insn& i) {
        return software_interrupt(e, static_cast<u8>(i.op[0].disp), system::System::EventKind::software_int);
    });
    t.add(ZYDIS_MNEMONIC_INT3, [](Exec& e, const Insn&) {
        return software_interrupt(e, x86::vec::bp, system::System::EventKind::software_bp_of);
    });
    t.add(ZYDIS_MNEMONIC_INT1, [](Exec& e, const Insn&) {
        if (!software_interrupt(e, x86::vec::db, system::System::EventKind::icebp)) return false;
        // It is a #DB: what MOV SS has put off comes with it, and not once more in the handler.
        e.s.dr[6] |= std::exchange(e.s.pending_debug, 0u);
        return true;
    });
    t.add(ZYDIS_MNEMONIC_INTO, [](Exec& e, const Insn&) {
        return e.flag(flag::of)
                   ? software_interrupt(e, x86::vec::of, system::System::EventKind::software_bp_of)
                   : true;
    });
    t.add({ZYDIS_MNEMONIC_IRET, ZYDIS_MNEMONIC_IRETD, ZYDIS_MNEMONIC_IRETQ}, [](Exec& e, const Insn& i) {
        e.keep_rf = true;
        return e.transferred(e.sys.iret(i.operand_bits, e.next_rip));
    });
    t.add(ZYDIS_MNEMONIC_SYSCALL, [](Exec& e, const Insn&) {
        e.no_trap = true;
        return e.transferred(e.sys.syscall(e.next_rip));
    });
    t.add(ZYDIS_MNEMONIC_SYSRET, [](Exec& e, const Insn& i) {
        e.keep_rf = e.no_trap = true;
        return e.transferred(e.sys.sysret(i.operand_bits));
    });
    t.add(ZYDIS_MNEMONIC_SYSENTER, [](Exec& e, const Insn&) { return e.transferred(e.sys.sysenter()); });
    t.add(ZYDIS_MNEMONIC_SYSEXIT,
          [](Exec& e, const Insn& i) { return e.transferred(e.sys.sysexit(i.operand_bits)); });
    t.add(ZYDIS_MNEMONIC_BOUND, bound);
    t.add({ZYDIS_MNEMONIC_UD0, ZYDIS_MNEMONIC_UD1, ZYDIS_MNEMONIC_UD2},
          [](Exec& e, const Insn&) { return e.ud(); });
}

}  // namespace triune::hypervisor::soft::interp
