// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "base/fd.h"
#include "observe/counters.h"

namespace triune::hypervisor::kvm {

/// What the kernel counted for one vCPU (KVM_GET_STATS_FD, Linux 5.14 on); nothing where it does not tell.
class KernelStats {
public:
    explicit KernelStats(int vcpu);

    /// Puts the kernel's figures into `counters`.
    void read(observe::Counters& counters) const;

private:
    struct Item {
        observe::Counter counter;
        off_t offset;  ///< of the 64-bit value in the file
    };
    base::Fd fd_;
    std::vector<Item> items_;
};

}  // namespace triune::hypervisor::kvm
