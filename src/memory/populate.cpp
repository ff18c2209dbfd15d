// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "memory/populate.h"

#include <sys/mman.h>

namespace triune::memory {

// Linux 5.14; Debian 12's C library headers know them, older ones need not.
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif

Populator::Populator(u8* base, u64 bytes, For purpose)
    : base_(base),
      bytes_(bytes),
      purpose_(purpose),
      done_(std::make_unique<std::atomic<bool>[]>((bytes + chunk_bytes - 1) / chunk_bytes)) {}

void Populator::populate(u64 chunk) const {
    const u64 begin = chunk * chunk_bytes;
    const u64 rest = bytes_ - begin;
    // An older kernel, or a host without memory: the pages come one by one, or not, when they are touched.
    (void)::madvise(base_ + begin, rest < chunk_bytes ? rest : chunk_bytes,
                    purpose_ == For::writing ? MADV_POPULATE_WRITE : MADV_POPULATE_READ);
}

}  // namespace triune::memory
