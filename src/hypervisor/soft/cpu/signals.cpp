// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/cpu/signals.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>

namespace triune::hypervisor::soft::cpu {
namespace {

static_assert(sizeof(std::atomic<u32>) == 4 && std::atomic<u32>::is_always_lock_free);

long futex(std::atomic<u32>& word, int operation, u32 value, const timespec* deadline, u32 bits) {
    return ::syscall(SYS_futex, reinterpret_cast<u32*>(&word), operation | FUTEX_PRIVATE_FLAG, value,
                     deadline, nullptr, bits);
}

}  // namespace

// The two sides are Dekker's pair: raise() writes `pending` and then reads `sleeping`; wait()
// writes `sleeping` and then reads `pending` (here, and again inside the kernel). Sequentially
// consistent order makes at least one side see the other, so no wake-up is lost.
void Signals::raise(Signal s) {
    pending.fetch_or(static_cast<u32>(s), std::memory_order_seq_cst);
    if (sleeping.load(std::memory_order_seq_cst))
        futex(pending, FUTEX_WAKE_BITSET, 1, nullptr, FUTEX_BITSET_MATCH_ANY);
    if (waker) waker->wake();
}

void Signals::wait(u64 deadline_ns) {
    constexpr u64 second = 1'000'000'000;
    timespec deadline{};
    const bool bounded = deadline_ns != ~u64{0};
    if (bounded) {
        deadline.tv_sec = static_cast<time_t>(deadline_ns / second);
        deadline.tv_nsec = static_cast<long>(deadline_ns % second);
    }
    sleeping.store(1, std::memory_order_seq_cst);
    while (pending.load(std::memory_order_seq_cst) == 0) {
        // FUTEX_WAIT_BITSET takes an absolute CLOCK_MONOTONIC time, so a wake-up by a host signal
        // needs no arithmetic and no clock is read here.
        const long r =
            futex(pending, FUTEX_WAIT_BITSET, 0, bounded ? &deadline : nullptr, FUTEX_BITSET_MATCH_ANY);
        if (r == -1 && errno != EAGAIN && errno != EINTR) break;  // ETIMEDOUT
    }
    sleeping.store(0, std::memory_order_relaxed);
}

}  // namespace triune::hypervisor::soft::cpu
