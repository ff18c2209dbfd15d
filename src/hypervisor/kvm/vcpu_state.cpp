// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/kvm/vcpu_state.h"

#include <cstring>
#include <string>

#include "hypervisor/kvm/abi.h"
#include "x86/host_cpuid.h"

namespace triune::hypervisor::kvm {
namespace {

using x86::VcpuState;

constexpr size_t xstate_bv_at = 512;
constexpr u64 xfeature_pkru = 1 << 9;

std::unexpected<Error> refused(const char* what) { return fail_errno(std::string("KVM: ") + what); }

}  // namespace

bool get_msr(int vcpu, u32 index, u64& value) {
    kvm_msr_entry e{};
    e.index = index;
    abi::Table<kvm_msr_entry> table({e});
    if (call(vcpu, abi::get_msrs, table.header()) != 1) return false;
    value = table.entries()[0].data;
    return true;
}

bool set_msr(int vcpu, u32 index, u64 value) {
    kvm_msr_entry e{};
    e.index = index;
    e.data = value;
    abi::Table<kvm_msr_entry> table({e});
    return call(vcpu, abi::set_msrs, table.header()) == 1;
}

namespace {

constexpr u8 vector_db = 1;

u32 run_state(const VcpuState& s) {
    if (s.sipi_pending && (s.waiting_for_sipi || s.init_pending)) return KVM_MP_STATE_SIPI_RECEIVED;
    if (s.waiting_for_sipi) return KVM_MP_STATE_INIT_RECEIVED;
    return s.halted ? KVM_MP_STATE_HALTED : KVM_MP_STATE_RUNNABLE;
}

u8 shadow_from_kvm(u8 shadow) {
    if (!shadow) return x86::shadow::none;
    // AMD-V has one bit for both, and KVM then tells of both.
    return shadow & KVM_X86_SHADOW_INT_STI ? x86::shadow::sti : x86::shadow::mov_ss;
}

u8 shadow_to_kvm(u8 shadow) {
    if (!shadow) return 0;
    return shadow == x86::shadow::mov_ss ? KVM_X86_SHADOW_INT_MOV_SS : KVM_X86_SHADOW_INT_STI;
}

}  // namespace

// -- registers --------------------------------------------------------------------------------------

kvm_segment to_kvm(const x86::Segment& s) {
    kvm_segment k{};
    k.base = s.base;
    k.limit = s.limit;
    k.selector = s.selector;
    k.type = static_cast<u8>(s.type());
    k.s = !s.system();
    k.dpl = static_cast<u8>(s.dpl());
    k.present = s.present() && !s.unusable();
    k.avl = (s.attr >> 12) & 1;
    k.l = s.long_mode();
    k.db = s.db();
    k.g = (s.attr >> 15) & 1;
    k.unusable = s.unusable();
    return k;
}

x86::Segment from_kvm(const kvm_segment& k) {
    x86::Segment s;
    s.selector = k.selector;
    s.base = k.base;
    s.limit = k.limit;
    const auto bit = [](u32 v, unsigned at) { return (v & 1) << at; };
    s.attr = (k.type & 15u) | bit(k.s, 4) | (k.dpl & 3u) << 5 | bit(k.present, 7) | bit(k.avl, 12) |
             bit(k.l, 13) | bit(k.db, 14) | bit(k.g, 15) | bit(k.unusable, 16);
    return s;
}

kvm_regs to_kvm_regs(const VcpuState& s) {
    kvm_regs r{};
    r.rax = s.gpr[x86::rax], r.rbx = s.gpr[x86::rbx], r.rcx = s.gpr[x86::rcx], r.rdx = s.gpr[x86::rdx];
    r.rsi = s.gpr[x86::rsi], r.rdi = s.gpr[x86::rdi], r.rsp = s.gpr[x86::rsp], r.rbp = s.gpr[x86::rbp];
    r.r8 = s.gpr[x86::r8], r.r9 = s.gpr[x86::r9], r.r10 = s.gpr[x86::r10], r.r11 = s.gpr[x86::r11];
    r.r12 = s.gpr[x86::r12], r.r13 = s.gpr[x86::r13], r.r14 = s.gpr[x86::r14], r.r15 = s.gpr[x86::r15];
    r.rip = s.rip;
    r.rflags = s.rflags;
    return r;
}

void from_kvm_regs(VcpuState& s, const kvm_regs& r) {
    s.gpr = {r.rax, r.rcx, r.rdx, r.rbx, r.rsp, r.rbp, r.rsi, r.rdi,
             r.r8,  r.r9,  r.r10, r.r11, r.r12, r.r13, r.r14, r.r15};
    s.rip = r.rip;
    s.rflags = r.rflags;
}

void to_kvm_sregs(kvm_sregs& r, const VcpuState& s) {
    r.es = to_kvm(s.seg[x86::es]), r.cs = to_kvm(s.seg[x86::cs]), r.ss = to_kvm(s.seg[x86::ss]);
    r.ds = to_kvm(s.seg[x86::ds]), r.fs = to_kvm(s.seg[x86::fs]), r.gs = to_kvm(s.seg[x86::gs]);
    r.ldt = to_kvm(s.ldtr);
    r.tr = to_kvm(s.tr);
    r.gdt.base = s.gdtr.base, r.gdt.limit = static_cast<u16>(s.gdtr.limit);
    r.idt.base = s.idtr.base, r.idt.limit = static_cast<u16>(s.idtr.limit);
    r.cr0 = s.cr0, r.cr2 = s.cr2, r.cr3 = s.cr3, r.cr4 = s.cr4;
    r.efer = s.efer;
}

void from_kvm_sregs(VcpuState& s, const kvm_sregs& r) {
    s.seg[x86::es] = from_kvm(r.es), s.seg[x86::cs] = from_kvm(r.cs), s.seg[x86::ss] = from_kvm(r.ss);
    s.seg[x86::ds] = from_kvm(r.ds), s.seg[x86::fs] = from_kvm(r.fs), s.seg[x86::gs] = from_kvm(r.gs);
    s.ldtr = from_kvm(r.ldt);
    s.tr = from_kvm(r.tr);
    s.gdtr = {.base = r.gdt.base, .limit = r.gdt.limit};
    s.idtr = {.base = r.idt.base, .limit = r.idt.limit};
    s.cr0 = r.cr0, s.cr2 = r.cr2, s.cr3 = r.cr3, s.cr4 = r.cr4;
    s.efer = r.efer;
}

// The page-directory-pointer entries of PAE paging are registers of the processor: what memory holds may be
// newer (Intel SDM 3A 4.4.1). KVM_SET_SREGS has read them from memory.

static bool has_pdptes(const VcpuState& s) {
    return (s.cr0 & x86::cr0::pg) && (s.cr4 & x86::cr4::pae) && !(s.efer & x86::efer::lma);
}

Result<void> StateAccess::read_pdptes(VcpuState& s) const {
    if (!sregs2_ || !has_pdptes(s)) return {};
    kvm_sregs2 r{};
    if (call(vcpu_, KVM_GET_SREGS2, &r) < 0) return refused("KVM_GET_SREGS2");
    if (r.flags & KVM_SREGS2_FLAGS_PDPTRS_VALID)
        for (size_t i = 0; i < s.pdpte.size(); ++i) s.pdpte[i] = r.pdptrs[i];
    return {};
}

Result<void> StateAccess::write_pdptes(const VcpuState& s) const {
    if (!sregs2_ || !has_pdptes(s)) return {};
    kvm_sregs2 r{};
    if (call(vcpu_, KVM_GET_SREGS2, &r) < 0) return refused("KVM_GET_SREGS2");
    for (size_t i = 0; i < s.pdpte.size(); ++i) r.pdptrs[i] = s.pdpte[i];
    r.flags |= KVM_SREGS2_FLAGS_PDPTRS_VALID;
    if (call(vcpu_, KVM_SET_SREGS2, &r) < 0) return refused("KVM_SET_SREGS2");
    return {};
}

// -- MSRs -------------------------------------------------------------------------------------------

const std::vector<StateAccess::Msr>& StateAccess::all_msrs() {
    static const std::vector<Msr> all = [] {
        std::vector<Msr> list;
        const auto add = [&](u32 index, u64* (*slot)(VcpuState&, u32)) { list.push_back({index, slot}); };
        // Intel SDM 4 table 2-2; AMD APM 2 appendix A; Linux Documentation/virt/kvm/x86/msr.rst.
        add(0x48, [](VcpuState& s, u32) { return &s.spec_ctrl; });
        add(0x174, [](VcpuState& s, u32) { return &s.sysenter_cs; });
        add(0x175, [](VcpuState& s, u32) { return &s.sysenter_esp; });
        add(0x176, [](VcpuState& s, u32) { return &s.sysenter_eip; });
        add(0x1a0, [](VcpuState& s, u32) { return &s.misc_enable; });
        add(0x1d9, [](VcpuState& s, u32) { return &s.debugctl; });
        for (u32 i = 0; i < 16; ++i)
            add(0x200 + i, [](VcpuState& s, u32 msr) { return &s.mtrr_variable[msr - 0x200]; });
        add(0x250, [](VcpuState& s, u32) { return s.mtrr_fixed.data(); });
        for (u32 i = 0; i < 2; ++i)
            add(0x258 + i, [](VcpuState& s, u32 msr) { return &s.mtrr_fixed[1 + msr - 0x258]; });
        for (u32 i = 0; i < 8; ++i)
            add(0x268 + i, [](VcpuState& s, u32 msr) { return &s.mtrr_fixed[3 + msr - 0x268]; });
        add(0x277, [](VcpuState& s, u32) { return &s.pat; });
        add(0x2ff, [](VcpuState& s, u32) { return &s.mtrr_def_type; });
        add(0x4b564d01, [](VcpuState& s, u32) { return &s.kvmclock_msr; });
        add(0xc0000081, [](VcpuState& s, u32) { return &s.star; });
        add(0xc0000082, [](VcpuState& s, u32) { return &s.lstar; });
        add(0xc0000083, [](VcpuState& s, u32) { return &s.cstar; });
        add(0xc0000084, [](VcpuState& s, u32) { return &s.sfmask; });
        add(0xc0000102, [](VcpuState& s, u32) { return &s.kernel_gs_base; });
        add(0xc0000103, [](VcpuState& s, u32) { return &s.tsc_aux; });
        return list;
    }();
    return all;
}

Result<void> StateAccess::read_msrs(VcpuState& s) const {
    std::vector<kvm_msr_entry> wanted(msrs_.size());
    for (size_t i = 0; i < msrs_.size(); ++i) wanted[i].index = msrs_[i].index;
    abi::Table<kvm_msr_entry> table(wanted);
    if (call(vcpu_, abi::get_msrs, table.header()) != static_cast<int>(msrs_.size()))
        return refused("KVM_GET_MSRS");
    for (const kvm_msr_entry& e : table.entries())
        for (const Msr& m : msrs_)
            if (m.index == e.index) *m.slot(s, m.index) = e.data;
    return {};
}

// Only what differs is written: a write of some MSRs (kvmclock's) has effects of its own, and some that are
// read-only here hold what they should already.
Result<void> StateAccess::write_msrs(const VcpuState& s) const {
    VcpuState now, then = s;
    if (auto r = read_msrs(now); !r) return r;
    for (const Msr& m : msrs_) {
        const u64 wanted = *m.slot(then, m.index);
        if (*m.slot(now, m.index) == wanted) continue;
        if (!set_msr(vcpu_, m.index, wanted))
            return fail("KVM: MSR " + std::to_string(m.index) + " cannot be set to " +
                        std::to_string(wanted));
    }
    return {};
}

// -- x87, SSE, AVX ----------------------------------------------------------------------------------

Result<void> StateAccess::read_extended(VcpuState& s) const {
    abi::Xsave area{};
    if (call(vcpu_, abi::get_xsave, &area) < 0) return refused("KVM_GET_XSAVE");
    const u8* const bytes = reinterpret_cast<const u8*>(area.region);
    u64 present = 0;
    std::memcpy(&present, bytes + xstate_bv_at, sizeof present);
    std::memcpy(s.xsave.data(), bytes, s.xsave.size());
    // The header speaks of what the array holds, in the standard format.
    const u64 held = present & 7;
    std::memset(&s.xsave[xstate_bv_at], 0, 64);
    std::memcpy(&s.xsave[xstate_bv_at], &held, sizeof held);
    s.pkru = 0;
    if (pkru_offset_ && (present & xfeature_pkru)) std::memcpy(&s.pkru, bytes + pkru_offset_, sizeof s.pkru);
    if (xcrs_) {
        kvm_xcrs xcrs{};
        if (call(vcpu_, KVM_GET_XCRS, &xcrs) < 0) return refused("KVM_GET_XCRS");
        for (u32 i = 0; i < xcrs.nr_xcrs && i < KVM_MAX_XCRS; ++i)
            if (xcrs.xcrs[i].xcr == 0) s.xcr0 = xcrs.xcrs[i].value;
    }
    return {};
}

Result<void> StateAccess::write_extended(const VcpuState& s) const {
    if (xcrs_) {
        kvm_xcrs xcrs{};
        xcrs.nr_xcrs = 1;
        xcrs.xcrs[0].value = s.xcr0;
        if (call(vcpu_, KVM_SET_XCRS, &xcrs) < 0) return refused("KVM_SET_XCRS");
    }
    abi::Xsave area{};
    u8* const bytes = reinterpret_cast<u8*>(area.region);
    std::memcpy(bytes, s.xsave.data(), s.xsave.size());
    u64 present = 0;
    std::memcpy(&present, bytes + xstate_bv_at, sizeof present);
    // A host without AVX has no place for it.
    present &= x86::host_cpuid(0xd).eax & 7;
    std::memset(bytes + xstate_bv_at, 0, 64);
    if (pkru_offset_) {
        present |= xfeature_pkru;
        std::memcpy(bytes + pkru_offset_, &s.pkru, sizeof s.pkru);
    }
    std::memcpy(bytes + xstate_bv_at, &present, sizeof present);
    if (call(vcpu_, abi::set_xsave, &area) < 0) return refused("KVM_SET_XSAVE");
    return {};
}

// -- events -----------------------------------------------------------------------------------------

// An exception of a fault's kind that is being delivered is not part of the state: its instruction meets it
// again. One of a trap's kind waits for the next instruction, and so does an NMI.
Result<void> StateAccess::read_events(VcpuState& s) const {
    kvm_vcpu_events events{};
    if (call(vcpu_, KVM_GET_VCPU_EVENTS, &events) < 0) return refused("KVM_GET_VCPU_EVENTS");
    s.interrupt_shadow = shadow_from_kvm(events.interrupt.shadow);
    s.nmi_blocked = events.nmi.masked && !events.nmi.injected;
    s.nmi_pending = static_cast<u8>((events.nmi.pending != 0) + (events.nmi.injected != 0));
    const auto& e = events.exception;
    if ((e.injected || e.pending) && e.nr == vector_db) s.pending_debug = s.dr[6] & x86::dr6::bs;
    return {};
}

// What has come for a vCPU that does not run (INIT, start-up) takes effect when its run state is asked for:
// before anything else is read.
Result<void> StateAccess::read_run_state(VcpuState& s) const {
    if (!kernel_apic_) return {};
    kvm_mp_state mp{};
    if (call(vcpu_, KVM_GET_MP_STATE, &mp) < 0) return refused("KVM_GET_MP_STATE");
    s.halted = mp.mp_state == KVM_MP_STATE_HALTED;
    s.waiting_for_sipi =
        mp.mp_state == KVM_MP_STATE_UNINITIALIZED || mp.mp_state == KVM_MP_STATE_INIT_RECEIVED;
    return {};
}

Result<void> StateAccess::write_events(const VcpuState& s, kvm_vcpu_events events) const {
    events.flags = KVM_VCPUEVENT_VALID_SHADOW | KVM_VCPUEVENT_VALID_NMI_PENDING |
                   (events.flags & KVM_VCPUEVENT_VALID_PAYLOAD);
    if (!s.interrupt_shadow || shadow_from_kvm(events.interrupt.shadow) != s.interrupt_shadow)
        events.interrupt.shadow = shadow_to_kvm(s.interrupt_shadow);
    if (s.pending_debug && !events.exception.injected) {
        events.exception = {};
        events.exception.injected = 1;
        events.exception.nr = vector_db;
    }
    // One that is being delivered blocks others, and is among those that wait.
    const bool delivering = events.nmi.injected;
    events.nmi.masked = s.nmi_blocked || delivering;
    events.nmi.pending = static_cast<u8>(s.nmi_pending - (s.nmi_pending && delivering));
    if (kernel_apic_ && s.init_pending) {
        events.flags |= KVM_VCPUEVENT_VALID_SMM;
        events.smi = {};
        events.smi.latched_init = 1;
    }
    if (kernel_apic_ && s.sipi_pending) {
        events.flags |= KVM_VCPUEVENT_VALID_SIPI_VECTOR;
        events.sipi_vector = s.sipi_vector;
    }
    if (call(vcpu_, KVM_SET_VCPU_EVENTS, &events) < 0) return refused("KVM_SET_VCPU_EVENTS");
    if (!kernel_apic_) return {};
    kvm_mp_state mp{};
    if (!s.init_pending && !s.sipi_pending) {
        if (call(vcpu_, KVM_GET_MP_STATE, &mp) < 0) return refused("KVM_GET_MP_STATE");
        if (mp.mp_state == run_state(s)) return {};
    }
    mp.mp_state = run_state(s);
    if (call(vcpu_, KVM_SET_MP_STATE, &mp) < 0) return refused("KVM_SET_MP_STATE");
    return {};
}

// -- all of it --------------------------------------------------------------------------------------

StateAccess::StateAccess(int vcpu, const Device& device, bool pku, bool kernel_apic)
    : vcpu_(vcpu),
      kernel_apic_(kernel_apic),
      xcrs_(device.has(KVM_CAP_XCRS)),
      sregs2_(device.has(KVM_CAP_SREGS2)) {
    const kvm_device_attr attribute{.group = KVM_VCPU_TSC_CTRL, .attr = KVM_VCPU_TSC_OFFSET};
    tsc_attribute_ = call(vcpu, KVM_HAS_DEVICE_ATTR, &attribute) == 0;
    const u32 offset = x86::host_cpuid(0xd, 9).ebx;
    pkru_offset_ = pku && offset != 0 && offset + 4 <= sizeof(abi::Xsave) ? offset : 0;
    for (const Msr& m : all_msrs()) {
        u64 value = 0;
        if (get_msr(vcpu, m.index, value)) msrs_.push_back(m);
    }
}

Result<u64> StateAccess::tsc_offset() const {
    u64 value = 0;
    if (tsc_attribute_) {
        const kvm_device_attr attribute{
            .group = KVM_VCPU_TSC_CTRL, .attr = KVM_VCPU_TSC_OFFSET, .addr = reinterpret_cast<u64>(&value)};
        if (call(vcpu_, KVM_GET_DEVICE_ATTR, &attribute) < 0) return refused("KVM_VCPU_TSC_OFFSET");
        return value;
    }
    if (!get_msr(vcpu_, msr_tsc, value)) return refused("IA32_TIME_STAMP_COUNTER");
    return value - __builtin_ia32_rdtsc();
}

Result<void> StateAccess::set_tsc_offset(u64 offset) const {
    if (tsc_attribute_) {
        const kvm_device_attr attribute{
            .group = KVM_VCPU_TSC_CTRL, .attr = KVM_VCPU_TSC_OFFSET, .addr = reinterpret_cast<u64>(&offset)};
        if (call(vcpu_, KVM_SET_DEVICE_ATTR, &attribute) < 0) return refused("KVM_VCPU_TSC_OFFSET");
        return {};
    }
    // The kernel takes values that are within a second of each other for one and the same.
    if (!set_msr(vcpu_, msr_tsc, __builtin_ia32_rdtsc() + offset)) return refused("IA32_TIME_STAMP_COUNTER");
    return {};
}

Result<VcpuState> StateAccess::read() const {
    VcpuState s;
    kvm_regs regs{};
    kvm_sregs sregs{};
    kvm_debugregs debug{};
    if (auto r = read_run_state(s); !r) return std::unexpected(r.error());
    if (call(vcpu_, KVM_GET_REGS, &regs) < 0) return refused("KVM_GET_REGS");
    if (call(vcpu_, KVM_GET_SREGS, &sregs) < 0) return refused("KVM_GET_SREGS");
    if (call(vcpu_, KVM_GET_DEBUGREGS, &debug) < 0) return refused("KVM_GET_DEBUGREGS");
    from_kvm_regs(s, regs);
    from_kvm_sregs(s, sregs);
    if (auto r = read_pdptes(s); !r) return std::unexpected(r.error());
    for (unsigned i = 0; i < 4; ++i) s.dr[i] = debug.db[i];
    s.dr[6] = debug.dr6;
    s.dr[7] = debug.dr7;
    if (auto r = read_msrs(s); !r) return std::unexpected(r.error());
    if (auto r = read_extended(s); !r) return std::unexpected(r.error());
    if (auto r = read_events(s); !r) return std::unexpected(r.error());
    const auto offset = tsc_offset();
    if (!offset) return std::unexpected(offset.error());
    s.tsc_offset = *offset;
    return s;
}

Result<void> StateAccess::write(const VcpuState& s) const {
    kvm_regs before{};
    kvm_sregs sregs{};
    if (call(vcpu_, KVM_GET_REGS, &before) < 0) return refused("KVM_GET_REGS");
    if (call(vcpu_, KVM_GET_SREGS, &sregs) < 0) return refused("KVM_GET_SREGS");
    const bool moved = before.rip != s.rip || sregs.cs.base != s.seg[x86::cs].base || sregs.cr3 != s.cr3;
    // An interrupt that is being delivered is KVM_SET_VCPU_EVENTS' business.
    std::memset(sregs.interrupt_bitmap, 0, sizeof sregs.interrupt_bitmap);
    to_kvm_sregs(sregs, s);
    if (call(vcpu_, KVM_SET_SREGS, &sregs) < 0) return refused("KVM_SET_SREGS");
    if (auto r = write_pdptes(s); !r) return r;
    if (auto r = write_extended(s); !r) return r;
    if (auto r = write_msrs(s); !r) return r;
    kvm_debugregs debug{};
    for (unsigned i = 0; i < 4; ++i) debug.db[i] = s.dr[i];
    debug.dr6 = s.dr[6] | s.pending_debug;
    debug.dr7 = s.dr[7];
    if (call(vcpu_, KVM_SET_DEBUGREGS, &debug) < 0) return refused("KVM_SET_DEBUGREGS");
    // KVM_SET_REGS forgets an exception that is being delivered.
    kvm_vcpu_events events{};
    if (call(vcpu_, KVM_GET_VCPU_EVENTS, &events) < 0) return refused("KVM_GET_VCPU_EVENTS");
    if (moved) events.exception = {}, events.interrupt.injected = 0, events.nmi.injected = 0;
    const kvm_regs regs = to_kvm_regs(s);
    if (call(vcpu_, KVM_SET_REGS, &regs) < 0) return refused("KVM_SET_REGS");
    if (auto r = write_events(s, events); !r) return r;
    const auto offset = tsc_offset();
    if (!offset) return std::unexpected(offset.error());
    if (*offset == s.tsc_offset) return {};
    return set_tsc_offset(s.tsc_offset);
}

}  // namespace triune::hypervisor::kvm
