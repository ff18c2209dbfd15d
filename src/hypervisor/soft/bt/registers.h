// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <xbyak/xbyak.h>

#include <array>

#include "base/types.h"
#include "x86/vcpu_state.h"

namespace triune::hypervisor::soft::bt {

/// Where guest registers live in translated code. Host RSP is a stack of host return addresses, so
/// guest RSP has another home; two host registers are scratch; three guest registers, those that
/// compilers use least, live in memory (VcpuState::gpr).
inline constexpr i8 in_memory = -1;
inline constexpr std::array<i8, 16> host_of_guest = {
    0, 1, 2, 3, 15, 5, 6, 7, 8, 9, in_memory, in_memory, 12, 13, 14, in_memory,
};
inline constexpr u8 scratch0 = 10, scratch1 = 11, host_of_rsp = 15;

inline bool lives_in_memory(u8 guest) { return host_of_guest[guest] == in_memory; }
inline Xbyak::Reg64 host_reg(u8 guest) { return Xbyak::Reg64(host_of_guest[guest]); }

}  // namespace triune::hypervisor::soft::bt
