// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "machine/trace.h"

#include <fmt/format.h>
#include <pthread.h>
#include <unistd.h>

#include <array>
#include <utility>

#include "base/event_loop.h"

namespace triune::machine {
namespace {

constexpr std::array<std::pair<std::string_view, Trace::Event>, 4> event_names = {{
    {"port", Trace::Event::port},
    {"mmio", Trace::Event::mmio},
    {"irq", Trace::Event::irq},
    {"msi", Trace::Event::msi},
}};

}  // namespace

std::expected<Trace, VmError> Trace::parse(std::string_view list) {
    Trace trace;
    trace.start_ns_ = base::monotonic_ns();
    while (!list.empty()) {
        const size_t comma = std::min(list.find(','), list.size());
        const std::string_view word = list.substr(0, comma);
        list.remove_prefix(std::min(comma + 1, list.size()));
        bool known = false;
        for (const auto& [name, event] : event_names)
            if (word == name) {
                trace.events_ |= bit(event);
                known = true;
            }
        if (!known)
            return std::unexpected(VmError{
                fmt::format("--trace: '{}' is not an event: port, mmio, irq and msi are", word), true});
    }
    return trace;
}

void Trace::write(const std::string& text) const {
    const u64 us = (base::monotonic_ns() - start_ns_) / 1000;
    char thread[16] = "";
    pthread_getname_np(pthread_self(), thread, sizeof thread);
    const std::string line = fmt::format("{:>6}.{:03} {:<7} {}\n", us / 1000, us % 1000, thread, text);
    // One write, so that lines of several threads do not mix; a trace that nobody reads is no error.
    [[maybe_unused]] const ssize_t n = ::write(STDERR_FILENO, line.data(), line.size());
}

u32 TracedIo::port_read(u16 port, unsigned size) {
    const u32 value = inner_.port_read(port, size);
    if (trace_.on(Trace::Event::port))
        trace_.write(fmt::format("port {:#06x} -> {:#0{}x}", port, value, 2 + 2 * size));
    return value;
}

void TracedIo::port_write(u16 port, u32 value, unsigned size) {
    if (trace_.on(Trace::Event::port))
        trace_.write(fmt::format("port {:#06x} <- {:#0{}x}", port, value, 2 + 2 * size));
    inner_.port_write(port, value, size);
}

u64 TracedIo::mmio_read(Gpa gpa, unsigned size) {
    const u64 value = inner_.mmio_read(gpa, size);
    if (trace_.on(Trace::Event::mmio))
        trace_.write(fmt::format("mmio {:#012x} -> {:#0{}x}", gpa, value, 2 + 2 * size));
    return value;
}

void TracedIo::mmio_write(Gpa gpa, u64 value, unsigned size) {
    if (trace_.on(Trace::Event::mmio))
        trace_.write(fmt::format("mmio {:#012x} <- {:#0{}x}", gpa, value, 2 + 2 * size));
    inner_.mmio_write(gpa, value, size);
}

}  // namespace triune::machine
