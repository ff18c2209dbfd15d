// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/soft_vcpu.h"

namespace triune::hypervisor {
namespace soft {
namespace {

class SoftVm final : public Vm {
public:
    explicit SoftVm(std::shared_ptr<VmState> state) : state_(std::move(state)) {}

    Result<std::unique_ptr<Vcpu>> create_vcpu(unsigned index) override {
        if (index >= state_->config().cpus)
            return fail("vCPU " + std::to_string(index) + ": the VM has only " +
                        std::to_string(state_->config().cpus));
        if (std::exchange(state_->slot(index).created, true))
            return fail("vCPU " + std::to_string(index) + " exists already");
        return std::make_unique<SoftVcpu>(state_, index);
    }
    void set_gsi(unsigned gsi, bool level) override { state_->chip().set_gsi(gsi, level); }
    void signal_msi(u64 address, u32 data) override { state_->chip().signal_msi(address, data); }
    Result<ChipState> chip_state() override {
        ChipState s = state_->chip().state();
        s.clock.host_ns = base::monotonic_ns();
        s.clock.guest_ns = s.clock.host_ns - state_->slot(0).context().kvmclock_system_time_base;
        return s;
    }
    Result<void> set_chip_state(const ChipState& s) override {
        if (s.lapic.size() != state_->config().cpus)
            return fail("the state of " + std::to_string(s.lapic.size()) + " local APICs is for another VM");
        for (unsigned i = 0; i < state_->config().cpus; ++i)
            state_->slot(i).context().kvmclock_system_time_base = s.clock.host_ns - s.clock.guest_ns;
        state_->chip().set_state(s);
        return {};
    }
    Result<void> add_io_event(const IoEvent& event) override { return state_->io_events().add(event); }
    Result<void> remove_io_event(const IoEvent& event) override { return state_->io_events().remove(event); }
    Result<void> add_irq_event(const IrqEvent& event) override { return state_->irq_events().add(event); }
    Result<void> remove_irq_event(const IrqEvent& event) override {
        return state_->irq_events().remove(event);
    }
    Result<unsigned> add_msi_gsi(u64 address, u32 data) override {
        return state_->irq_events().add_message(address, data);
    }
    void remove_msi_gsi(unsigned gsi) override { state_->irq_events().remove_message(gsi); }
    Result<void> set_dirty_log(unsigned slot, bool on) override { return state_->set_dirty_log(slot, on); }
    Result<memory::PageBitmap> take_dirty_log(unsigned slot) override { return state_->take_dirty_log(slot); }

private:
    std::shared_ptr<VmState> state_;
};

}  // namespace
}  // namespace soft

Result<std::unique_ptr<Vm>> make_soft_vm(const VmConfig& config) {
    auto state = soft::VmState::create(config);
    if (!state) return std::unexpected(state.error());
    return std::make_unique<soft::SoftVm>(std::move(*state));
}

}  // namespace triune::hypervisor
