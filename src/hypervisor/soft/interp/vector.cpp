// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
/// Vector and x87 instructions: choice of the handler, and the common one, which runs the
/// instruction on the host.
#include "hypervisor/soft/interp/dispatch.h"
#include "hypervisor/soft/interp/handlers.h"
#include "hypervisor/soft/interp/vector_checks.h"

namespace triune::hypervisor::soft::interp {
namespace {

constexpr u32 all_exceptions = 0x3f;

/// Legacy SSE operands of 16 bytes are aligned except here (Intel SDM 1 11.6.1).
bool unaligned_allowed(ZydisMnemonic m) {
    switch (m) {
        case ZYDIS_MNEMONIC_MOVUPS:
        case ZYDIS_MNEMONIC_MOVUPD:
        case ZYDIS_MNEMONIC_MOVDQU:
        case ZYDIS_MNEMONIC_LDDQU:
        case ZYDIS_MNEMONIC_PCMPESTRI:
        case ZYDIS_MNEMONIC_PCMPESTRM:
        case ZYDIS_MNEMONIC_PCMPISTRI:
        case ZYDIS_MNEMONIC_PCMPISTRM:
        // AMD's processors do not check these; Intel's do, but nobody lives by that fault.
        case ZYDIS_MNEMONIC_SHA1MSG1:
        case ZYDIS_MNEMONIC_SHA1MSG2:
        case ZYDIS_MNEMONIC_SHA1NEXTE:
        case ZYDIS_MNEMONIC_SHA1RNDS4:
        case ZYDIS_MNEMONIC_SHA256MSG1:
        case ZYDIS_MNEMONIC_SHA256MSG2:
        case ZYDIS_MNEMONIC_SHA256RNDS2: return true;
        default: return false;
    }
}
/// VEX-encoded operands need alignment here only (Intel SDM 1 14.9).
bool vex_aligned(ZydisMnemonic m) {
    switch (m) {
        case ZYDIS_MNEMONIC_VMOVAPS:
        case ZYDIS_MNEMONIC_VMOVAPD:
        case ZYDIS_MNEMONIC_VMOVDQA:
        case ZYDIS_MNEMONIC_VMOVNTPS:
        case ZYDIS_MNEMONIC_VMOVNTPD:
        case ZYDIS_MNEMONIC_VMOVNTDQ:
        case ZYDIS_MNEMONIC_VMOVNTDQA: return true;
        default: return false;
    }
}
bool must_be_aligned(const Insn& i, unsigned bytes) {
    if (bytes < 16) return false;
    return i.vex ? vex_aligned(i.mnemonic) : !unaligned_allowed(i.mnemonic);
}

bool is_x87(const Insn& i) { return i.opcode_map == 0 && i.opcode >= 0xd8 && i.opcode <= 0xdf; }

/// With CR0.NE clear nobody is told of a pending x87 exception, and instructions go on as if IGNNE#
/// were asserted. The host would raise its own: it is kept from seeing what is pending. False for a SIMD
/// exception.
bool run_ignoring_pending(Exec& e, const Insn& i) {
    VectorState v(e.s);
    const u16 fcw = v.get<u16>(VectorState::fcw), fsw = v.get<u16>(VectorState::fsw);
    v.set<u16>(VectorState::fcw, fcw | all_exceptions);
    v.set<u16>(VectorState::fsw,
               fsw & static_cast<u16>(~(all_exceptions | VectorState::es | VectorState::busy)));
    const bool done = e.host.run_unmasked(i, e.s);
    v.settle(VectorState::x87_bit);
    v.set<u16>(VectorState::fcw, fcw);
    v.set<u16>(VectorState::fsw, v.get<u16>(VectorState::fsw) | (fsw & all_exceptions));
    v.update_summary();
    return done;
}

void run(Exec& e, const Insn& i) {
    if (VectorState(e.s).status() & VectorState::es) [[unlikely]]
        (void)run_ignoring_pending(e, i);
    else
        e.host.run(i, e.s);
}

/// Runs an SSE or AVX instruction when a SIMD exception may be unmasked: the host raises it, with the flags
/// in MXCSR that this processor leaves. False for #XM.
bool run_unmasked(Exec& e, const Insn& i) {
    if (!(VectorState(e.s).status() & VectorState::es)) {
        if (e.host.run_unmasked(i, e.s)) return true;
    } else if (run_ignoring_pending(e, i)) {
        return true;
    }
    return e.s.cr4 & x86::cr4::osxmmexcpt ? e.raise({x86::vec::xm, false, 0, 0}) : e.ud();
}

/// x87 exceptions wait for the next x87 instruction: the host runs this one with the guest's own
/// masks. Whether a memory operand was stored.
bool run_x87_on_host(Exec& e, const Insn& i) {
    const VectorState v(e.s);
    const bool ignoring = v.status() & VectorState::es;
    run(e, i);
    // All but an inexact result keep a store from happening.
    return ignoring || !(v.status() & ~v.control() & (all_exceptions & ~32u));
}

bool all_masked(const VectorState& v) { return (v.mxcsr() & 0x1f80) == 0x1f80; }

/// Of the last x87 instruction. One without a memory operand leaves FDP as it is.
void set_x87_pointers(Exec& e, const Insn& i, const Operand* m) {
    VectorState v(e.s);
    v.settle(VectorState::x87_bit);
    v.set<u16>(VectorState::fop, static_cast<u16>((i.opcode & 7) << 8 | i.modrm));
    v.set<u64>(VectorState::fip, e.s.rip);
    if (m) v.set<u64>(VectorState::fdp, e.effective_address(i, *m));
}

bool run_on_host(Exec& e, const Insn& i) {
    const Operand* m = i.memory();
    Gva a = 0;
    unsigned bytes = 0;
    if (m) {
        bytes = m->bits / 8u;
        if (bytes > 64) return e.ud();
        const Access access = m->written ? Access::write : Access::read;
        if (!e.linear(i.code, static_cast<Seg>(m->segment), e.effective_address(i, *m), bytes, access, a))
            return false;
        if (must_be_aligned(i, bytes) && (a & (bytes - 1))) return e.gp();
        if (m->read && !e.load_bytes(a, e.host.buffer(), bytes, m->segment)) return false;
        if (m->written && !e.probe_write(a, bytes) && !e.probe(a, bytes, Access::write, m->segment))
            return false;
    }
    bool store = m && m->written;
    if (is_x87(i)) {
        store &= run_x87_on_host(e, i);
    } else if (all_masked(VectorState(e.s))) [[likely]] {
        run(e, i);
    } else if (!run_unmasked(e, i)) {
        return false;
    }
    if (is_x87(i)) set_x87_pointers(e, i, m);
    return store ? e.store_bytes(a, e.host.buffer(), bytes, m->segment) : true;
}

bool run_x87(Exec& e, const Insn& i) { return x87_usable(e) && x87_no_pending(e) && run_on_host(e, i); }
bool run_mmx(Exec& e, const Insn& i) { return mmx_usable(e) && run_on_host(e, i); }
bool run_sse(Exec& e, const Insn& i) { return sse_usable(e) && run_on_host(e, i); }
/// SSE instructions that also touch MMX registers (CVTPI2PS, MOVDQ2Q…).
bool run_sse_mmx(Exec& e, const Insn& i) { return sse_usable(e) && x87_no_pending(e) && run_on_host(e, i); }
bool run_avx(Exec& e, const Insn& i) { return avx_usable(e) && run_on_host(e, i); }
const HandlerTable& special() {
    static const HandlerTable t = [] {
        HandlerTable made;
        register_x87_control(made);
        register_save_restore(made);
        register_vector_memory(made);
        return made;
    }();
    return t;
}

/// Those with a short cut when their operands are XMM or YMM registers.
const HandlerTable& direct() {
    static const HandlerTable t = [] {
        HandlerTable made;
        register_vector_moves(made);
        return made;
    }();
    return t;
}

}  // namespace

Handler vector_handler(const Insn& i) {
    if (const Handler h = special().find(i.mnemonic, 64)) return h;
    if (is_x87(i)) return run_x87;
    bool mmx = false, xmm = false;
    for (u8 n = 0; n < i.operand_count; ++n) {
        mmx |= i.op[n].kind == OperandKind::mmx;
        xmm |= i.op[n].kind == OperandKind::vector;
    }
    if (const Handler h = mmx ? nullptr : direct().find(i.mnemonic, 64)) return h;
    if (i.vex) return run_avx;
    // CVTPI2PS and CVTPI2PD and their reverses are SSE with MMX operands; the others that have MMX
    // operands only are MMX, whichever extension brought them.
    return mmx ? (xmm ? run_sse_mmx : run_mmx) : run_sse;
}

}  // namespace triune::hypervisor::soft::interp
