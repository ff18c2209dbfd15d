// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

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
    explicit EngineSwitch(std::unique_ptr<hypervisor::Vm> vm) : vm_(std::move(vm)) {}

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

    /// Moves everything to `next`, a VM over the same memory and devices that has not run. The processors
    /// are paused, and stay so. Interrupts that come meanwhile wait. When it fails at the start, all is as it
    /// was; a failure halfway ends the run.
    Result<void> move_to(std::unique_ptr<hypervisor::Vm> next, Processors& processors);

private:
    base::Mutex mutex_;
    std::unique_ptr<hypervisor::Vm> vm_ GUARDED_BY(mutex_);
};

}  // namespace triune::machine
