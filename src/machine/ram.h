// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <expected>
#include <memory>

#include "base/types.h"
#include "memory/guest_memory.h"
#include "triune/vm.h"

namespace triune::machine {

/// Guest-physical addresses have 40 bits (x86::CpuModel::phys_bits).
inline constexpr u64 smallest_ram = u64{32} << 20, largest_ram = (u64{1} << 40) - (u64{2} << 30);

/// Is this amount of memory one that a VM on this host can have? `host_bytes`: the host's RAM and swap.
std::expected<void, VmError> check_ram(u64 bytes, u64 host_bytes);
/// RAM and swap of this host in bytes.
u64 host_ram();

/// Guest memory with its slots placed.
std::expected<std::unique_ptr<memory::GuestMemory>, VmError> make_ram(u64 bytes);

}  // namespace triune::machine
