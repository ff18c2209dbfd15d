// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <linux/kvm.h>

#include <atomic>
#include <memory>
#include <optional>
#include <string>

#include "hypervisor/kvm/guest_debug.h"
#include "hypervisor/kvm/stats.h"
#include "hypervisor/kvm/vcpu_state.h"
#include "hypervisor/kvm/vm_state.h"

namespace triune::hypervisor::kvm {

/// The run structure that a vCPU shares with the kernel.
class RunPage {
public:
    RunPage() = default;
    ~RunPage();
    RunPage(const RunPage&) = delete;
    RunPage& operator=(const RunPage&) = delete;
    bool map(int vcpu, size_t bytes);
    kvm_run* operator->() const { return run_; }
    kvm_run* get() const { return run_; }

private:
    kvm_run* run_ = nullptr;
    size_t bytes_ = 0;
};

/// One vCPU and its run loop:
///
///     kicked? -> KVM_RUN -> port I/O, MMIO, MSR: answered here -> again
class KvmVcpu final : public Vcpu, private soft::cpu::Waker {
public:
    static Result<std::unique_ptr<KvmVcpu>> create(std::shared_ptr<VmState> vm, unsigned index);
    ~KvmVcpu() override;

    Exit run() override;
    void kick() override;
    x86::VcpuState state() override;
    void set_state(const x86::VcpuState& s) override;
    Result<void> set_guest_debug(const GuestDebug& debug) override;
    [[nodiscard]] const observe::Counters& counters() const override { return counters_; }

private:
    KvmVcpu(std::shared_ptr<VmState> vm, base::Fd fd, unsigned index)
        : vm_(std::move(vm)), fd_(std::move(fd)), index_(index) {}
    Result<void> set_up();
    /// The loop of run(), without the kernel's statistics.
    Exit run_until_exit();
    /// Acts on what KVM_RUN came back with. Empty: go on.
    std::optional<Exit> handle_exit();
    std::optional<Exit> debug_exit();
    /// KVM_SET_GUEST_DEBUG as debug_ says.
    Result<void> tell_debug(u32 further_control = 0);
    void port_io();
    void mmio();
    void msr();
    /// Makes KVM_RUN end, or not begin.
    void wake() override;
    /// A host failure in a call that cannot report it: the next run() does.
    void note(const Result<void>& r);

    std::shared_ptr<VmState> vm_;
    base::Fd fd_;
    const unsigned index_;
    RunPage run_;
    std::optional<StateAccess> state_;
    std::optional<UserApic> apic_;  ///< none with the kernel's chips
    std::optional<KernelStats> kernel_stats_;
    observe::Counters counters_;
    /// State that goes along with the vCPU, and that KVM has no place for.
    struct {
        u64 amd_hwcr = x86::VcpuState{}.amd_hwcr, amd_de_cfg = x86::VcpuState{}.amd_de_cfg,
            wall_clock_msr = 0;
    } unknown_to_kvm_;
    std::optional<std::string> broken_;
    DebugRegisters debug_;
    /// The last exit's instruction is finished by the next KVM_RUN (api.rst, KVM_EXIT_IO).
    bool unfinished_ = false;
    std::atomic<bool> kicked_{false};
    std::atomic<pid_t> running_thread_{0};  ///< 0 outside KVM_RUN
};

}  // namespace triune::hypervisor::kvm
