// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/interp/dispatch.h"

#include "hypervisor/soft/interp/handlers.h"

namespace triune::hypervisor::soft::interp {
namespace {

const HandlerTable& table() {
    static const HandlerTable t = [] {
        HandlerTable made;
        register_moves(made);
        register_alu(made);
        register_shifts(made);
        register_multiply(made);
        register_bits(made);
        register_atomic(made);
        register_bcd(made);
        register_string(made);
        register_stack(made);
        register_control(made);
        register_system(made);
        register_segments(made);
        return made;
    }();
    return t;
}

bool undefined(Exec& e, const Insn&) { return e.ud(); }

bool has(const cpu::VcpuContext& vcpu, u32 leaf, u32 x86::CpuidResult::* reg, unsigned bit) {
    return vcpu.model && base::bit(vcpu.model->lookup(leaf, 0).*reg, bit);
}

/// Whether the processor offers an integer instruction that came after x86-64's first version
/// (Intel SDM 2A CPUID).
bool offered(const Insn& i, const cpu::VcpuContext& vcpu) {
    using R = x86::CpuidResult;
    switch (i.mnemonic) {
        case ZYDIS_MNEMONIC_MOVBE: return has(vcpu, 1, &R::ecx, 22);
        case ZYDIS_MNEMONIC_POPCNT: return has(vcpu, 1, &R::ecx, 23);
        case ZYDIS_MNEMONIC_CRC32: return has(vcpu, 1, &R::ecx, 20);
        case ZYDIS_MNEMONIC_CMPXCHG16B: return has(vcpu, 1, &R::ecx, 13);
        case ZYDIS_MNEMONIC_RDRAND: return has(vcpu, 1, &R::ecx, 30);
        case ZYDIS_MNEMONIC_LZCNT: return has(vcpu, 0x80000001, &R::ecx, 5);
        case ZYDIS_MNEMONIC_RDTSCP: return has(vcpu, 0x80000001, &R::edx, 27);
        case ZYDIS_MNEMONIC_ANDN:
        case ZYDIS_MNEMONIC_BEXTR:
        case ZYDIS_MNEMONIC_BLSI:
        case ZYDIS_MNEMONIC_BLSMSK:
        case ZYDIS_MNEMONIC_BLSR:
        case ZYDIS_MNEMONIC_TZCNT: return has(vcpu, 7, &R::ebx, 3);
        case ZYDIS_MNEMONIC_BZHI:
        case ZYDIS_MNEMONIC_MULX:
        case ZYDIS_MNEMONIC_PDEP:
        case ZYDIS_MNEMONIC_PEXT:
        case ZYDIS_MNEMONIC_RORX:
        case ZYDIS_MNEMONIC_SARX:
        case ZYDIS_MNEMONIC_SHLX:
        case ZYDIS_MNEMONIC_SHRX: return has(vcpu, 7, &R::ebx, 8);
        case ZYDIS_MNEMONIC_INVPCID: return has(vcpu, 7, &R::ebx, 10);
        case ZYDIS_MNEMONIC_RDSEED: return has(vcpu, 7, &R::ebx, 18);
        case ZYDIS_MNEMONIC_ADCX:
        case ZYDIS_MNEMONIC_ADOX: return has(vcpu, 7, &R::ebx, 19);
        case ZYDIS_MNEMONIC_CLAC:
        case ZYDIS_MNEMONIC_STAC: return has(vcpu, 7, &R::ebx, 20);
        case ZYDIS_MNEMONIC_CLFLUSHOPT: return has(vcpu, 7, &R::ebx, 23);
        case ZYDIS_MNEMONIC_CLWB: return has(vcpu, 7, &R::ebx, 24);
        case ZYDIS_MNEMONIC_RDPID: return has(vcpu, 7, &R::ecx, 22);
        default: return true;
    }
}

Handler move(const Insn& i) {
    for (unsigned n = 0; n < 2; ++n) {
        if (i.op[n].kind == OperandKind::segment) return mov_segment;
        if (i.op[n].kind == OperandKind::control) return mov_control;
        if (i.op[n].kind == OperandKind::debug) return mov_debug;
    }
    return nullptr;
}

/// LZCNT and TZCNT on a processor without them are BSR and BSF.
ZydisMnemonic mnemonic_here(const Insn& i, const cpu::VcpuContext& vcpu) {
    if (i.mnemonic == ZYDIS_MNEMONIC_LZCNT && !offered(i, vcpu)) return ZYDIS_MNEMONIC_BSR;
    if (i.mnemonic == ZYDIS_MNEMONIC_TZCNT && !offered(i, vcpu)) return ZYDIS_MNEMONIC_BSF;
    return i.mnemonic;
}

}  // namespace

Handler handler_for(const Insn& i, const cpu::VcpuContext& vcpu) {
    if (const Handler h = i.mnemonic == ZYDIS_MNEMONIC_MOV ? move(i) : nullptr) return h;
    if (i.uses_vector_state) return vector_handler(i, vcpu);
    const ZydisMnemonic m = mnemonic_here(i, vcpu);
    if (m == i.mnemonic && !offered(i, vcpu)) return undefined;
    const Handler h = table().find(m, i.op[0].bits);
    return h ? h : undefined;
}

}  // namespace triune::hypervisor::soft::interp
