// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <optional>
#include <vector>

#include "hypervisor/hypervisor.h"

namespace triune::gdb {

/// The break- and watchpoints that a client has set.
class Points {
public:
    /// Numbers of the Z packets.
    enum class Kind : u8 { software, hardware, write, read, access };
    /// How many a client may have; the engines look through them.
    static constexpr size_t limit = 1024;

    /// False: too many. Setting one twice is setting it once (the protocol wants them idempotent).
    bool add(Kind kind, Gva address, u64 size) {
        if (find(kind, address, size) != points_.end()) return true;
        if (points_.size() >= limit) return false;
        points_.push_back({kind, address, size});
        return true;
    }
    void remove(Kind kind, Gva address, u64 size) {
        if (const auto at = find(kind, address, size); at != points_.end()) points_.erase(at);
    }
    void clear() { points_.clear(); }

    [[nodiscard]] hypervisor::GuestDebug request(bool single_step) const {
        hypervisor::GuestDebug d;
        d.single_step = single_step;
        for (const Point& p : points_) {
            if (p.kind <= Kind::hardware)
                d.breakpoints.push_back(p.address);
            else
                d.watchpoints.push_back({p.address, p.size, p.kind != Kind::write, p.kind != Kind::read});
        }
        return d;
    }
    /// The kind of what has its place (breakpoint) or a byte (watchpoint) at `address`.
    [[nodiscard]] std::optional<Kind> kind_at(bool breakpoint, Gva address, bool write) const {
        for (const Point& p : points_) {
            if (breakpoint && p.kind <= Kind::hardware && p.address == address) return p.kind;
            const bool matches = p.kind == Kind::access || p.kind == (write ? Kind::write : Kind::read);
            if (!breakpoint && matches && p.kind > Kind::hardware && p.address == address) return p.kind;
        }
        return {};
    }

private:
    struct Point {
        Kind kind;
        Gva address;
        u64 size;
        bool operator==(const Point&) const = default;
    };
    std::vector<Point>::iterator find(Kind kind, Gva address, u64 size) {
        return std::ranges::find(points_, Point{kind, address, size});
    }
    std::vector<Point> points_;
};

}  // namespace triune::gdb
