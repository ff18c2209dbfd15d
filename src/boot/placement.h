// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "boot/layout.h"

namespace triune::boot {

/// Which parts of the RAM below low_ram_limit are taken while a kernel and what belongs to it is loaded.
class Placement {
public:
    struct Range {
        Gpa base = 0;
        u64 size = 0;
    };
    explicit Placement(const memory::GuestMemory& memory);

    /// [base, base+size) lies wholly in RAM that the memory map gives to the guest.
    [[nodiscard]] bool is_ram(Gpa base, u64 size) const;
    /// Nothing in it is taken.
    [[nodiscard]] bool is_free(Gpa base, u64 size) const;
    void take(Gpa base, u64 size) { taken_.push_back({base, size}); }
    void take(std::span<const Range> ranges) { taken_.insert(taken_.end(), ranges.begin(), ranges.end()); }
    /// Takes the lowest free place of `size` bytes in [floor, ceiling), aligned to a power of two.
    std::optional<Gpa> place(u64 size, u64 alignment, Gpa floor, Gpa ceiling);

private:
    std::vector<Range> ram_, taken_;
};

/// What enter_protected_mode() and enter_long_mode() write.
std::span<const Placement::Range> entry_tables(bool long_mode);

}  // namespace triune::boot
