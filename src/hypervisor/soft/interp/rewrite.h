// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

/// A guest instruction's bytes, rewritten to run on the host in 64-bit mode.
#include "x86/insn.h"
#include "x86/vcpu_state.h"

namespace triune::hypervisor::soft::interp {

struct Rewritten {
    std::array<u8, 24> bytes{};
    u8 length = 0;
    u8 disp_offset = 0;         ///< where a RIP-relative disp32 goes; 0: no memory operand
    bool rsp_replaced = false;  ///< the guest's RSP operand became RBP
};

/// Drops address-size and segment prefixes, makes a ModRM memory operand RIP-relative, and keeps
/// the guest's RSP out of the host's. For instructions with at most one general register operand.
Rewritten rewrite_for_host(const x86::Insn& i);

}  // namespace triune::hypervisor::soft::interp
