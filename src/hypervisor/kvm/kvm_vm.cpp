// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/kvm/events.h"
#include "hypervisor/kvm/vcpu.h"

namespace triune::hypervisor {
namespace kvm {
namespace {

class KvmVm final : public Vm {
public:
    explicit KvmVm(std::shared_ptr<VmState> state) : state_(std::move(state)) {}

    Result<std::unique_ptr<Vcpu>> create_vcpu(unsigned index) override {
        if (index >= state_->config().cpus)
            return fail("vCPU " + std::to_string(index) + ": the VM has only " +
                        std::to_string(state_->config().cpus));
        if (!state_->take_index(index)) return fail("vCPU " + std::to_string(index) + " exists already");
        auto vcpu = KvmVcpu::create(state_, index);
        if (!vcpu) return std::unexpected(vcpu.error());
        return std::move(*vcpu);
    }

    void set_gsi(unsigned gsi, bool level) override { state_->set_gsi(gsi, level); }

    void signal_msi(u64 address, u32 data) override {
        if (UserChips* const chips = state_->user_chips()) return chips->chip().signal_msi(address, data);
        kvm_msi msi{};
        msi.address_lo = static_cast<u32>(address);
        msi.address_hi = static_cast<u32>(address >> 32);
        msi.data = data;
        call(state_->fd(), KVM_SIGNAL_MSI, &msi);
    }

    Result<ChipState> chip_state() override { return state_->chip_state(); }
    Result<void> set_chip_state(const ChipState& s) override { return state_->set_chip_state(s); }

    Result<void> add_io_event(const IoEvent& event) override {
        return set_io_event(state_->fd(), event, true);
    }
    Result<void> remove_io_event(const IoEvent& event) override {
        return set_io_event(state_->fd(), event, false);
    }
    [[nodiscard]] bool io_events_save_exits() const override { return true; }
    [[nodiscard]] bool irq_events_are_direct() const override { return !state_->user_chips(); }
    Result<void> add_irq_event(const IrqEvent& event) override {
        if (UserChips* const chips = state_->user_chips()) return chips->events().add(event);
        if (!state_->routing().exists(event.gsi))
            return fail(
                "interrupt event: GSI " + std::to_string(event.gsi) + " is neither a line nor a message",
                EINVAL);
        return set_irq_event(state_->fd(), event, true);
    }
    Result<void> remove_irq_event(const IrqEvent& event) override {
        if (UserChips* const chips = state_->user_chips()) return chips->events().remove(event);
        return set_irq_event(state_->fd(), event, false);
    }
    Result<unsigned> add_msi_gsi(u64 address, u32 data) override {
        if (UserChips* const chips = state_->user_chips()) return chips->events().add_message(address, data);
        return state_->routing().add_message(address, data);
    }
    void remove_msi_gsi(unsigned gsi) override {
        if (UserChips* const chips = state_->user_chips()) return chips->events().remove_message(gsi);
        state_->routing().remove_message(gsi);
    }
    Result<void> set_dirty_log(unsigned slot, bool on) override { return state_->set_dirty_log(slot, on); }
    Result<memory::PageBitmap> take_dirty_log(unsigned slot) override { return state_->take_dirty_log(slot); }

private:
    std::shared_ptr<VmState> state_;
};

}  // namespace
}  // namespace kvm

Result<x86::CpuModel> limit_to_kvm(const x86::CpuModel& model, bool kernel_chips) {
    const auto device = kvm::Device::open();
    if (!device) return std::unexpected(device.error());
    return kvm::model_for(*device, model, kernel_chips && device->has_chips());
}

Result<std::unique_ptr<Vm>> make_kvm_vm(const VmConfig& config) {
    auto state = kvm::VmState::create(config);
    if (!state) return std::unexpected(state.error());
    return std::make_unique<kvm::KvmVm>(std::move(*state));
}

}  // namespace triune::hypervisor
