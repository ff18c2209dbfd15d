// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstring>
#include <optional>
#include <span>
#include <type_traits>

#include "base/types.h"

namespace triune::boot {

/// The little-endian T at `offset`, if it lies wholly in `bytes`.
template <class T>
[[nodiscard]] std::optional<T> load(std::span<const u8> bytes, u64 offset) {
    static_assert(std::is_trivially_copyable_v<T>);
    if (offset > bytes.size() || bytes.size() - offset < sizeof(T)) return std::nullopt;
    T v;
    std::memcpy(&v, bytes.data() + offset, sizeof v);
    return v;
}

/// The part [offset, offset+size), if it lies wholly in `bytes`.
[[nodiscard]] inline std::optional<std::span<const u8>> part(std::span<const u8> bytes, u64 offset,
                                                             u64 size) {
    if (offset > bytes.size() || bytes.size() - offset < size) return std::nullopt;
    return bytes.subspan(offset, size);
}

}  // namespace triune::boot
