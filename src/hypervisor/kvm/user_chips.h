// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <linux/kvm.h>

#include <memory>
#include <vector>

#include "base/mutex.h"
#include "hypervisor/kvm/vcpu_state.h"
#include "hypervisor/soft/irqchip/chip_io.h"
#include "hypervisor/soft/irqchip/irq_events.h"

namespace triune::hypervisor::kvm {

/// A VM's interrupt chips where KVM is to have none, or has none: those of the soft hypervisor.
class UserChips {
public:
    /// `model` lives as long as this.
    UserChips(const VmConfig& config, const x86::CpuModel& model, u64 tsc_offset);

    soft::irqchip::IrqChip& chip() { return *chip_; }
    soft::irqchip::IrqEvents& events() { return *events_; }
    soft::cpu::VcpuContext& context(unsigned vcpu) { return *contexts_[vcpu]; }
    /// Who is to be woken when something comes for a vCPU; null: nobody any more, and no call is under way.
    void attach(unsigned vcpu, soft::cpu::Waker* waker) { wakers_[vcpu]->set(waker); }

private:
    class Relay final : public soft::cpu::Waker {
    public:
        void wake() override {
            const base::MutexLock lock(mutex_);
            if (to_) to_->wake();
        }
        void set(Waker* to) {
            const base::MutexLock lock(mutex_);
            to_ = to;
        }

    private:
        base::Mutex mutex_;  ///< a leaf
        Waker* to_ GUARDED_BY(mutex_) = nullptr;
    };

    std::vector<std::unique_ptr<Relay>> wakers_;
    std::vector<std::unique_ptr<soft::cpu::VcpuContext>> contexts_;
    std::unique_ptr<soft::irqchip::IrqChip> chip_;
    std::unique_ptr<soft::irqchip::IrqEvents> events_;
};

/// What one vCPU has outside KVM then: local APIC, halts, INIT and start-up messages, NMIs on their way.
/// KVM_INTERRUPT hands interrupts over, the run structure carries CR8 and IA32_APIC_BASE.
///
/// Threads: the vCPU's, but for kick().
class UserApic {
public:
    UserApic(UserChips& chips, unsigned index, int vcpu, kvm_run& run)
        : context_(chips.context(index)),
          apic_(chips.chip().apic(index)),
          io_(chips.chip(), index),
          vcpu_(vcpu),
          run_(run) {}

    void kick() { context_.signals.raise(soft::cpu::Signal::kick); }
    /// Something came that wants to be looked at before the guest goes on.
    [[nodiscard]] bool called() const { return context_.signals.any(); }
    /// Acts on what came; sleeps while the vCPU has nothing to do. True: it may enter the guest.
    Result<bool> settle(const StateAccess& state);
    /// Right before KVM_RUN, between two instructions: hands over what can be delivered.
    Result<void> inject();
    /// Right before and after KVM_RUN.
    void before_run() { run_.cr8 = cr8_ = apic_.cr8(); }
    void after_run();

    void halt() { halted_ = true; }
    /// False: #GP.
    bool read_msr(u32 index, u64& value);
    bool write_msr(u32 index, u64 value, const StateAccess& state);
    soft::irqchip::ChipIo& io() { return io_; }

    /// The part of the state that is here.
    void add_to(x86::VcpuState& s) const;
    void take_from(const x86::VcpuState& s);

private:
    Result<void> reset(const StateAccess& state);
    Result<void> start_up(const StateAccess& state);
    void sleep(u64 deadline_ns);

    soft::cpu::VcpuContext& context_;
    soft::irqchip::Lapic& apic_;
    soft::irqchip::ChipIo io_;
    int vcpu_;
    kvm_run& run_;
    u64 cr8_ = 0;  ///< as KVM was told
    u32 nmis_ = 0;
    bool halted_ = false, waiting_for_sipi_ = false;
};

}  // namespace triune::hypervisor::kvm
