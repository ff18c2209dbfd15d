// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstring>

#include "base/types.h"

namespace triune::gdb {

/// The x87 tag word of FNSTENV from what FXSAVE keeps of it (Intel SDM 1 10.5.1.1): two bits a
/// physical register: 0 valid, 1 zero, 2 special, 3 empty. `st`: ST0 to ST7, 16 bytes each.
inline u16 full_x87_tags(const u8* st, u8 short_tags, u16 status) {
    const unsigned top = (status >> 11) & 7;
    u16 tags = 0;
    for (unsigned physical = 0; physical < 8; ++physical) {
        unsigned tag = 3;
        if (short_tags & (1u << physical)) {
            const u8* const value = st + size_t{16} * ((physical - top) & 7);
            u64 mantissa;
            u16 exponent;
            std::memcpy(&mantissa, value, 8);
            std::memcpy(&exponent, value + 8, 2);
            exponent &= 0x7fff;
            const bool integer_bit = mantissa >> 63;
            if (exponent == 0 && mantissa == 0)
                tag = 1;
            else
                tag = exponent == 0 || exponent == 0x7fff || !integer_bit ? 2 : 0;
        }
        tags = static_cast<u16>(tags | tag << (2 * physical));
    }
    return tags;
}

/// A bit a physical register: not empty.
inline u8 short_x87_tags(u16 tags) {
    u8 out = 0;
    for (unsigned i = 0; i < 8; ++i)
        if (((tags >> (2 * i)) & 3) != 3) out = static_cast<u8>(out | 1u << i);
    return out;
}

}  // namespace triune::gdb
