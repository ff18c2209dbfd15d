// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "gdb/session.h"
#include "hypervisor/describe.h"

namespace triune::gdb {

using hypervisor::Debug;

// -- going on -------------------------------------------------------------------------------------

/// c, C, s, S: what Hc chose, or all; a step of one lets the others run.
void Session::resume_all(std::string_view action) {
    const char kind = action.front();
    std::string_view rest = action.substr(1);
    if (kind == 'C' || kind == 'S') {
        if (!take_number(rest)) return error();
        take(rest, ';');
    }
    if (!rest.empty()) {  // where to go on
        const auto address = take_number(rest);
        if (!address || !rest.empty()) return error();
        target_->with_vcpu(current_, [&](hypervisor::Vcpu& v) {
            x86::VcpuState s = v.state();
            s.rip = *address;
            v.set_state(s);
        });
    }
    if (kind == 's' || kind == 'S')
        return resume(
            fmt::format("s:{:x};c", (continue_ >= 0 ? static_cast<unsigned>(continue_) : current_) + 1));
    resume(continue_ >= 0 ? fmt::format("c:{:x}", continue_ + 1) : "c");
}

/// "s:1;c": for each vCPU the first action that names it or names none; without one it stays.
void Session::resume(std::string_view actions) {
    std::vector<bool> step(vcpus()), goes(vcpus());
    while (!actions.empty()) {
        const size_t end = std::min(actions.find(';'), actions.size());
        std::string_view action = actions.substr(0, end);
        actions.remove_prefix(std::min(end + 1, actions.size()));
        const size_t colon = std::min(action.find(':'), action.size());
        const int id = colon == action.size() ? -1 : thread_of(action.substr(colon + 1));
        const std::string_view what = action.substr(0, colon);
        if (what.empty() || std::string_view("cCsS").find(what.front()) == std::string_view::npos || id == -2)
            return error();
        for (unsigned i = 0; i < vcpus(); ++i) {
            if (goes[i] || (id >= 0 && static_cast<unsigned>(id) != i)) continue;
            goes[i] = true;
            step[i] = what.front() == 's' || what.front() == 'S';
        }
    }
    resumed_ = goes;
    // A step whose end the client has not heard of is not what it waits for now.
    std::erase_if(queued_, [](const Stop& q) { return q.debug.cause == Debug::Cause::step; });
    reply_due_ = true;
    if (report_queued()) return;
    if (!arm(step)) {
        reply_due_ = false;
        return error();
    }
    for (unsigned i = 0; i < vcpus(); ++i) target_->hold(i, !goes[i]);
    memory_.started = true;
    run_ = Run::running;
    target_->go();
}

/// Gives the vCPUs their break- and watchpoints.
bool Session::arm(const std::vector<bool>& step) {
    bool taken = true;
    for (unsigned i = 0; i < vcpus(); ++i)
        target_->with_vcpu(i, [&](hypervisor::Vcpu& v) {
            taken &= v.set_guest_debug(points_.request(i < step.size() && step[i])).has_value();
        });
    return taken;
}

// -- stopping -------------------------------------------------------------------------------------

void Session::stopped() {
    if (!target_ || run_ == Run::stopped) return;
    run_ = Run::stopped;
    while (const auto stop = target_->take_stop()) queued_.push_back(*stop);
    if (closing_) return let_go();
    if (!reply_due_) {
        // The client has just come: it will ask. A step or a breakpoint of the last one is stale.
        queued_.clear();
        (void)arm({});
        return;
    }
    if (report_queued()) return;
    if (std::exchange(interrupted_, false)) {
        last_stop_ = fmt::format("T02thread:{:x};", current_ + 1);
        reply_due_ = false;
        return reply(last_stop_);
    }
    // A machine that was reset under us, or a stop that a changed breakpoint has made void.
    (void)arm({});
    run_ = Run::running;
    target_->go();
}

/// Tells the client of one stop that it has not heard of, of a vCPU that it let go on.
bool Session::report_queued() {
    for (size_t i = 0; i < queued_.size(); ++i) {
        const Stop stop = queued_[i];
        if (stop.vcpu >= resumed_.size() || !resumed_[stop.vcpu]) continue;
        queued_.erase(queued_.begin() + static_cast<std::ptrdiff_t>(i));
        if (still_valid(stop)) {
            report_stop(stop);
            return true;
        }
        --i;
    }
    return false;
}

/// The client may have removed the point or moved the vCPU since.
bool Session::still_valid(const Stop& stop) {
    if (stop.debug.cause == Debug::Cause::step) return true;
    const bool breakpoint = stop.debug.cause == Debug::Cause::breakpoint;
    if (!points_.kind_at(breakpoint, stop.debug.address, stop.debug.write)) return false;
    bool there = true;
    if (breakpoint)
        target_->with_vcpu(stop.vcpu, [&](hypervisor::Vcpu& v) {
            there = hypervisor::code_address(v.state()) == stop.debug.address;
        });
    return there;
}

void Session::report_stop(const Stop& stop) {
    current_ = stop.vcpu;
    interrupted_ = false;
    std::string why;
    if (stop.debug.cause != Debug::Cause::step) {
        const bool breakpoint = stop.debug.cause == Debug::Cause::breakpoint;
        switch (points_.kind_at(breakpoint, stop.debug.address, stop.debug.write)
                    .value_or(Points::Kind::software)) {
            case Points::Kind::software: why = tell_kind_ ? "swbreak:;" : ""; break;
            case Points::Kind::hardware: why = tell_kind_ ? "hwbreak:;" : ""; break;
            case Points::Kind::write: why = fmt::format("watch:{:x};", stop.debug.address); break;
            case Points::Kind::read: why = fmt::format("rwatch:{:x};", stop.debug.address); break;
            case Points::Kind::access: why = fmt::format("awatch:{:x};", stop.debug.address); break;
        }
    }
    last_stop_ = fmt::format("T05{}thread:{:x};", why, stop.vcpu + 1);
    reply_due_ = false;
    reply(last_stop_);
}

}  // namespace triune::gdb
