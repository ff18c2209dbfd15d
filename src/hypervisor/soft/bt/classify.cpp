// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/bt/classify.h"

#include "x86/vcpu_state.h"

namespace triune::hypervisor::soft::bt {
namespace {

/// Vector and x87 instructions that reach more state or memory than their ModRM operand says, or
/// leak host addresses.
bool vector_declined(const x86::Insn& i) {
    switch (i.mnemonic) {
        case ZYDIS_MNEMONIC_FXSAVE:
        case ZYDIS_MNEMONIC_FXSAVE64:
        case ZYDIS_MNEMONIC_FXRSTOR:
        case ZYDIS_MNEMONIC_FXRSTOR64:
        case ZYDIS_MNEMONIC_XSAVE:
        case ZYDIS_MNEMONIC_XSAVE64:
        case ZYDIS_MNEMONIC_XSAVEOPT:
        case ZYDIS_MNEMONIC_XSAVEOPT64:
        case ZYDIS_MNEMONIC_XSAVEC:
        case ZYDIS_MNEMONIC_XSAVEC64:
        case ZYDIS_MNEMONIC_XSAVES:
        case ZYDIS_MNEMONIC_XSAVES64:
        case ZYDIS_MNEMONIC_XRSTOR:
        case ZYDIS_MNEMONIC_XRSTOR64:
        case ZYDIS_MNEMONIC_XRSTORS:
        case ZYDIS_MNEMONIC_XRSTORS64:
        case ZYDIS_MNEMONIC_FNSTENV:
        case ZYDIS_MNEMONIC_FLDENV:
        case ZYDIS_MNEMONIC_FNSAVE:
        case ZYDIS_MNEMONIC_FRSTOR:
        case ZYDIS_MNEMONIC_MASKMOVQ:
        case ZYDIS_MNEMONIC_MASKMOVDQU:
        case ZYDIS_MNEMONIC_VMASKMOVDQU:
        case ZYDIS_MNEMONIC_VMASKMOVPS:
        case ZYDIS_MNEMONIC_VMASKMOVPD:
        case ZYDIS_MNEMONIC_VPMASKMOVD:
        case ZYDIS_MNEMONIC_VPMASKMOVQ: return true;
        default: break;
    }
    for (u8 n = 0; n < i.operand_count; ++n)
        if (i.op[n].vsib) return true;
    return false;
}

/// Integer instructions whose whole effect is on registers, flags and their ModRM operand.
bool copied(ZydisMnemonic m) {
    switch (m) {
        case ZYDIS_MNEMONIC_MOV:
        case ZYDIS_MNEMONIC_MOVZX:
        case ZYDIS_MNEMONIC_MOVSX:
        case ZYDIS_MNEMONIC_MOVSXD:
        case ZYDIS_MNEMONIC_ADD:
        case ZYDIS_MNEMONIC_SUB:
        case ZYDIS_MNEMONIC_ADC:
        case ZYDIS_MNEMONIC_SBB:
        case ZYDIS_MNEMONIC_AND:
        case ZYDIS_MNEMONIC_OR:
        case ZYDIS_MNEMONIC_XOR:
        case ZYDIS_MNEMONIC_CMP:
        case ZYDIS_MNEMONIC_TEST:
        case ZYDIS_MNEMONIC_INC:
        case ZYDIS_MNEMONIC_DEC:
        case ZYDIS_MNEMONIC_NEG:
        case ZYDIS_MNEMONIC_NOT:
        case ZYDIS_MNEMONIC_IMUL:
        case ZYDIS_MNEMONIC_MUL:
        case ZYDIS_MNEMONIC_DIV:
        case ZYDIS_MNEMONIC_IDIV:
        case ZYDIS_MNEMONIC_SHL:
        case ZYDIS_MNEMONIC_SHR:
        case ZYDIS_MNEMONIC_SAR:
        case ZYDIS_MNEMONIC_ROL:
        case ZYDIS_MNEMONIC_ROR:
        case ZYDIS_MNEMONIC_RCL:
        case ZYDIS_MNEMONIC_RCR:
        case ZYDIS_MNEMONIC_SHLD:
        case ZYDIS_MNEMONIC_SHRD:
        case ZYDIS_MNEMONIC_BSF:
        case ZYDIS_MNEMONIC_BSR:
        case ZYDIS_MNEMONIC_BT:
        case ZYDIS_MNEMONIC_BTS:
        case ZYDIS_MNEMONIC_BTR:
        case ZYDIS_MNEMONIC_BTC:
        case ZYDIS_MNEMONIC_BSWAP:
        case ZYDIS_MNEMONIC_CMPXCHG:
        case ZYDIS_MNEMONIC_CMPXCHG8B:
        case ZYDIS_MNEMONIC_CMPXCHG16B:
        case ZYDIS_MNEMONIC_XADD:
        case ZYDIS_MNEMONIC_XCHG:
        case ZYDIS_MNEMONIC_CBW:
        case ZYDIS_MNEMONIC_CWDE:
        case ZYDIS_MNEMONIC_CDQE:
        case ZYDIS_MNEMONIC_CWD:
        case ZYDIS_MNEMONIC_CDQ:
        case ZYDIS_MNEMONIC_CQO:
        case ZYDIS_MNEMONIC_LAHF:
        case ZYDIS_MNEMONIC_SAHF:
        case ZYDIS_MNEMONIC_CLC:
        case ZYDIS_MNEMONIC_STC:
        case ZYDIS_MNEMONIC_CMC:
        case ZYDIS_MNEMONIC_MOVBE:
        case ZYDIS_MNEMONIC_POPCNT:
        case ZYDIS_MNEMONIC_LZCNT:
        case ZYDIS_MNEMONIC_TZCNT:
        case ZYDIS_MNEMONIC_ANDN:
        case ZYDIS_MNEMONIC_BEXTR:
        case ZYDIS_MNEMONIC_BLSI:
        case ZYDIS_MNEMONIC_BLSMSK:
        case ZYDIS_MNEMONIC_BLSR:
        case ZYDIS_MNEMONIC_BZHI:
        case ZYDIS_MNEMONIC_PDEP:
        case ZYDIS_MNEMONIC_PEXT:
        case ZYDIS_MNEMONIC_MULX:
        case ZYDIS_MNEMONIC_RORX:
        case ZYDIS_MNEMONIC_SARX:
        case ZYDIS_MNEMONIC_SHLX:
        case ZYDIS_MNEMONIC_SHRX:
        case ZYDIS_MNEMONIC_ADCX:
        case ZYDIS_MNEMONIC_ADOX:
        case ZYDIS_MNEMONIC_CRC32:
        case ZYDIS_MNEMONIC_RDRAND:
        case ZYDIS_MNEMONIC_RDSEED:
        case ZYDIS_MNEMONIC_MOVNTI:
        case ZYDIS_MNEMONIC_MFENCE:
        case ZYDIS_MNEMONIC_LFENCE:
        case ZYDIS_MNEMONIC_SFENCE:
        case ZYDIS_MNEMONIC_PAUSE:
        case ZYDIS_MNEMONIC_CMOVB:
        case ZYDIS_MNEMONIC_CMOVBE:
        case ZYDIS_MNEMONIC_CMOVL:
        case ZYDIS_MNEMONIC_CMOVLE:
        case ZYDIS_MNEMONIC_CMOVNB:
        case ZYDIS_MNEMONIC_CMOVNBE:
        case ZYDIS_MNEMONIC_CMOVNL:
        case ZYDIS_MNEMONIC_CMOVNLE:
        case ZYDIS_MNEMONIC_CMOVNO:
        case ZYDIS_MNEMONIC_CMOVNP:
        case ZYDIS_MNEMONIC_CMOVNS:
        case ZYDIS_MNEMONIC_CMOVNZ:
        case ZYDIS_MNEMONIC_CMOVO:
        case ZYDIS_MNEMONIC_CMOVP:
        case ZYDIS_MNEMONIC_CMOVS:
        case ZYDIS_MNEMONIC_CMOVZ:
        case ZYDIS_MNEMONIC_SETB:
        case ZYDIS_MNEMONIC_SETBE:
        case ZYDIS_MNEMONIC_SETL:
        case ZYDIS_MNEMONIC_SETLE:
        case ZYDIS_MNEMONIC_SETNB:
        case ZYDIS_MNEMONIC_SETNBE:
        case ZYDIS_MNEMONIC_SETNL:
        case ZYDIS_MNEMONIC_SETNLE:
        case ZYDIS_MNEMONIC_SETNO:
        case ZYDIS_MNEMONIC_SETNP:
        case ZYDIS_MNEMONIC_SETNS:
        case ZYDIS_MNEMONIC_SETNZ:
        case ZYDIS_MNEMONIC_SETO:
        case ZYDIS_MNEMONIC_SETP:
        case ZYDIS_MNEMONIC_SETS:
        case ZYDIS_MNEMONIC_SETZ: return true;
        default: return false;
    }
}

bool skipped(ZydisMnemonic m) {
    switch (m) {
        case ZYDIS_MNEMONIC_NOP:
        case ZYDIS_MNEMONIC_ENDBR64:
        case ZYDIS_MNEMONIC_ENDBR32:
        case ZYDIS_MNEMONIC_PREFETCH:
        case ZYDIS_MNEMONIC_PREFETCHNTA:
        case ZYDIS_MNEMONIC_PREFETCHT0:
        case ZYDIS_MNEMONIC_PREFETCHT1:
        case ZYDIS_MNEMONIC_PREFETCHT2:
        case ZYDIS_MNEMONIC_PREFETCHW:
        case ZYDIS_MNEMONIC_PREFETCHWT1: return true;
        default: return false;
    }
}

/// Operands of the general copier: GPRs that ModRM, VEX.vvvv or the opcode name, at most one memory
/// operand through ModRM, and implicit registers that live in their own host registers.
bool operands_copyable(const x86::Insn& i) {
    unsigned memory_operands = 0;
    bool high8 = false, rsp = false;
    for (u8 n = 0; n < i.operand_count; ++n) {
        const x86::Operand& o = i.op[n];
        if (o.kind == x86::OperandKind::gpr && o.is_explicit) {
            high8 |= o.high8;
            rsp |= o.reg == x86::rsp && !o.high8;
        }
        switch (o.kind) {
            case x86::OperandKind::segment:
            case x86::OperandKind::control:
            case x86::OperandKind::debug:
            case x86::OperandKind::far_ptr: return false;
            case x86::OperandKind::mem:
                if (o.agen || !o.is_explicit || !i.has_modrm) return false;
                if (o.bits == 0 || o.bits > 256) return false;
                ++memory_operands;
                break;
            default: break;
        }
    }
    // AH to BH cannot be named beside the register that stands for RSP, which needs a REX prefix.
    return memory_operands <= 1 && !(high8 && rsp);
}

/// FF /2 and /4; the far forms have a pointer of another size behind another ModRM.reg.
bool is_near_indirect(const x86::Insn& i) {
    if (i.op[0].kind != x86::OperandKind::gpr && i.op[0].kind != x86::OperandKind::mem) return false;
    if (i.code == x86::CodeSize::bits64) return i.op[0].bits == 64;
    const unsigned sub = (i.modrm >> 3) & 7;
    return sub == 2 || sub == 4;
}

Treatment branch(const x86::Insn& i) {
    const bool relative = i.op[0].kind == x86::OperandKind::imm && i.op[0].immediate_is_relative;
    const bool near_indirect = is_near_indirect(i);
    switch (i.mnemonic) {
        case ZYDIS_MNEMONIC_JMP:
            return relative ? Treatment::jump : near_indirect ? Treatment::jump_indirect : Treatment::decline;
        case ZYDIS_MNEMONIC_CALL:
            return relative ? Treatment::call : near_indirect ? Treatment::call_indirect : Treatment::decline;
        case ZYDIS_MNEMONIC_RET:
            return i.opcode == 0xc3 || i.opcode == 0xc2 ? Treatment::ret : Treatment::decline;
        case ZYDIS_MNEMONIC_JRCXZ:
        case ZYDIS_MNEMONIC_JECXZ:
        case ZYDIS_MNEMONIC_JCXZ:
        case ZYDIS_MNEMONIC_LOOP:
        case ZYDIS_MNEMONIC_LOOPE:
        case ZYDIS_MNEMONIC_LOOPNE: return Treatment::loop;
        default: break;
    }
    const bool jcc = relative && ((i.opcode_map == 0 && (i.opcode & 0xf0) == 0x70) ||
                                  (i.opcode_map == 1 && (i.opcode & 0xf0) == 0x80));
    return jcc ? Treatment::conditional : Treatment::decline;
}

}  // namespace

u64 branch_target(const x86::Insn& i, u64 rip) {
    const u64 target = rip + i.length + static_cast<u64>(i.op[0].disp);
    if (i.code == x86::CodeSize::bits64) return target;
    return i.operand_bits == 16 ? static_cast<u16>(target) : static_cast<u32>(target);
}

SystemOp system_op(const x86::Insn& i) {
    switch (i.mnemonic) {
        case ZYDIS_MNEMONIC_SYSCALL: return SystemOp::syscall;
        case ZYDIS_MNEMONIC_SYSRET: return i.operand_bits == 64 ? SystemOp::sysret64 : SystemOp::sysret32;
        case ZYDIS_MNEMONIC_RDMSR: return SystemOp::rdmsr;
        case ZYDIS_MNEMONIC_WRMSR: return SystemOp::wrmsr;
        case ZYDIS_MNEMONIC_CPUID: return SystemOp::cpuid;
        case ZYDIS_MNEMONIC_INVLPG: return SystemOp::invlpg;
        case ZYDIS_MNEMONIC_MOV:
            return i.op[0].kind == x86::OperandKind::control ? SystemOp::write_cr3 : SystemOp::read_cr2;
        default: return SystemOp::iret;
    }
}

bool ends_block(const x86::Insn& i, Treatment t) {
    const bool comes_back =
        t == Treatment::conditional || t == Treatment::call || t == Treatment::call_indirect;
    return (i.is_branch && !comes_back) || t == Treatment::set_ac || t == Treatment::system;
}

namespace {

/// System instructions, as far as they are not left to the reference engine. `decline` for others.
Treatment system_treatment(const x86::Insn& i, mmu::TlbMode mode) {
    const bool kernel = mode != mmu::TlbMode::user;
    const x86::Operand &to = i.op[0], &from = i.op[1];
    switch (i.mnemonic) {
        case ZYDIS_MNEMONIC_SYSCALL: return Treatment::system;
        case ZYDIS_MNEMONIC_CPUID: return Treatment::system;
        case ZYDIS_MNEMONIC_SYSRET:
        case ZYDIS_MNEMONIC_IRETQ:
        case ZYDIS_MNEMONIC_RDMSR:
        case ZYDIS_MNEMONIC_WRMSR:
        case ZYDIS_MNEMONIC_INVLPG: return kernel ? Treatment::system : Treatment::decline;
        case ZYDIS_MNEMONIC_CLI: return kernel ? Treatment::cli : Treatment::decline;
        case ZYDIS_MNEMONIC_STI: return kernel ? Treatment::sti : Treatment::decline;
        case ZYDIS_MNEMONIC_CLD: return Treatment::cld;
        case ZYDIS_MNEMONIC_STD: return Treatment::std;
        case ZYDIS_MNEMONIC_PUSHFQ: return Treatment::pushf;
        case ZYDIS_MNEMONIC_SWAPGS: return kernel ? Treatment::swapgs : Treatment::decline;
        case ZYDIS_MNEMONIC_RDTSC:
        case ZYDIS_MNEMONIC_RDTSCP: return Treatment::rdtsc;
        case ZYDIS_MNEMONIC_STAC:
        case ZYDIS_MNEMONIC_CLAC: return kernel ? Treatment::set_ac : Treatment::decline;
        case ZYDIS_MNEMONIC_MOVSB:
        case ZYDIS_MNEMONIC_MOVSW:
        case ZYDIS_MNEMONIC_MOVSD:
        case ZYDIS_MNEMONIC_MOVSQ:
        case ZYDIS_MNEMONIC_STOSB:
        case ZYDIS_MNEMONIC_STOSW:
        case ZYDIS_MNEMONIC_STOSD:
        case ZYDIS_MNEMONIC_STOSQ: {
            if (i.uses_vector_state || i.address_bits != 64) return Treatment::decline;
            for (u8 n = 0; n < i.operand_count; ++n)
                if (i.op[n].kind == x86::OperandKind::mem && i.op[n].segment >= x86::fs)
                    return Treatment::decline;
            return Treatment::string;
        }
        case ZYDIS_MNEMONIC_MOV:
            if (to.kind == x86::OperandKind::control && to.reg == 3 && kernel) return Treatment::system;
            if (from.kind == x86::OperandKind::control && from.reg == 2 && kernel) return Treatment::system;
            if (from.kind == x86::OperandKind::segment && to.kind == x86::OperandKind::gpr)
                return Treatment::read_segment;
            return Treatment::decline;
        default: return Treatment::decline;
    }
}

}  // namespace

namespace {

bool is_string(ZydisMnemonic m) {
    switch (m) {
        case ZYDIS_MNEMONIC_MOVSB:
        case ZYDIS_MNEMONIC_MOVSW:
        case ZYDIS_MNEMONIC_MOVSD:
        case ZYDIS_MNEMONIC_STOSB:
        case ZYDIS_MNEMONIC_STOSW:
        case ZYDIS_MNEMONIC_STOSD: return true;
        default: return false;
    }
}

/// The segment register that `i` loads, if translated code may: not SS, which holds interrupts off.
bool loads_plainly(const x86::Insn& i, const NarrowMode& narrow) {
    if (!narrow.plain_loads) return false;
    switch (i.mnemonic) {
        case ZYDIS_MNEMONIC_LDS:
        case ZYDIS_MNEMONIC_LES:
        case ZYDIS_MNEMONIC_LFS:
        case ZYDIS_MNEMONIC_LGS: return i.operand_bits == 16;
        case ZYDIS_MNEMONIC_MOV:
        case ZYDIS_MNEMONIC_POP:
            return i.op[0].kind == x86::OperandKind::segment && i.op[0].reg != x86::ss &&
                   i.op[0].reg != x86::cs;
        default: return false;
    }
}

/// 16- and 32-bit code.
Treatment classify_narrow(const x86::Insn& i, mmu::TlbMode mode, const NarrowMode& narrow) {
    const bool kernel = mode != mmu::TlbMode::user;
    const bool protected_mode = narrow.kind == NarrowMode::Kind::protected_mode;
    if (i.vex && !protected_mode) return Treatment::decline;  // #UD (Intel SDM 2A 2.3.10)
    // A register in an immediate, whose upper bit is ignored here only.
    if (i.vex && i.opcode_map == 3 && i.opcode >= 0x4a && i.opcode <= 0x4c) return Treatment::decline;
    if (is_string(i.mnemonic) && !i.uses_vector_state) return Treatment::string;
    if (loads_plainly(i, narrow)) return Treatment::load_segment;
    switch (i.mnemonic) {
        case ZYDIS_MNEMONIC_CPUID:
        case ZYDIS_MNEMONIC_RDMSR:
        case ZYDIS_MNEMONIC_WRMSR:
        case ZYDIS_MNEMONIC_CLI:
        case ZYDIS_MNEMONIC_STI:
        case ZYDIS_MNEMONIC_CLD:
        case ZYDIS_MNEMONIC_STD:
        case ZYDIS_MNEMONIC_RDTSC:
        case ZYDIS_MNEMONIC_RDTSCP: return system_treatment(i, mode);
        case ZYDIS_MNEMONIC_INVLPG:
            return kernel && narrow.is_flat(i.op[0].segment) ? Treatment::system : Treatment::decline;
        case ZYDIS_MNEMONIC_PUSHF:
        case ZYDIS_MNEMONIC_PUSHFD:
            // Virtual-8086 mode looks at IOPL.
            return narrow.kind == NarrowMode::Kind::v8086 ? Treatment::decline : Treatment::pushf;
        case ZYDIS_MNEMONIC_LEA: return Treatment::lea;
        case ZYDIS_MNEMONIC_PUSHA:
        case ZYDIS_MNEMONIC_PUSHAD: return Treatment::push_all;
        case ZYDIS_MNEMONIC_POPA:
        case ZYDIS_MNEMONIC_POPAD: return Treatment::pop_all;
        case ZYDIS_MNEMONIC_PUSH: return Treatment::push;
        case ZYDIS_MNEMONIC_POP:
            if (i.op[0].kind != x86::OperandKind::gpr) return Treatment::decline;
            return i.operand_bits == 16 && i.op[0].reg == x86::rsp ? Treatment::decline : Treatment::pop;
        case ZYDIS_MNEMONIC_LEAVE:
            return i.operand_bits == narrow.stack_bits ? Treatment::leave : Treatment::decline;
        case ZYDIS_MNEMONIC_VZEROALL:  // YMM8-15 stay (Intel SDM 2C)
        case ZYDIS_MNEMONIC_VZEROUPPER: return Treatment::decline;
        case ZYDIS_MNEMONIC_BSWAP:
            if (i.operand_bits == 16) return Treatment::decline;
            break;
        case ZYDIS_MNEMONIC_ADCX:  // its 66 is not an operand size
            if (i.code == x86::CodeSize::bits16) return Treatment::decline;
            break;
        case ZYDIS_MNEMONIC_BT:
        case ZYDIS_MNEMONIC_BTS:
        case ZYDIS_MNEMONIC_BTR:
        case ZYDIS_MNEMONIC_BTC:
            if (i.op[0].kind == x86::OperandKind::mem && i.op[1].kind == x86::OperandKind::gpr)
                return i.operand_bits == 16 ? Treatment::decline : Treatment::bit_string;
            break;
        case ZYDIS_MNEMONIC_MOV:
            if (i.op[0].kind == x86::OperandKind::control || i.op[1].kind == x86::OperandKind::control ||
                i.op[1].kind == x86::OperandKind::segment)
                return system_treatment(i, mode);
            if (i.memory() && !i.has_modrm) return Treatment::moffs;
            break;
        default: break;
    }
    if (i.is_branch) return branch(i);
    if (skipped(i.mnemonic)) return Treatment::skip;
    const bool known = i.uses_vector_state ? !vector_declined(i) : copied(i.mnemonic);
    return known && operands_copyable(i) ? Treatment::copy : Treatment::decline;
}

}  // namespace

Treatment classify(const x86::Insn& i, mmu::TlbMode mode, const NarrowMode* narrow) {
    if (narrow) return classify_narrow(i, mode, *narrow);
    if (const Treatment t = system_treatment(i, mode); t != Treatment::decline) return t;
    if (i.is_branch) return branch(i);
    switch (i.mnemonic) {
        case ZYDIS_MNEMONIC_LEA: return Treatment::lea;
        case ZYDIS_MNEMONIC_PUSH:
            if (i.operand_bits != 64 || i.op[0].kind == x86::OperandKind::segment) return Treatment::decline;
            return Treatment::push;
        case ZYDIS_MNEMONIC_POP:
            if (i.operand_bits != 64 || i.op[0].kind != x86::OperandKind::gpr) return Treatment::decline;
            return Treatment::pop;
        case ZYDIS_MNEMONIC_LEAVE: return i.operand_bits == 64 ? Treatment::leave : Treatment::decline;
        case ZYDIS_MNEMONIC_BT:
        case ZYDIS_MNEMONIC_BTS:
        case ZYDIS_MNEMONIC_BTR:
        case ZYDIS_MNEMONIC_BTC:
            if (i.op[0].kind == x86::OperandKind::mem && i.op[1].kind == x86::OperandKind::gpr)
                return i.operand_bits == 16 ? Treatment::decline : Treatment::bit_string;
            break;
        case ZYDIS_MNEMONIC_MOV:
            if (i.memory() && !i.has_modrm) return Treatment::moffs;
            break;
        default: break;
    }
    if (skipped(i.mnemonic)) return Treatment::skip;
    const bool known = i.uses_vector_state ? !vector_declined(i) : copied(i.mnemonic);
    return known && operands_copyable(i) ? Treatment::copy : Treatment::decline;
}

Treatment classify_at(u64 rip, const x86::Insn& insn, mmu::TlbMode mode, const NarrowMode* narrow) {
    const Treatment t = classify(insn, mode, narrow);
    if (!narrow) return t;
    if (rip + insn.length - 1 > narrow->cs_limit) return Treatment::decline;  // Intel SDM 3A 5.3
    switch (t) {
        case Treatment::jump:
        case Treatment::conditional:
        case Treatment::loop:
        case Treatment::call: return branch_target(insn, rip) > narrow->cs_limit ? Treatment::decline : t;
        default: return t;
    }
}

bool uses_avx(const x86::Insn& i) { return i.vex && i.uses_vector_state; }

}  // namespace triune::hypervisor::soft::bt
