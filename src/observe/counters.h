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
    X(indirect_misses, "indirect branch look-ups")                    \
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
    X(cpuid, "CPUID executed")

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

struct Counters {
    std::array<u64, static_cast<size_t>(Counter::count_)> value{};

    void add(Counter c, u64 n = 1) { value[static_cast<size_t>(c)] += n; }
    [[nodiscard]] u64 get(Counter c) const { return value[static_cast<size_t>(c)]; }
};

}  // namespace triune::observe
