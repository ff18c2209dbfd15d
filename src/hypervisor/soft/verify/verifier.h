// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

/// soft/verify: an engine that runs the translator and holds every block against the reference engine.
///
///     state, memory --- translator, one block ------> state, memory
///            `--------- reference, step by step ----> a copy of the state, copies of the pages
///                                                       ... until both agree, or nothing is left to try
///
/// The reference starts from the same registers and sees memory as it was; time, random numbers and the
/// local APIC's answers are those that the translator got. Port I/O and MMIO are declined by the translator,
/// so nothing of them is repeated. What the translator declines the reference engine executes anyway, so that
/// needs no check.
///
/// Not a difference: accessed and dirty bits of page-table entries (a TLB may save the walk), status flags
/// that the manual leaves undefined (the translator leaves them to the host), and status flags that the code
/// overwrites before it reads them, in the state and in the frame of a fault (see docs/ARCHITECTURE.md). A
/// step during which a device wrote guest memory cannot be settled when it differs: it is counted, and the VM
/// goes on.
///
/// Threads: the vCPU's. Other vCPUs must not run meanwhile (VmState sees to that).
#include <array>
#include <functional>

#include "hypervisor/soft/interp/interp.h"
#include "hypervisor/soft/verify/page_log.h"
#include "hypervisor/soft/verify/replay.h"
#include "x86/insn.h"

namespace triune::hypervisor::soft::verify {

class Verifier final : public cpu::Engine {
public:
    /// `engine` runs one block at a time (bt::Options::one_block) on `mmu` and its vCPU, whose local APIC is
    /// known. `listing` is what it makes of the code at an address, for a person.
    Verifier(cpu::Engine& engine, std::function<std::string(u64 rip)> listing, mmu::Mmu& mmu);
    ~Verifier() override;

    cpu::EngineExit run() override;
    void invalidate(Gpa gpa, u64 size) override;
    /// After EngineExit::unsound: the difference, for a person.
    [[nodiscard]] const std::string& report() const { return report_; }

private:
    /// The last three cannot be settled: a device wrote memory meanwhile, a debug exception waits for the
    /// next boundary, more pages were written than are kept.
    enum class Verdict : u8 { same, different, device_wrote, debug_waits, too_many_pages };

    static observe::Counter counter_of(Verdict verdict);
    Verdict check(cpu::EngineExit exit);
    bool did_nothing(cpu::EngineExit exit);
    bool reference_agrees(cpu::EngineExit exit);
    void start_reference();
    /// `unseen` as unseen_flags() says, in RFLAGS and in the image that a fault pushed.
    bool agrees_here(cpu::EngineExit exit, u64 rip, bool faulted);
    bool agrees_after_simd_exception(u64 unseen);
    bool agrees_now(u64 unseen, u64 unseen_in_frame);
    bool memory_agrees(u64 unseen_in_frame);
    /// Takes over from the checked vCPU what the instruction at `rip` got from the host.
    bool adopt(u64 rip);
    template <class F>
    void as_before(F f);
    [[nodiscard]] u64 unseen_at(u64 rip);
    /// Flags that the manual leaves undefined where the reference is. The instruction that faulted did
    /// nothing.
    [[nodiscard]] u64 undefined_after(bool faulted);
    std::string describe_difference(cpu::EngineExit exit);
    std::string describe_memory();
    size_t likest_arrival();
    bool fetch(u64 rip, x86::Insn& insn);

    cpu::Engine& engine_;
    std::function<std::string(u64)> listing_;
    mmu::Mmu& mmu_;
    cpu::VcpuContext& checked_;

    std::unique_ptr<mmu::Tlb> reference_tlb_ = std::make_unique<mmu::Tlb>();
    cpu::VcpuContext reference_;
    mmu::Mmu reference_mmu_;
    system::System system_;
    interp::Interpreter interp_;

    ApicLog apic_log_;
    RecordedApic recorded_apic_;
    ReplayedApic replayed_apic_{apic_log_};
    NoIo no_io_;
    PageLog pages_;

    x86::VcpuState before_;
    u64 tsc_before_ = 0, tsc_after_ = 0;
    u64 device_writes_before_ = 0;
    u64 seen_generation_ = 0;
    std::vector<u64> path_;  ///< where the reference went
    u64 steps_ = 0;
    struct Unseen {
        u64 key = ~u64{0}, flags = 0;
    };
    std::array<Unseen, 4096> unseen_{};  ///< answers of unseen_at(), while the code stays what it is
    std::string report_;
};

}  // namespace triune::hypervisor::soft::verify
