// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "device/pc_testdev.h"

#include <cstring>

#include "base/bits.h"

namespace triune::device {

u64 PcTestdev::Latch::read(u64 offset, unsigned size) {
    if (offset > 3) return 0;
    const std::scoped_lock lock(mutex_);
    return (value_ >> (8 * offset)) & base::low_mask(8 * size);
}

void PcTestdev::Latch::write(u64 offset, u64 value, unsigned size) {
    if (offset > 3) return;
    const u64 mask = base::low_mask(8 * size) << (8 * offset);
    const std::scoped_lock lock(mutex_);
    value_ = static_cast<u32>((value_ & ~mask) | ((value << (8 * offset)) & mask));
}

// The address map gives accesses that lie in the range only.
u64 PcTestdev::Memory::read(u64 offset, unsigned size) {
    u64 value = 0;
    const std::scoped_lock lock(mutex_);
    std::memcpy(&value, &bytes_[offset], size);
    return value;
}

void PcTestdev::Memory::write(u64 offset, u64 value, unsigned size) {
    const std::scoped_lock lock(mutex_);
    std::memcpy(&bytes_[offset], &value, size);
}

}  // namespace triune::device
