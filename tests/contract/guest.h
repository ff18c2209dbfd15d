// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

/// The contract suite's test bench: a VM through the public hypervisor contract, with a few
/// registers of its own around it, and small guests that judge themselves (see guests/guest.inc).
#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "hypervisor/hypervisor.h"

namespace triune::contract {

inline constexpr u32 passed = 1;

/// Devices of the bench, by port: 0xe9 log, 0xf4 result, 0xf5 GSI (bits 0-7 number, bit 8 level),
/// 0xf6 MSI data for APIC 0, 0xf9 what the engine is known not to do (0: nothing; bit 0: APIC errors); MMIO
/// page 0xd0000000 keeps what is written to it.
class Bench final : public hypervisor::Io {
public:
    /// "kvm_user_chips": engine "kvm" without the kernel's interrupt chips. Engine "kvm" where the host has
    /// none that runs guests: `unavailable` says why, and there is no VM.
    explicit Bench(std::string engine, unsigned cpus = 1, const std::string& cpu = "host");
    ~Bench() override;

    /// Copies `code` to `gpa`; host-side write before or while vCPUs run.
    void load(Gpa gpa, std::span<const u8> code);
    /// An assembled guest of tests/guests at 0x8000; from $TRIUNE_GUEST_DIR if that is set.
    void load_guest(const std::string& name);
    /// All vCPUs, each on its own thread, until the guest reports its result, a vCPU ends, or time
    /// is up. The boot processor starts at 0:0x8000 in real mode.
    void run(unsigned seconds = 20);

    std::string unavailable;
    u32 result = 0;                       ///< what the guest wrote to port 0xf4, 0 if it did not
    std::string log;                      ///< what it wrote to 0xe9
    std::string trouble;                  ///< shutdown, timeout or internal error, with vCPU states
    std::function<void(u32)> on_port_f7;  ///< further hook: called with what is written to 0xf7
    std::vector<u32> port_f8;             ///< what a vCPU wrote to 0xf8

    /// For a person: everything about a guest that did not pass.
    [[nodiscard]] std::string story();

    hypervisor::Vm& vm() { return *vm_; }
    memory::GuestMemory& memory() { return *memory_; }
    /// State of a vCPU after run().
    [[nodiscard]] const x86::VcpuState& state(unsigned cpu) const { return states_[cpu]; }
    [[nodiscard]] const observe::Counters& counters(unsigned cpu) const { return counters_[cpu]; }

    u32 port_read(u16 port, unsigned size) override;
    void port_write(u16 port, u32 value, unsigned size) override;
    u64 mmio_read(Gpa gpa, unsigned size) override;
    void mmio_write(Gpa gpa, u64 value, unsigned size) override;

private:
    void vcpu_thread(unsigned index);
    void finish();

    const bool kvm_;
    std::unique_ptr<base::EventLoop> loop_;
    std::unique_ptr<memory::GuestMemory> memory_;
    std::unique_ptr<hypervisor::Vm> vm_;
    unsigned cpus_;
    std::mutex mutex_;
    std::condition_variable changed_;
    bool finished_ = false;
    unsigned created_ = 0;
    std::vector<hypervisor::Vcpu*> vcpus_;
    std::vector<x86::VcpuState> states_;
    std::vector<observe::Counters> counters_;
    std::array<u8, 4096> device_{};
};

/// `from` at 0:`ip` in real mode.
x86::VcpuState real_mode_at(const x86::VcpuState& from, u16 ip);

}  // namespace triune::contract
