// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <optional>

#include "hypervisor/describe.h"
#include "hypervisor/soft/bt/bt.h"
#include "hypervisor/soft/interp/interp.h"
#include "hypervisor/soft/vcpu_io.h"
#include "hypervisor/soft/verify/verifier.h"
#include "hypervisor/soft/vm_state.h"
#include "hypervisor/soft/watch.h"

namespace triune::hypervisor::soft {

/// One vCPU and its run loop:
///
///     signals -> event injection -> (asleep while halted) -> engine -> declined? one reference step
class SoftVcpu final : public Vcpu {
public:
    SoftVcpu(std::shared_ptr<VmState> vm, unsigned index);

    Exit run() override;
    void kick() override { c_.signals.raise(cpu::Signal::kick); }
    x86::VcpuState state() override;
    void set_state(const x86::VcpuState& s) override;
    Result<void> set_guest_debug(const GuestDebug& debug) override;
    [[nodiscard]] const observe::Counters& counters() const override { return c_.counters; }

private:
    /// Acts on all signals; true if one was a kick.
    bool take_signals();
    void invalidate_written_code();
    void init();
    void startup(u8 vector);
    /// Delivers what can be delivered now. False: triple fault.
    bool inject();
    void sleep(VmState::Turn& turn, u64 deadline_ns);
    /// Runs the engine, and the reference engine where that declines. False: triple fault.
    bool execute();
    bool reference_steps(unsigned count);
    std::optional<Debug> debug_event();
    [[nodiscard]] bool breakpoint_here() const {
        return std::ranges::binary_search(breakpoints_, code_address(c_.state));
    }
    cpu::Engine& choose_engine();
    [[nodiscard]] bool unsound() const { return verifier_ && !verifier_->report().empty(); }
    [[nodiscard]] bool must_look() const {
        const x86::VcpuState& s = c_.state;
        return c_.signals.any() || (s.nmi_pending && !s.nmi_blocked) ||
               (c_.interrupt_waiting && (s.rflags & x86::flag::if_) && !s.interrupt_shadow);
    }

    std::shared_ptr<VmState> vm_;
    VcpuSlot& slot_;
    cpu::VcpuContext& c_;
    irqchip::Lapic& apic_;
    VcpuIo io_;
    mmu::Mmu mmu_;
    system::System system_;
    interp::Interpreter interp_;
    std::unique_ptr<bt::Translator> translator_;  ///< null with engine "interp"
    std::unique_ptr<verify::Verifier> verifier_;  ///< null unless the VM is verified
    cpu::Engine& engine_;
    std::vector<Gva> breakpoints_;  ///< sorted
    Watch watch_;
    std::optional<Debug> watchpoint_met_;
    bool debugging_ = false;  ///< there is a break- or watchpoint
    bool single_step_ = false;
    /// Steps that the reference engine takes at the next refusal, see execute().
    unsigned patience_ = 1;
};

}  // namespace triune::hypervisor::soft
