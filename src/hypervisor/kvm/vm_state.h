// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <vector>

#include "base/mutex.h"
#include "hypervisor/hypervisor.h"
#include "hypervisor/kvm/cpuid.h"
#include "hypervisor/kvm/device.h"
#include "hypervisor/kvm/routing.h"
#include "hypervisor/kvm/user_chips.h"

namespace triune::hypervisor::kvm {

/// What a Vm and its Vcpus share; lives as long as any of them.
class VmState {
public:
    static Result<std::shared_ptr<VmState>> create(const VmConfig& config);

    [[nodiscard]] const VmConfig& config() const { return config_; }
    [[nodiscard]] const Device& device() const { return device_; }
    [[nodiscard]] int fd() const { return fd_.get(); }
    /// The configured model as far as this KVM goes.
    [[nodiscard]] const x86::CpuModel& model() const { return model_; }
    /// Guest TSC = host TSC + this, on every vCPU from the start.
    [[nodiscard]] u64 tsc_offset() const { return tsc_offset_; }
    /// With the kernel's chips.
    Routing& routing() { return *routing_; }
    /// Null with the kernel's.
    UserChips* user_chips() { return user_chips_.get(); }
    /// Makes KVM's memory slots those of GuestMemory. No vCPU runs.
    Result<void> map_memory();
    /// KVM's log of what its vCPUs write, and ours of what devices do.
    Result<void> set_dirty_log(unsigned slot, bool on);
    Result<memory::PageBitmap> take_dirty_log(unsigned slot);
    /// True once for each index.
    bool take_index(unsigned index);
    /// A vCPU's descriptor; -1: it is gone.
    void set_vcpu(unsigned index, int fd);

    void set_gsi(unsigned gsi, bool level);
    Result<ChipState> chip_state();
    Result<void> set_chip_state(const ChipState& s);

private:
    struct Mapped {
        memory::Slot slot;
        bool log = false;
    };
    VmState(const VmConfig& config, Device device, base::Fd fd)
        : config_(config),
          device_(std::move(device)),
          fd_(std::move(fd)),
          dma_log_(*config.memory),
          taken_(config.cpus),
          vcpus_(config.cpus, -1) {}
    Result<void> set_memory(unsigned number, const memory::Slot& slot, bool log) const;
    Result<void> choose_model();
    Result<void> set_kernel_chips(const std::vector<int>& vcpus, const ChipState& s);
    Result<ChipState> kernel_chips(const std::vector<int>& vcpus);
    Result<void> set_up_real_mode();
    /// The kernel's, or where it has none ours.
    Result<void> choose_chips();
    Result<void> create_kernel_chips();
    /// Descriptors of all vCPUs.
    Result<std::vector<int>> all_vcpus();
    Result<void> set_policy();

    VmConfig config_;
    Device device_;
    base::Fd fd_;
    x86::CpuModel model_;
    u64 tsc_offset_ = 0;
    std::optional<Routing> routing_;
    std::unique_ptr<UserChips> user_chips_;
    memory::DirtyLog dma_log_;
    std::atomic<u32> levels_{0};  ///< of the lines, by GSI, as set_gsi() was told
    base::Mutex mutex_;
    std::vector<Mapped> mapped_ GUARDED_BY(mutex_);  ///< by slot
    std::vector<bool> taken_ GUARDED_BY(mutex_);
    std::vector<int> vcpus_ GUARDED_BY(mutex_);
};

}  // namespace triune::hypervisor::kvm
