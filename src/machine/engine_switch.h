// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "base/mutex.h"
#include "hypervisor/hypervisor.h"
#include "machine/processors.h"

namespace triune::machine {

/// The VM as devices and processors see it, whichever engine is behind it: move_to() puts another in its
/// place, which goes on where this one is.
///
/// Threads: any. The lock is taken after devices' locks and before the chip's.
class EngineSwitch final : public hypervisor::Vm {
public:
    EngineSwitch(std::unique_ptr<hypervisor::Vm> vm, memory::GuestMemory& memory)
        : memory_(memory),
          vm_(std::move(vm)),
          saves_exits_(vm_->io_events_save_exits()),
          direct_irqs_(vm_->irq_events_are_direct()) {}

    Result<std::unique_ptr<hypervisor::Vcpu>> create_vcpu(unsigned index) override {
        const base::MutexLock lock(mutex_);
        return vm_->create_vcpu(index);
    }
    void set_gsi(unsigned gsi, bool level) override {
        const base::MutexLock lock(mutex_);
        vm_->set_gsi(gsi, level);
    }
    void signal_msi(u64 address, u32 data) override {
        const base::MutexLock lock(mutex_);
        vm_->signal_msi(address, data);
    }
    Result<hypervisor::ChipState> chip_state() override {
        const base::MutexLock lock(mutex_);
        return vm_->chip_state();
    }
    Result<void> set_chip_state(const hypervisor::ChipState& s) override {
        const base::MutexLock lock(mutex_);
        return vm_->set_chip_state(s);
    }
    Result<void> add_io_event(const hypervisor::IoEvent& event) override;
    Result<void> remove_io_event(const hypervisor::IoEvent& event) override;
    [[nodiscard]] bool io_events_save_exits() const override { return saves_exits_; }
    [[nodiscard]] bool irq_events_are_direct() const override { return direct_irqs_; }
    Result<void> add_irq_event(const hypervisor::IrqEvent& event) override;
    Result<void> remove_irq_event(const hypervisor::IrqEvent& event) override;
    Result<unsigned> add_msi_gsi(u64 address, u32 data) override;
    void remove_msi_gsi(unsigned gsi) override;
    Result<void> set_dirty_log(unsigned slot, bool on) override;
    Result<memory::PageBitmap> take_dirty_log(unsigned slot) override;

    /// Moves everything to `next`, a VM over the same memory and devices that has not run. The processors
    /// are paused, and stay so. Interrupts that come meanwhile wait. When it fails at the start, all is as it
    /// was; a failure halfway ends the run. Events move too; a dirty log that is on tells all pages next.
    Result<void> move_to(std::unique_ptr<hypervisor::Vm> next, Processors& processors);

private:
    struct Message {
        u64 address;
        u32 data;
        unsigned gsi;  ///< in vm_
    };
    [[nodiscard]] hypervisor::IrqEvent inner(hypervisor::IrqEvent event) const REQUIRES(mutex_);
    Result<void> move_events(hypervisor::Vm& next) REQUIRES(mutex_);
    [[nodiscard]] std::shared_ptr<hypervisor::Vm> vm() {
        const base::MutexLock lock(mutex_);
        return vm_;
    }

    memory::GuestMemory& memory_;
    base::Mutex mutex_;
    std::shared_ptr<hypervisor::Vm> vm_ GUARDED_BY(mutex_);
    std::atomic<bool> saves_exits_, direct_irqs_;
    std::vector<hypervisor::IoEvent> io_events_ GUARDED_BY(mutex_);
    std::vector<hypervisor::IrqEvent> irq_events_ GUARDED_BY(mutex_);
    std::map<unsigned, Message> messages_ GUARDED_BY(mutex_);  ///< by the number that callers know
    std::set<unsigned> logged_ GUARDED_BY(mutex_);             ///< slots whose dirty log is on
};

}  // namespace triune::machine
