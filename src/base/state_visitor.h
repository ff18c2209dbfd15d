// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/types.h"

namespace triune::base {

/// One description of a thing's state, for all who read or write it (snapshot, inspector, comparison):
///
///     void describe(base::StateVisitor& v, Chip& c) {
///         v("irr", c.irr);
///         v("counter", c.counter, [](base::StateVisitor& v, Counter& n) { … });
///     }
///
/// A visitor sees plain values by name, in an order that never changes; it may read or replace them.
class StateVisitor {
public:
    virtual ~StateVisitor() = default;

    /// A value without padding: an integer, an enumeration, a truth value, or an array of integers.
    template <class T>
    void operator()(std::string_view name, T& value) {
        static_assert(std::is_trivially_copyable_v<T> && std::has_unique_object_representations_v<T>);
        visit(name, {reinterpret_cast<u8*>(&value), sizeof value});
    }
    /// A part with fields of its own, which `describe(*this, part)` names.
    template <class T, class F>
    void operator()(std::string_view name, T& part, F describe) {
        enter(name);
        describe(*this, part);
        leave();
    }

protected:
    virtual void visit(std::string_view name, std::span<u8> bytes) = 0;
    virtual void enter(std::string_view name) = 0;
    virtual void leave() = 0;
};

/// A visitor that knows each value's full name: "counter.0.mode".
class PathVisitor : public StateVisitor {
protected:
    virtual void visit_path(const std::string& path, std::span<u8> bytes) = 0;

private:
    void visit(std::string_view name, std::span<u8> bytes) final {
        visit_path(prefix_.empty() ? std::string(name) : prefix_ + '.' + std::string(name), bytes);
    }
    void enter(std::string_view name) final {
        lengths_.push_back(prefix_.size());
        if (!prefix_.empty()) prefix_ += '.';
        prefix_ += name;
    }
    void leave() final {
        prefix_.resize(lengths_.back());
        lengths_.pop_back();
    }
    std::string prefix_;
    std::vector<size_t> lengths_;
};

}  // namespace triune::base
