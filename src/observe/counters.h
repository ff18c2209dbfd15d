// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

/// observe: counters, trace points and the log. Write-only for everything above it; only the
/// front end reads. A Counters belongs to one thread; readers see each value tear-free but not
/// all of one instant.
#include <array>
#include <string_view>

#include "base/types.h"

namespace triune::observe {

// One line a counter: identifier, what a person reads in --stats.
#define TRIUNE_COUNTERS(X)                                            \
    X(instructions_interpreted, "instructions interpreted")           \
    X(blocks_translated, "blocks translated")                         \
    X(guest_instructions_translated, "guest instructions translated") \
    X(code_bytes, "bytes of code emitted")                            \
    X(code_flushes, "code cache flushes")                             \
    X(blocks_invalidated, "blocks invalidated")                       \
    X(engine_entries, "entries into translated code")                 \
    X(declined, "instructions left to the reference engine")          \
    X(exits_link, "exits: a jump not linked yet")                     \
    X(exits_signal, "exits: something waits for the run loop")        \
    X(exits_vector, "exits: vector state not loaded")                 \
    X(exits_page_fault, "exits: page fault")                          \
    X(exits_system, "exits: system instruction")                      \
    X(indirect_misses, "exits: indirect branch look-up")              \
    X(tlb_misses, "TLB misses")                                       \
    X(tlb_flushes, "TLB flushes")                                     \
    X(page_walks, "page walks")                                       \
    X(page_faults, "page faults delivered")                           \
    X(exceptions, "exceptions delivered")                             \
    X(interrupts, "interrupts delivered")                             \
    X(halts, "halts")                                                 \
    X(port_io, "port I/O accesses")                                   \
    X(mmio, "MMIO accesses")                                          \
    X(msr_accesses, "MSR accesses")                                   \
    X(cpuid, "CPUID executed")                                        \
    X(blocks_verified, "blocks verified")                             \
    X(unsettled_device, "blocks not verified: a device wrote memory") \
    X(unsettled_debug, "blocks not verified: debug exception waits")  \
    X(unsettled_pages, "blocks not verified: too many pages written") \
    X(kvm_runs, "returns from KVM to user space")                     \
    X(kvm_exits, "exits to KVM")                                      \
    X(kvm_emulated, "instructions emulated by KVM")                   \
    X(kvm_page_faults, "guest memory faults taken by KVM")

enum class Counter : u32 {
#define X(id, text) id,
    TRIUNE_COUNTERS(X)
#undef X
        count_
};

inline constexpr std::array<std::string_view, static_cast<size_t>(Counter::count_)> counter_names = {
#define X(id, text) text,
    TRIUNE_COUNTERS(X)
#undef X
};

// What a processor's thread spends its time on.
#define TRIUNE_ACTIVITIES(X)                          \
    X(monitor, "the monitor itself")                  \
    X(translated, "translated code")                  \
    X(translating, "translating")                     \
    X(tlb_miss, "TLB misses of translated code")      \
    X(reference, "the reference engine")              \
    X(devices, "devices and interrupt chip")          \
    X(events, "delivering interrupts and exceptions") \
    X(halted, "halted")

enum class Activity : u8 {
#define X(id, text) id,
    TRIUNE_ACTIVITIES(X)
#undef X
        count_
};

inline constexpr std::array<std::string_view, static_cast<size_t>(Activity::count_)> activity_names = {
#define X(id, text) text,
    TRIUNE_ACTIVITIES(X)
#undef X
};

/// Where a thread's time goes: every moment belongs to one activity. Costs a predicted branch at each
/// change unless it was started, then a read of the time-stamp counter.
class TimeLedger {
public:
    void start() {
        on_ = true;
        since_ = __builtin_ia32_rdtsc();
    }
    /// From now on it is `to`. The activity until now, for the way back.
    Activity enter(Activity to) {
        const Activity from = now_;
        if (on_) [[unlikely]] {
            const u64 tsc = __builtin_ia32_rdtsc();
            ticks_[static_cast<size_t>(from)] += tsc - since_;
            since_ = tsc;
            now_ = to;
        }
        return from;
    }
    [[nodiscard]] u64 ticks(Activity a) const { return ticks_[static_cast<size_t>(a)]; }
    [[nodiscard]] bool started() const { return on_; }
    void add(const TimeLedger& o) {
        for (size_t i = 0; i < ticks_.size(); ++i) ticks_[i] += o.ticks_[i];
    }

private:
    bool on_ = false;
    Activity now_ = Activity::monitor;
    u64 since_ = 0;
    std::array<u64, static_cast<size_t>(Activity::count_)> ticks_{};
};

/// An activity for the lifetime of this object.
class TimedScope {
public:
    TimedScope(TimeLedger& ledger, Activity a) : ledger_(ledger), before_(ledger.enter(a)) {}
    ~TimedScope() { ledger_.enter(before_); }
    TimedScope(const TimedScope&) = delete;
    TimedScope& operator=(const TimedScope&) = delete;

private:
    TimeLedger& ledger_;
    Activity before_;
};

struct Counters {
    std::array<u64, static_cast<size_t>(Counter::count_)> value{};
    TimeLedger time;

    void add(Counter c, u64 n = 1) { value[static_cast<size_t>(c)] += n; }
    void add(const Counters& o) {
        for (size_t i = 0; i < value.size(); ++i) value[i] += o.value[i];
        time.add(o.time);
    }
    [[nodiscard]] u64 get(Counter c) const { return value[static_cast<size_t>(c)]; }
};

}  // namespace triune::observe
