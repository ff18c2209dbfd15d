// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/bt/stubs.h"

#include "hypervisor/soft/bt/host_unsafe.h"

namespace triune::hypervisor::soft::bt {
namespace {

constexpr std::array<u8, 7> caller_saved = {0, 1, 2, 6, 7, 8, 9};

Xbyak::Reg64 t0() { return Xbyak::Reg64(scratch0); }
Xbyak::Reg64 t1() { return Xbyak::Reg64(scratch1); }

/// XSAVE64 or XRSTOR64 with the area at rcx and the components in eax. Uses rdx.
void emit_xsave(Emitter& e, bool save) {
    using namespace Xbyak::util;
    e.xor_(edx, edx);
    for (const u8 byte : {0x48, 0x0f, 0xae, save ? 0x21 : 0x29}) e.db(byte);
}

/// eax = the XSAVE components of what is live (1 SSE, 2 AVX): 3 or 7. Jumps when nothing is.
u32 emit_live_components(Emitter& e, Surroundings& s) {
    using namespace Xbyak::util;
    e.movzx(eax, e.byte[reinterpret_cast<const void*>(&s.vcpu.vector_state_live)]);
    e.test(eax, eax);
    const u32 none = e.jump_forward_if(cc::e);
    e.lea(eax, e.ptr[rax * 4 - 1]);
    return none;
}

/// The guest's vector state is loaded and saved here, by generated code, because any C++ may use vector
/// registers. SAFETY: the area is 832 bytes long and aligned to 64 (VcpuState::xsave); XRSTOR faults on bad
/// contents, which set_state and the reference engine keep out (header bits, MXCSR).
void emit_enter(Emitter& e, Surroundings& s) {
    using namespace Xbyak::util;
    const u32 no_vectors = emit_live_components(e, s);
    e.mov(rcx, reinterpret_cast<u64>(s.vcpu.state.xsave.data()));
    emit_xsave(e, false);
    e.set_target_here(no_vectors);
    for (const auto& r : {rbx, rbp, r12, r13, r14, r15}) e.push(r);
    e.sub(rsp, 8);
    e.mov(e.qword_at(s.data.host_sp), rsp);
    e.mov(rsp, e.qword_at(s.data.shadow_sp));
    e.mov(t0(), rdi);
    for (u8 g = 0; g < 16; ++g)
        if (!lives_in_memory(g)) e.mov(host_reg(g), e.qword_at(s.vcpu.state.gpr[g]));
    e.jmp(t0());
}

void emit_leave_common(Emitter& e, Surroundings& s) {
    using namespace Xbyak::util;
    for (u8 g = 0; g < 16; ++g)
        if (!lives_in_memory(g)) e.mov(e.qword_at(s.vcpu.state.gpr[g]), host_reg(g));
    e.mov(e.qword_at(s.data.shadow_sp), rsp);
    e.mov(rsp, e.qword_at(s.data.host_sp));
    const u32 no_vectors = emit_live_components(e, s);
    e.mov(rcx, reinterpret_cast<u64>(s.vcpu.state.xsave.data()));
    emit_xsave(e, true);
    // XSTATE_BV: x87 state is in use.
    e.test(e.byte[reinterpret_cast<const void*>(s.vcpu.state.xsave.data() + 512)], 1);
    const u32 no_x87 = e.jump_forward_if(cc::e);
    e.fnstenv(e.ptr[reinterpret_cast<const void*>(s.data.x87.data())]);
    e.set_target_here(no_x87);
    e.mov(rcx, reinterpret_cast<u64>(initial_vector_state()));
    emit_xsave(e, false);
    e.mov(e.byte[reinterpret_cast<const void*>(&s.vcpu.vector_state_live)], 0);
    e.set_target_here(no_vectors);
    e.add(rsp, 8);
    for (const auto& r : {r15, r14, r13, r12, rbp, rbx}) e.pop(r);
    e.ret();
}

#ifdef TRIUNE_HELPERS_USE_VECTORS
constexpr bool helpers_use_vectors = true;
#else
constexpr bool helpers_use_vectors = false;
#endif

/// XSAVE64 or XRSTOR64 of everything to EngineData::helper_vectors. Uses rax, rcx, rdx.
void emit_vectors(Emitter& e, EngineData& d, bool save) {
    using namespace Xbyak::util;
    e.mov(rcx, reinterpret_cast<u64>(d.helper_vectors.data()));
    e.mov(eax, 7);
    emit_xsave(e, save);
}

/// Calls a helper. In: scratch0, scratch1 and the return address on the shadow stack are its arguments.
/// Out: scratch0 = what the helper returned; on 0 leaves with the reason that the helper has set. Keeps every
/// guest register and the vector state; not the flags.
template <class Helper>
void emit_helper(Emitter& e, Surroundings& s, void* translator, Helper helper, CodeOffset common) {
    using namespace Xbyak::util;
    for (const u8 g : caller_saved) e.mov(e.qword_at(s.vcpu.state.gpr[g]), Xbyak::Reg64(g));
    e.mov(e.qword_at(s.data.shadow_sp), rsp);
    e.mov(rsp, e.qword_at(s.data.host_sp));
    if (helpers_use_vectors) emit_vectors(e, s.data, true);
    e.mov(rdi, reinterpret_cast<u64>(translator));
    e.mov(rsi, t0());
    e.mov(rdx, t1());
    e.mov(rcx, e.qword_at(s.data.shadow_sp));
    e.mov(rcx, ptr[rcx]);
    e.mov(rax, reinterpret_cast<u64>(helper));
    e.call(rax);
    e.mov(t0(), rax);
    if (helpers_use_vectors) emit_vectors(e, s.data, false);
    e.mov(rsp, e.qword_at(s.data.shadow_sp));
    for (const u8 g : caller_saved) e.mov(Xbyak::Reg64(g), e.qword_at(s.vcpu.state.gpr[g]));
    e.test(t0(), t0());
    const u32 failed = e.jump_forward_if(cc::e);
    e.ret();
    e.set_target_here(failed);
    e.lea(rsp, ptr[rsp + 8]);
    e.jump_to(common);
}

}  // namespace

void emit_save_flags(Emitter& e, EngineData& d) {
    using namespace Xbyak::util;
    e.mov(t1(), rax);
    e.lahf();
    e.seto(al);
    e.mov(e.word[reinterpret_cast<const void*>(&d.flags)], ax);
    e.mov(rax, t1());
}

void emit_restore_flags(Emitter& e, EngineData& d) {
    using namespace Xbyak::util;
    e.mov(t1(), rax);
    e.movzx(eax, e.word[reinterpret_cast<const void*>(&d.flags)]);
    e.add(al, 0x7f);  // OF: 1 + 0x7f overflows
    e.sahf();
    e.mov(rax, t1());
}

void emit_tlb_index(Emitter& e, const Surroundings& s) {
    static_assert(sizeof(mmu::TlbEntry) == 32);
    if (s.host_bmi2) {
        e.rorx(t1().cvt32(), t0().cvt32(), 7);
    } else {
        e.mov(t1().cvt32(), t0().cvt32());
        e.shr(t1().cvt32(), 7);
    }
    e.and_(t1().cvt32(), (mmu::Tlb::entries - 1) << 5);
}

void emit_jump_probe(Emitter& e, EngineData::JumpCache& cache) {
    using namespace Xbyak::util;
    e.mov(t1().cvt32(), t0().cvt32());
    e.shr(t1().cvt32(), 4);
    e.xor_(t1().cvt32(), t0().cvt32());
    e.and_(t1().cvt32(), EngineData::jump_entries - 1);
    e.cmp(t0(), ptr[t1() * 8 + static_cast<int>(reinterpret_cast<u64>(cache.rip.data()))]);
}

Xbyak::Address jump_target(Emitter&, EngineData::JumpCache& cache) {
    using namespace Xbyak::util;
    return qword[t1() * 8 + static_cast<int>(reinterpret_cast<u64>(cache.host.data()))];
}

namespace {

void emit_stack_probe(Emitter& e, Surroundings& s, unsigned mode) {
    using namespace Xbyak::util;
    const mmu::TlbEntry& first = s.tlb.set[mode][0];
    mmu::StackEntry& stack = s.tlb.stack[mode];
    const int tag = static_cast<int>(reinterpret_cast<u64>(&first.write_tag));
    const int host = static_cast<int>(reinterpret_cast<u64>(&first.host));
    e.mov(e.qword_at(s.data.probe_spill), t1());
    e.xor_(t0(), e.qword_at(stack.tag));
    emit_tlb_index(e, s);
    e.xor_(t0(), ptr[t1() + tag]);
    e.cmp(t0(), e.qword_at(s.data.probe_spill));
    const u32 miss = e.jump_forward_if(cc::a);
    e.mov(e.qword_at(s.data.probe_spill), t0());
    e.mov(t0(), ptr[t1() + tag]);
    e.mov(e.qword_at(stack.tag), t0());
    e.mov(t0(), ptr[t1() + host]);
    e.mov(e.qword_at(stack.host), t0());
    e.add(t0(), e.qword_at(s.data.probe_spill));
    e.cmp(t1(), t1());
    e.ret();
    e.set_target_here(miss);
    e.xor_(t0(), ptr[t1() + tag]);
    e.test(rsp, rsp);
    e.ret();
}

}  // namespace

Stubs emit_stubs(Emitter& e, Surroundings& s, void* translator, TlbMissHelper tlb_miss, StringHelper string) {
    using namespace Xbyak::util;
    Stubs stubs;
    e.nop(16);
    stubs.enter = e.offset();
    emit_enter(e, s);
    const CodeOffset common = e.offset();
    emit_leave_common(e, s);
    for (u32 reason = 0; reason < stubs.leave.size(); ++reason) {
        stubs.leave[reason] = e.offset();
        e.mov(e.dword_at(s.data.reason), reason);
        e.jump_to(common);
    }
    stubs.leave_link[static_cast<u32>(FlagsAt::host)] = e.offset();
    e.mov(e.dword_at(s.data.exit_id), t1().cvt32());
    emit_save_flags(e, s.data);
    e.jump_to(stubs.leave[static_cast<u32>(LeaveReason::link)]);
    stubs.leave_link[static_cast<u32>(FlagsAt::memory)] = e.offset();
    e.mov(e.dword_at(s.data.exit_id), t1().cvt32());
    e.jump_to(stubs.leave[static_cast<u32>(LeaveReason::link)]);
    stubs.leave_entry = e.offset();
    e.mov(e.dword_at(s.data.exit_id), t1().cvt32());
    e.jump_to(stubs.leave[static_cast<u32>(LeaveReason::entry)]);
    stubs.tlb_miss = e.offset();
    emit_helper(e, s, translator, tlb_miss, common);
    for (unsigned mode = 0; mode < mmu::tlb_modes; ++mode) {
        stubs.stack_probe[mode] = e.offset();
        emit_stack_probe(e, s, mode);
    }
    stubs.string = e.offset();
    emit_helper(e, s, translator, string, common);
    for (unsigned lane = 0; lane < EngineData::lanes; ++lane) {
        const bool narrow = lane >= mmu::tlb_modes;
        stubs.underflow[lane] = e.offset();
        e.lea(rsp, ptr[rsp - 8]);
        stubs.indirect[lane] = e.offset();
        if (narrow) e.or_(t0(), e.qword_at(s.data.narrow_key));
        emit_jump_probe(e, s.data.jump[lane]);
        const u32 miss = e.jump_forward_if(cc::ne);
        e.jmp(jump_target(e, s.data.jump[lane]));
        stubs.missed[lane] = e.offset();
        e.mov(t0(), e.qword_at(s.data.branch_target));
        e.set_target_here(miss);
        if (narrow) e.mov(t0().cvt32(), t0().cvt32());
        e.mov(e.qword_at(s.data.rip), t0());
        e.jump_to(stubs.leave[static_cast<u32>(LeaveReason::lookup)]);
    }
    stubs.end = e.offset();
    return stubs;
}

}  // namespace triune::hypervisor::soft::bt
