// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

/// soft/system: privileged architecture, shared by the engines: event delivery, control registers,
/// MSRs, CPUID, descriptors and segment loads, far transfers. Functions act on a vCPU and give
/// guest faults back as values; the caller (an engine or the run loop) delivers them.
///
/// Threads: the vCPU's own.
#include <array>
#include <expected>
#include <optional>
#include <string>

#include "hypervisor/soft/mmu/mmu.h"
#include "hypervisor/soft/system/features.h"

namespace triune::hypervisor::soft::system {

/// A guest exception to be delivered. Faults leave RIP at the instruction; traps after it.
struct Fault {
    u8 vector = 0;
    bool has_error_code = false;
    u32 error_code = 0;
    u64 cr2 = 0;  ///< for #PF

    static Fault ud() { return {x86::vec::ud, false, 0, 0}; }
    static Fault gp(u32 e = 0) { return {x86::vec::gp, true, e, 0}; }
    static Fault ss(u32 e = 0) { return {x86::vec::ss, true, e, 0}; }
    static Fault np(u32 e) { return {x86::vec::np, true, e, 0}; }
    static Fault ts(u32 e) { return {x86::vec::ts, true, e, 0}; }
    static Fault nm() { return {x86::vec::nm, false, 0, 0}; }
    static Fault de() { return {x86::vec::de, false, 0, 0}; }
    static Fault db() { return {x86::vec::db, false, 0, 0}; }
    static Fault pf(const mmu::PageFault& f) { return {x86::vec::pf, true, f.error_code, f.address}; }
};
template <class T>
using Guest = std::expected<T, Fault>;

/// Everything below acts on one vCPU.
class System {
public:
    System(cpu::VcpuContext& vcpu, mmu::Mmu& mmu) : vcpu_(vcpu), mmu_(mmu) {}

    /// What this vCPU does has been done before (soft/verify): the monitor's own writes to guest memory,
    /// which no Mmu sees, are not repeated.
    void set_repeating() { repeating_ = true; }
    [[nodiscard]] bool repeating() const { return repeating_; }

    // -- events (Intel SDM 3A 6) --------------------------------------------------------------
    enum class EventKind : u8 { external, nmi, exception, software_int, software_bp_of, icebp };
    enum class Delivered : u8 { ok, shutdown };
    /// Delivers `f` as an exception, with #DF and triple-fault escalation. RIP in state is what is
    /// pushed.
    Delivered deliver_fault(const Fault& f);
    /// External interrupt or NMI.
    Delivered deliver_interrupt(u8 vector, EventKind kind = EventKind::external);
    /// INT n, INT3, INTO, ICEBP: `next_rip` is pushed. A fault in delivery is returned with RIP unchanged.
    Guest<void> software_interrupt(u8 vector, EventKind kind, u64 next_rip);
    /// `next_rip` is where a task that IRET leaves by a hardware task switch goes on.
    Guest<void> iret(unsigned operand_bits, u64 next_rip = 0);

    // -- system calls ---------------------------------------------------------------------------
    Guest<void> syscall(u64 next_rip);
    Guest<void> sysret(unsigned operand_bits);
    Guest<void> sysenter();
    Guest<void> sysexit(unsigned operand_bits);

