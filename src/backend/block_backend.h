// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/uio.h>

#include <span>

#include "base/types.h"

namespace triune::backend {

/// What a disk device needs of the host. Every transfer blocks and is complete or failed when it
/// returns; it gives 0 or an errno. Members may be called from any thread, several at a time.
///
/// A write that has returned is seen by every later read; it survives a host crash once a flush()
/// that began after it has returned 0.
class BlockBackend {
public:
    virtual ~BlockBackend() = default;

    /// Size in bytes, a multiple of 512; does not change.
    [[nodiscard]] virtual u64 size() const = 0;
    [[nodiscard]] virtual bool readonly() const = 0;
    /// The smallest write that costs no read-modify-write, in bytes: a power of two, 512 or more.
    [[nodiscard]] virtual u32 physical_block_size() const = 0;

    /// [offset, offset + sum of lengths) must lie in the disk, else EINVAL.
    virtual int read(u64 offset, std::span<const iovec> to) = 0;
    virtual int write(u64 offset, std::span<const iovec> from) = 0;
    virtual int flush() = 0;
    /// A hint that the range is not needed; what it reads as later is undefined.
    virtual int discard(u64 offset, u64 size) = 0;
    /// The range reads as zeros afterwards. `may_unmap`: its space may be given back.
    virtual int write_zeroes(u64 offset, u64 size, bool may_unmap) = 0;
};

}  // namespace triune::backend
