// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

/// soft/cpu: one virtual processor's state, what may be asked of it, and the contracts of the
/// parts that act on it (engines, local APIC).
///
/// Threads: VcpuContext belongs to its vCPU's thread. Signals may be raised by any thread.
#include <atomic>

#include "base/types.h"

namespace triune::hypervisor::soft::cpu {

/// What other threads ask of a vCPU. Bits of Signals::pending.
enum class Signal : u32 {
    kick = 1,       ///< return from run()
    interrupt = 2,  ///< the local APIC or the PIC has something to deliver: look
    nmi = 4,
    init = 8,
    sipi = 16,
    tlb_write_flush = 32,  ///< drop cached write permissions (a page became code)
    code_written = 64,     ///< process the queue of written code ranges
    smi = 128,
    one_block = 256,  ///< the translator's own: leave at the next block's start
};

/// Who runs a vCPU that does not look at `pending` while it runs.
class Waker {
public:
    virtual ~Waker() = default;
    /// Makes it look soon. Any thread.
    virtual void wake() = 0;
};

/// `pending` is polled by translated code at every block's start: one load, so it must stay the
/// only word to look at. Not zero means: leave the engine.
struct Signals {
    std::atomic<u32> pending{0};
    std::atomic<u32> sleeping{0};  ///< the vCPU thread waits on `pending` (futex)
    std::atomic<u8> sipi_vector{0};
    std::atomic<u32> nmis{0};  ///< how many Signal::nmi stands for
    Waker* waker = nullptr;    ///< if any: told of every signal; set before anybody raises one

    /// Raises signals and wakes the vCPU if it sleeps. Any thread.
    void raise(Signal s);
    void raise_nmi() {
        nmis.fetch_add(1, std::memory_order_relaxed);
        raise(Signal::nmi);
    }
    /// Takes one bit; true if it was set.
    bool take(Signal s) {
        const u32 m = static_cast<u32>(s);
        if (!(pending.load(std::memory_order_acquire) & m)) return false;
        return pending.fetch_and(~m, std::memory_order_acq_rel) & m;
    }
    [[nodiscard]] bool any() const { return pending.load(std::memory_order_acquire) != 0; }
    /// Sleeps until a signal is pending or monotonic_ns() reaches `deadline_ns` (~0: none).
    void wait(u64 deadline_ns);
};

}  // namespace triune::hypervisor::soft::cpu
