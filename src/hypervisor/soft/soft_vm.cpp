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
