// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <linux/kvm.h>

#include <array>
#include <optional>

#include "hypervisor/hypervisor.h"

namespace triune::hypervisor::kvm {

/// What a debugger asks of a vCPU, in the processor's four debug registers (Intel SDM 3B 18.2), which the
/// guest does not see meanwhile.
class DebugRegisters {
public:
    /// Fails when four do not suffice, and for watchpoints that registers cannot express.
    static Result<DebugRegisters> make(const GuestDebug& debug);

    /// For KVM_SET_GUEST_DEBUG. `hold_interrupts`: this KVM has KVM_GUESTDBG_BLOCKIRQ.
    [[nodiscard]] kvm_guest_debug for_kvm(bool hold_interrupts) const;
    /// What a KVM_EXIT_DEBUG tells. None: the exception is the guest's own.
    [[nodiscard]] std::optional<Debug> event(const kvm_debug_exit_arch& exit) const;
    [[nodiscard]] bool any() const { return used_ != 0 || single_step_; }
    [[nodiscard]] bool single_step() const { return single_step_; }

private:
    struct Register {
        Gva address = 0;
        Debug met;          ///< what it means when this one is met
        unsigned kind = 0;  ///< R/W and LEN as DR7 has them: R/W 0 instruction, 1 write, 3 read or write
    };
    bool add(Gva address, u64 size, unsigned rw, const Debug& met);

    std::array<Register, 4> registers_{};
    unsigned used_ = 0;
    bool single_step_ = false;
};

}  // namespace triune::hypervisor::kvm
