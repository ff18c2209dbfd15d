// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

/// soft/bt: the translator: guest code becomes host code in a per-vCPU code cache.
/// Pipeline: decode (x86) -> scan a block -> analyse flags -> rewrite and emit -> link.
///
/// Threads: the vCPU's own. Host signals: SIGFPE, SIGSEGV, SIGBUS and SIGILL raised inside the code
/// cache are guest faults and come back as "declined" at the instruction that raised them.
#include <memory>
#include <string>
#include <vector>

#include "hypervisor/soft/cpu/engine.h"
#include "hypervisor/soft/mmu/arena.h"
#include "hypervisor/soft/system/system.h"

namespace triune::hypervisor::soft::bt {

struct Options {
    bool chain = true;                 ///< link blocks directly
    bool continue_after_calls = true;  ///< a block goes on at the return address of a direct call
    bool merge_accesses = true;        ///< one TLB probe for accesses a known distance apart
    bool cache_registers = true;       ///< values of memory-homed registers stay in scratch registers
    bool add_in_address = true;        ///< a probe leaves its last addition to the access's address
    bool poll_everywhere = false;      ///< look for signals on forward jumps too
    bool narrow_code = true;           ///< translate 16- and 32-bit code too
    unsigned max_instructions = 64;    ///< per block; 1 for single-instruction blocks
    bool one_block = false;            ///< run() executes one block: see Translator::run
    bool perf_map = false;             ///< write /tmp/perf-PID.map
};

class Translator final : public cpu::Engine {
public:
    Translator(system::System& system, mmu::VcpuArena& arena, const Options& options);
    ~Translator() override;

    /// With Options::one_block it comes back (with `budget`, if nothing else) where the first block leads
    /// to another one's start; what follows a return in a block that goes on after a call, and blocks
    /// that are entered without a look at the signals, still belong to it. No instruction follows one
    /// whose result is the host's (RDTSC, RDRAND) in a block.
    cpu::EngineExit run() override;
    /// The block at `rip` beside its translation, for a person.
    std::string listing(u64 rip);
    void invalidate(Gpa gpa, u64 size) override;
    /// Instructions at these addresses are declined, until the next call. Sorted.
    void set_breakpoints(const std::vector<Gva>& addresses);

private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace triune::hypervisor::soft::bt
