// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "differential/cpu/exclusions.h"

#include "x86/vcpu_state.h"

namespace triune::differential::cpu {

using x86::OperandKind;

namespace {

bool by_mnemonic(const x86::Insn& i) {
    switch (i.mnemonic) {
        // Enter the kernel.
        case ZYDIS_MNEMONIC_SYSCALL:
        case ZYDIS_MNEMONIC_SYSENTER:
        case ZYDIS_MNEMONIC_VMCALL:
        case ZYDIS_MNEMONIC_VMMCALL:
        case ZYDIS_MNEMONIC_INT:
        case ZYDIS_MNEMONIC_INT1:
        case ZYDIS_MNEMONIC_INT3:
        case ZYDIS_MNEMONIC_INTO:
        // Different every time, or the host's own.
        case ZYDIS_MNEMONIC_CPUID:
        case ZYDIS_MNEMONIC_RDTSC:
        case ZYDIS_MNEMONIC_RDTSCP:
        case ZYDIS_MNEMONIC_RDPID:
        case ZYDIS_MNEMONIC_RDPMC:
        case ZYDIS_MNEMONIC_RDRAND:
        case ZYDIS_MNEMONIC_RDSEED:
        case ZYDIS_MNEMONIC_XGETBV:
        case ZYDIS_MNEMONIC_RDFSBASE:
        case ZYDIS_MNEMONIC_RDGSBASE:
        case ZYDIS_MNEMONIC_WRFSBASE:
        case ZYDIS_MNEMONIC_WRGSBASE:
        case ZYDIS_MNEMONIC_LAR:
        case ZYDIS_MNEMONIC_LSL:
        case ZYDIS_MNEMONIC_VERR:
        case ZYDIS_MNEMONIC_VERW:
        case ZYDIS_MNEMONIC_ARPL:
        case ZYDIS_MNEMONIC_STR:
        case ZYDIS_MNEMONIC_SLDT:
        case ZYDIS_MNEMONIC_SGDT:
        case ZYDIS_MNEMONIC_SIDT:
        case ZYDIS_MNEMONIC_SMSW:
        // Loads of TF, AC, NT. POPFD and POPFQ get a value without them.
        case ZYDIS_MNEMONIC_POPF:
        case ZYDIS_MNEMONIC_IRET:
        case ZYDIS_MNEMONIC_IRETD:
        case ZYDIS_MNEMONIC_IRETQ:
        // Loads of segment registers outlive the program.
        case ZYDIS_MNEMONIC_LDS:
        case ZYDIS_MNEMONIC_LES:
        case ZYDIS_MNEMONIC_LFS:
        case ZYDIS_MNEMONIC_LGS:
        case ZYDIS_MNEMONIC_LSS:
        // Images with the host's components. Those of x87 and FXSAVE64 come from ProgramMaker::add_x87_image.
        case ZYDIS_MNEMONIC_FNSTENV:
        case ZYDIS_MNEMONIC_FLDENV:
        case ZYDIS_MNEMONIC_FNSAVE:
        case ZYDIS_MNEMONIC_FRSTOR:
        case ZYDIS_MNEMONIC_FXSAVE:
        case ZYDIS_MNEMONIC_FXSAVE64:
        case ZYDIS_MNEMONIC_FXRSTOR:
        case ZYDIS_MNEMONIC_FXRSTOR64:
        case ZYDIS_MNEMONIC_XSAVE:
        case ZYDIS_MNEMONIC_XSAVE64:
        case ZYDIS_MNEMONIC_XRSTOR:
        case ZYDIS_MNEMONIC_XRSTOR64: return true;
        // 0F 0D with a register operand: a NOP on Intel's processors, #UD on AMD's.
        case ZYDIS_MNEMONIC_NOP: return i.opcode_map == 1 && i.opcode == 0x0d;
        // Undefined results: a 16-bit operand, or a count beyond the operand.
        case ZYDIS_MNEMONIC_BSWAP: return i.operand_bits == 16;
        case ZYDIS_MNEMONIC_SHLD:
        case ZYDIS_MNEMONIC_SHRD: return i.operand_bits == 16;
        default: return false;
    }
}

}  // namespace

bool excluded(const x86::Insn& i) {
    if (by_mnemonic(i)) return true;
    // Branches are made with targets of their own.
    if (i.is_branch) return true;
    for (u8 n = 0; n < i.operand_count; ++n) {
        const x86::Operand& o = i.op[n];
        if (o.kind == OperandKind::segment && o.written) return true;
        if (o.kind == OperandKind::control || o.kind == OperandKind::debug || o.kind == OperandKind::far_ptr)
            return true;
        if (o.kind == OperandKind::mem && o.bits / 8u > 512) return true;
        // The child's thread-local storage is there.
        if (o.kind == OperandKind::mem && o.segment == x86::fs) return true;
    }
    return false;
}

}  // namespace triune::differential::cpu