    // -- control, debug and model-specific registers ------------------------------------------
    Guest<u64> read_cr(unsigned n);
    Guest<void> write_cr(unsigned n, u64 value);
    Guest<u64> read_dr(unsigned n);
    Guest<void> write_dr(unsigned n, u64 value);
    Guest<void> clts();
    Guest<void> lmsw(u16 value);
    Guest<u64> rdmsr(u32 msr);
    Guest<void> wrmsr(u32 msr, u64 value);
    Guest<void> xsetbv(u32 index, u64 value);
    Guest<u64> xgetbv(u32 index);
    Guest<u32> rdpkru(u32 index);
    Guest<void> wrpkru(u32 index, u32 high, u32 value);
    Guest<u64> rdtsc();
    Guest<u64> rdpmc();
    /// Writes RAX, RBX, RCX, RDX.
    Guest<void> cpuid();
    Guest<void> invlpg(Gva gva);
    Guest<void> invpcid(u64 type, u64 pcid, Gva gva);
    Guest<void> swapgs();
    /// Sets state.halted. The run loop counts halts.
    Guest<void> hlt();
    /// CLI/STI/POPF rules with IOPL, VME and PVI. `next` semantics (interrupt shadow) included.
    Guest<void> cli();
    Guest<void> sti();
    Guest<void> popf(u64 value, unsigned operand_bits);
    Guest<u64> pushf(unsigned operand_bits);
    Guest<void> vmcall();

    // -- segments and descriptors (Intel SDM 3A 3, 5) -----------------------------------------
    /// Loads of ES, SS, DS, FS, GS. The interrupt shadow after MOV SS and POP SS is the caller's to set
    /// (LSS has none).
    Guest<void> load_segment(x86::Seg seg, u16 selector);
    Guest<void> lldt(u16 selector);
    Guest<void> ltr(u16 selector);
    Guest<void> lgdt(u64 base, u16 limit);
    Guest<void> lidt(u64 base, u16 limit);
    /// LAR/LSL/VERR/VERW: nullopt clears ZF.
    Guest<std::optional<u32>> lar(u16 selector);
    Guest<std::optional<u32>> lsl(u16 selector);
    Guest<bool> verr(u16 selector);
    Guest<bool> verw(u16 selector);
    /// Far transfers; they set CS, RIP and the stack themselves.
    /// `next_rip` is also where a task that is left goes on.
    Guest<void> far_jump(u16 selector, u64 offset, unsigned operand_bits, u64 next_rip = 0);
    Guest<void> far_call(u16 selector, u64 offset, unsigned operand_bits, u64 next_rip);
    Guest<void> far_return(unsigned operand_bits, u16 pop_bytes);

    // -- I/O ------------------------------------------------------------------------------------
    /// IOPL and TSS bitmap check; `size` 1, 2, 4.
    Guest<void> check_io(u16 port, unsigned size);
    Guest<u32> in(u16 port, unsigned size);
    Guest<void> out(u16 port, u32 value, unsigned size);

    /// Linear address of `offset` in `seg` for an access of `size` bytes, with the checks of the
    /// current mode (canonical; limit, type and rights outside 64-bit mode).
    Guest<Gva> linear(x86::Seg seg, u64 offset, unsigned size, mmu::Access access);
    /// RIP for the current mode is valid (canonical or within the CS limit), else #GP(0).
    Guest<void> check_rip(u64 rip);
    /// Rights of explicit data accesses now.
    [[nodiscard]] mmu::Privilege privilege() const {
        return vcpu_.state.cpl() == 3 ? mmu::Privilege::user : mmu::Privilege::supervisor;
    }
    /// Stack pointer width by SS.B and mode: push and pop of `bits` 16, 32, 64.
    Guest<void> push(u64 value, unsigned bits);
    Guest<u64> pop(unsigned bits);
    [[nodiscard]] unsigned stack_bits() const;

    cpu::VcpuContext& vcpu() { return vcpu_; }
    mmu::Mmu& mmu() { return mmu_; }
    /// The last few exceptions delivered, newest last, for triple-fault reports.
    std::string report() const;

private:
    friend struct SystemDetail;
    cpu::VcpuContext& vcpu_;
    mmu::Mmu& mmu_;
    Features features_;  ///< of features_.model; see SystemDetail::features
    struct Recent {
        u8 vector;
        u32 error;
        u64 rip, cr2;
    };
    std::array<Recent, 8> recent_{};
    unsigned recent_count_ = 0;
    bool repeating_ = false;
};

}  // namespace triune::hypervisor::soft::system
