// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

/// kvm: the hypervisor contract through Linux' /dev/kvm (Documentation/virt/kvm/api.rst): memory slots,
/// interrupt chips and timers in the kernel or the soft hypervisor's, one KVM vCPU per Vcpu.
///
/// Threads: one per vCPU; lines, messages, ioeventfds and kicks come from any thread. No locks of its own
/// but the routing table's, a leaf.
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "base/types.h"

namespace triune::hypervisor::kvm {

inline constexpr const char* device_path = "/dev/kvm";

/// ioctl() that goes on when a signal interrupts it. Not for KVM_RUN.
int call(int fd, unsigned long request, unsigned long argument = 0);
template <class T>
int call(int fd, unsigned long request, T* argument) {
    return call(fd, request, reinterpret_cast<unsigned long>(argument));
}

/// The opened device: what this host's KVM is and can do.
class Device {
public:
    /// One line says what is missing: the file, permission, another API version, or a capability that
    /// every VM of this module needs.
    static Result<Device> open(const char* path = device_path);

    [[nodiscard]] int fd() const { return fd_.get(); }
    /// KVM_CHECK_EXTENSION: 0 where there is none.
    [[nodiscard]] int capability(unsigned long number) const;
    [[nodiscard]] bool has(unsigned long number) const { return capability(number) > 0; }
    /// Interrupt chips and interval timer in the kernel, as a VM here uses them.
    [[nodiscard]] bool has_chips() const;
    /// Chosen MSRs may exit to user space.
    [[nodiscard]] bool can_filter_msrs() const;
    /// Bytes that a vCPU's run structure takes.
    [[nodiscard]] size_t run_bytes() const { return run_bytes_; }
    /// A VM's file descriptor.
    [[nodiscard]] Result<base::Fd> create_vm() const;

private:
    base::Fd fd_;
    size_t run_bytes_ = 0;
};

}  // namespace triune::hypervisor::kvm
