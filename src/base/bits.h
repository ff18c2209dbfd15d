// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/types.h"

namespace triune::base {

/// Mask of the low `n` bits, 0 <= n <= 64.
constexpr u64 low_mask(unsigned n) { return n >= 64 ? ~u64{0} : (u64{1} << n) - 1; }
constexpr bool bit(u64 v, unsigned n) { return (v >> n) & 1; }
/// Bits [lo, lo+len) of v.
constexpr u64 field(u64 v, unsigned lo, unsigned len) { return (v >> lo) & low_mask(len); }
constexpr u64 align_down(u64 v, u64 a) { return v & ~(a - 1); }
constexpr u64 align_up(u64 v, u64 a) { return (v + a - 1) & ~(a - 1); }
/// Sign-extends the low `bits` bits of v.
constexpr u64 sign_extend(u64 v, unsigned bits) {
    const unsigned s = 64 - bits;
    return static_cast<u64>(static_cast<i64>(v << s) >> s);
}

}  // namespace triune::base
