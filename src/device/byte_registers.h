// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "bus/bus.h"

namespace triune::device {

/// A device on an 8-bit bus: a wider access is as many byte accesses, lowest address first, with
/// those of other threads in between.
class ByteRegisters : public bus::RegisterBlock {
public:
    u64 read(u64 offset, unsigned size) override {
        u64 v = 0;
        for (unsigned i = 0; i < size; ++i) v |= u64{read8(offset + i)} << (8 * i);
        return v;
    }
    void write(u64 offset, u64 value, unsigned size) override {
        for (unsigned i = 0; i < size; ++i) write8(offset + i, static_cast<u8>(value >> (8 * i)));
    }

protected:
    virtual u8 read8(u64 offset) = 0;
    virtual void write8(u64 offset, u8 value) = 0;
};

}  // namespace triune::device
