// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
/// FXSAVE, FXRSTOR, XSAVE, XRSTOR (Intel SDM 1 10.5, 13), LDMXCSR, STMXCSR, VZEROUPPER, VZEROALL.
#include "hypervisor/soft/interp/handlers.h"
#include "hypervisor/soft/interp/vector_checks.h"

namespace triune::hypervisor::soft::interp {
namespace {

using V = VectorState;

/// Linear address of an area with the alignment that its instruction demands.
bool area_address(Exec& e, const Insn& i, unsigned bytes, unsigned alignment, Access access, Gva& a,
                  unsigned& seg) {
    const Operand& m = *i.memory();
    seg = m.segment;
    a = 0;
    if (!e.linear(i.code, static_cast<Seg>(seg), e.effective_address(i, m), bytes, access, a)) return false;
    return a & (alignment - 1) ? e.gp() : true;
}

/// The x87 part without REX.W keeps 32-bit pointers; selectors are deprecated and 0.
void narrow_pointers(u8* image) {
    std::memset(image + V::fip + 4, 0, 4);
    std::memset(image + V::fdp + 4, 0, 4);
}
/// AMD's processors show pointers only while an unmasked exception is pending (AMD APM 2 11.4.4).
void settle_pointers(const Exec& e, u8* image) {
    u16 status;
    std::memcpy(&status, image + V::fsw, 2);
    u8 set = 0;
    for (unsigned n = V::fip; n < V::mxcsr_at; ++n) set |= image[n];
    if (!set || (status & V::es) || !e.vcpu.model || e.vcpu.model->vendor() != "AuthenticAMD") return;
    std::memset(image + V::fop, 0, V::mxcsr_at - V::fop);
}
unsigned xmm_bytes(const Insn& i) { return i.code == CodeSize::bits64 ? V::xmm_end - V::xmm : 128; }

bool wide(const Insn& i) { return i.rex & 8; }

bool fxsave(Exec& e, const Insn& i) {
    if (!x87_usable(e)) return false;
    Gva a;
    unsigned seg;
    if (!area_address(e, i, 512, 16, Access::write, a, seg)) return false;
    V v(e.s);
    v.settle(V::x87_bit | V::sse_bit);
    std::array<u8, V::xmm_end> image;
    std::memcpy(image.data(), v.area, image.size());
    if (!wide(i)) narrow_pointers(image.data());
    settle_pointers(e, image.data());
    const u32 mask = V::mxcsr_mask;
    std::memcpy(&image[V::mask_at], &mask, 4);
    return e.probe(a, 512, Access::write, seg) && e.store_bytes(a, image.data(), V::xmm + xmm_bytes(i), seg);
}

/// x87 part of a saved image.
void load_x87(V& v, const u8* image, bool wide_pointers) {
    std::memcpy(v.area, image, V::mxcsr_at);
    v.area[5] = 0;
    if (!wide_pointers) narrow_pointers(v.area);
    for (unsigned n = 0; n < 8; ++n) {
        std::memset(v.area + V::st + n * 16, 0, 16);
        std::memcpy(v.area + V::st + n * 16, image + V::st + n * 16, 10);
    }
    v.set_control(v.get<u16>(V::fcw));
    v.mark(V::x87_bit);
    v.update_summary();
}

bool fxrstor(Exec& e, const Insn& i) {
    if (!x87_usable(e)) return false;
    Gva a;
    unsigned seg;
    std::array<u8, 512> image;
    if (!area_address(e, i, 512, 16, Access::read, a, seg) || !e.load_bytes(a, image.data(), 512, seg))
        return false;
    u32 mxcsr;
    std::memcpy(&mxcsr, &image[V::mxcsr_at], 4);
    if (mxcsr & ~V::mxcsr_mask) return e.gp();
    V v(e.s);
    load_x87(v, image.data(), wide(i));
    v.settle(V::sse_bit);
    v.set_mxcsr(mxcsr);
    std::memcpy(v.area + V::xmm, &image[V::xmm], xmm_bytes(i));
    return true;
}

bool xsave_usable(Exec& e) {
    if (!(e.s.cr4 & x86::cr4::osxsave)) return e.ud();
    return e.s.cr0 & x86::cr0::ts ? e.raise(Fault::nm()) : true;
}
u64 requested(const Exec& e) { return e.s.xcr0 & (e.gpr(x86::rdx, 32) << 32 | e.gpr(x86::rax, 32)); }

/// PKRU is a component of the area (Intel SDM 1 13.5.7), but not of VcpuState::xsave: the host must never
/// load it.
u32 pkru_offset(const Exec& e) { return e.vcpu.model ? e.vcpu.model->pkru_offset : 0; }

/// The standard-format area of `rfbm`: its address; `bytes` without PKRU's part, behind a gap that is not
/// touched.
bool xsave_area(Exec& e, const Insn& i, u64 rfbm, Access access, Gva& a, unsigned& bytes, unsigned& seg) {
    bytes = rfbm & V::avx_bit ? V::end : V::ymmh;
    const unsigned all = rfbm & x86::xcr0_pkru ? pkru_offset(e) + 8 : bytes;
    return area_address(e, i, all, 64, access, a, seg);
}

bool xsave(Exec& e, const Insn& i) {
    if (!xsave_usable(e)) return false;
    const u64 rfbm = requested(e);
    const bool pkru = rfbm & x86::xcr0_pkru;
    Gva a;
    unsigned bytes, seg;
    u64 header = 0;
    if (!xsave_area(e, i, rfbm, Access::write, a, bytes, seg) || !e.probe(a, bytes, Access::write, seg) ||
        (pkru && !e.probe(a + pkru_offset(e), 8, Access::write, seg)) ||
        !e.load_bytes(a + V::header, &header, 8, seg))
        return false;
    V v(e.s);
    const u64 in_use = v.in_use() | (e.s.pkru ? x86::xcr0_pkru : 0);
    v.settle(rfbm & 7);
    std::array<u8, V::xmm_end> image;
    std::memcpy(image.data(), v.area, image.size());
    if (!wide(i)) narrow_pointers(image.data());
    settle_pointers(e, image.data());
    const u32 mask = V::mxcsr_mask;
    std::memcpy(&image[V::mask_at], &mask, 4);
    const auto put = [&](unsigned from, unsigned to) {
        return e.store_bytes(a + from, &image[from], to - from, seg);
    };
    if ((rfbm & V::x87_bit) && (!put(0, V::mxcsr_at) || !put(V::st, V::xmm))) return false;
    if ((rfbm & (V::sse_bit | V::avx_bit)) && !put(V::mxcsr_at, V::st)) return false;
    if ((rfbm & V::sse_bit) && !put(V::xmm, V::xmm + xmm_bytes(i))) return false;
    if ((rfbm & V::avx_bit) && !e.store_bytes(a + V::ymmh, v.area + V::ymmh, xmm_bytes(i), seg)) return false;
    const u64 keys = e.s.pkru;
    if (pkru && !e.store_bytes(a + pkru_offset(e), &keys, 8, seg)) return false;
    header = (header & ~rfbm) | (in_use & rfbm);
    return e.store_bytes(a + V::header, &header, 8, seg);
}

bool xrstor(Exec& e, const Insn& i) {
    if (!xsave_usable(e)) return false;
    const u64 rfbm = requested(e);
    Gva a;
    unsigned bytes, seg;
    alignas(8) std::array<u8, V::end> image;
    if (!xsave_area(e, i, rfbm, Access::read, a, bytes, seg) || !e.load_bytes(a, image.data(), bytes, seg))
        return false;
    u64 bv, header[2];
    std::memcpy(&bv, &image[V::header], 8);
    std::memcpy(header, &image[V::header + 8], 16);
    // The compacted format is not offered: XCOMP_BV and what follows must be 0 (Intel SDM 1 13.8.1).
    if ((bv & ~e.s.xcr0) || header[0] || header[1]) return e.gp();
    u32 mxcsr;
    std::memcpy(&mxcsr, &image[V::mxcsr_at], 4);
    const bool loads_mxcsr = rfbm & (V::sse_bit | V::avx_bit);
    if (loads_mxcsr && (mxcsr & ~V::mxcsr_mask)) return e.gp();
    const u64 load = rfbm & bv;
    u64 keys = 0;
    if ((load & x86::xcr0_pkru) && !e.load_bytes(a + pkru_offset(e), &keys, 8, seg)) return false;
    V v(e.s);
    v.set<u64>(V::header, v.in_use() & ~rfbm);  // to the initial state
    if (load & V::x87_bit) load_x87(v, image.data(), wide(i));
    if (loads_mxcsr) v.set_mxcsr(mxcsr);
    if (load & V::sse_bit) {
        v.settle(V::sse_bit);
        std::memcpy(v.area + V::xmm, &image[V::xmm], xmm_bytes(i));
    }
    if (load & V::avx_bit) {
        v.settle(V::avx_bit);
        std::memcpy(v.area + V::ymmh, &image[V::ymmh], xmm_bytes(i));
    }
    if (rfbm & x86::xcr0_pkru) e.mmu.set_pkru(static_cast<u32>(keys));
    return true;
}

bool load_mxcsr(Exec& e, const Insn& i) {
    u32 value = 0;
    if (!(i.vex ? avx_usable(e) : sse_usable(e)) || !e.read<u32>(i, *i.memory(), value)) return false;
    if (value & ~V::mxcsr_mask) return e.gp();
    V(e.s).set_mxcsr(value);
    return true;
}
bool store_mxcsr(Exec& e, const Insn& i) {
    return (i.vex ? avx_usable(e) : sse_usable(e)) && e.write<u32>(i, *i.memory(), V(e.s).mxcsr());
}

/// VZEROUPPER and VZEROALL: registers 0-7 only outside 64-bit mode.
template <bool all>
bool vzero(Exec& e, const Insn& i) {
    if (!avx_usable(e)) return false;
    V v(e.s);
    const bool every_register = i.code == CodeSize::bits64;
    if (every_register) {
        v.set<u64>(V::header, v.in_use() & ~(all ? V::avx_bit | V::sse_bit : V::avx_bit));
        return true;
    }
    v.settle(V::sse_bit | V::avx_bit);
    std::memset(v.area + V::ymmh, 0, 128);
    if (all) std::memset(v.area + V::xmm, 0, 128);
    return true;
}

}  // namespace

void register_save_restore(HandlerTable& t) {
    t.add({ZYDIS_MNEMONIC_FXSAVE, ZYDIS_MNEMONIC_FXSAVE64}, fxsave);
    t.add({ZYDIS_MNEMONIC_FXRSTOR, ZYDIS_MNEMONIC_FXRSTOR64}, fxrstor);
    t.add({ZYDIS_MNEMONIC_XSAVE, ZYDIS_MNEMONIC_XSAVE64}, xsave);
    t.add({ZYDIS_MNEMONIC_XRSTOR, ZYDIS_MNEMONIC_XRSTOR64}, xrstor);
    t.add({ZYDIS_MNEMONIC_LDMXCSR, ZYDIS_MNEMONIC_VLDMXCSR}, load_mxcsr);
    t.add({ZYDIS_MNEMONIC_STMXCSR, ZYDIS_MNEMONIC_VSTMXCSR}, store_mxcsr);
    t.add(ZYDIS_MNEMONIC_VZEROUPPER, vzero<false>);
    t.add(ZYDIS_MNEMONIC_VZEROALL, vzero<true>);
}

}  // namespace triune::hypervisor::soft::interp
