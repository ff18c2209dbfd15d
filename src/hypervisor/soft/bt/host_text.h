// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <string>
#include <vector>

#include "hypervisor/soft/bt/stubs.h"
#include "hypervisor/soft/mmu/arena.h"

namespace triune::hypervisor::soft::bt {

/// One emitted host instruction as text.
struct HostLine {
    CodeOffset offset = 0;
    std::string text;
    std::string label;  ///< "L1" where something jumps to it, else empty
};

struct CodeRange {
    CodeOffset begin, end;
};

/// Disassembles emitted code with names in place of addresses.
class HostText {
public:
    HostText(const Surroundings& s, mmu::VcpuArena& arena, mmu::TlbMode mode, unsigned lane);

    /// The instructions in these ranges of the code cache; jumps go to labels or stubs.
    [[nodiscard]] std::vector<HostLine> lines(const std::array<CodeRange, 2>& code) const;

    /// "guest.r10", "tlb.read", "arena+0x123".
    [[nodiscard]] std::string data_name(u64 address) const;
    /// "leave.link"; empty when no stub begins there.
    [[nodiscard]] std::string stub_name(CodeOffset offset) const;

private:
    struct Symbol {
        u64 begin, size;
        std::string name;
        u64 element = 0;  ///< bytes of an array's element, 0: not an array
    };
    template <class T>
    void add(const T& field, std::string name, u64 element = 0) {
        symbols_.push_back({reinterpret_cast<u64>(&field), sizeof(T), std::move(name), element});
    }

    mmu::VcpuArena& arena_;
    const Surroundings& s_;
    std::vector<Symbol> symbols_;
};

}  // namespace triune::hypervisor::soft::bt
