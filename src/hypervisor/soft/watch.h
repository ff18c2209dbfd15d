// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <vector>

#include "hypervisor/soft/mmu/mmu.h"
#include "x86/insn.h"

namespace triune::hypervisor::soft {

/// A debugger's watchpoints, looked for between the reference engine's steps: before an instruction
/// runs its memory operands are noted, after it they are compared with the watched ranges. What the
/// processor accesses by itself (frames of interrupts, descriptors, page tables, XSAVE areas beyond
/// their first bytes, gathers' elements) is not seen.
class Watch {
public:
    void set(std::vector<Watchpoint> points) { points_ = std::move(points); }
    [[nodiscard]] const std::vector<Watchpoint>& points() const { return points_; }
    [[nodiscard]] bool any() const { return !points_.empty(); }

    /// Notes what the instruction at RIP is about to access.
    void before(const x86::VcpuState& s, mmu::Mmu& mmu);
    /// The instruction has run (or raised its fault): what it met.
    std::optional<Debug> after(const x86::VcpuState& s);

private:
    struct Access {
        Gva address;
        u64 bytes;  ///< of one element
        bool read, write, repeats;
    };
    std::vector<Watchpoint> points_;
    std::vector<Access> accesses_;
    u64 rcx_ = 0;
    bool backwards_ = false;
};

}  // namespace triune::hypervisor::soft
