// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

/// base: what everything else stands on (address types, results, file descriptors, events).
/// No threads of its own; nothing here knows of guests.
#include <cstddef>
#include <cstdint>

namespace triune {

using u8 = std::uint8_t;
using u16 = std::uint16_t;
using u32 = std::uint32_t;
using u64 = std::uint64_t;
using i8 = std::int8_t;
using i16 = std::int16_t;
using i32 = std::int32_t;
using i64 = std::int64_t;

/// Guest-physical address.
using Gpa = u64;
/// Guest-virtual (linear) address.
using Gva = u64;

inline constexpr u64 page_size = 4096;
inline constexpr u64 page_mask = page_size - 1;

}  // namespace triune
