// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <expected>
#include <string>
#include <string_view>

#include "base/types.h"
#include "bus/bus.h"
#include "hypervisor/hypervisor.h"
#include "triune/vm.h"

namespace triune::machine {

/// `--trace`: events at the border between the processors and the devices, a line each on stderr:
/// milliseconds since the start, the thread, what happened. Any thread; a line is written at once.
class Trace {
public:
    enum class Event : u8 { port, mmio, irq, msi };

    /// "port,irq": the events to write; empty for none.
    static std::expected<Trace, VmError> parse(std::string_view list);

    [[nodiscard]] bool on(Event e) const { return events_ & bit(e); }
    [[nodiscard]] bool any() const { return events_ != 0; }
    void write(const std::string& text) const;

private:
    static constexpr u8 bit(Event e) { return static_cast<u8>(1u << static_cast<unsigned>(e)); }
    u8 events_ = 0;
    u64 start_ns_ = 0;
};

/// Passes accesses on and writes those that are traced.
class TracedIo final : public hypervisor::Io {
public:
    TracedIo(hypervisor::Io& inner, const Trace& trace) : inner_(inner), trace_(trace) {}
    u32 port_read(u16 port, unsigned size) override;
    void port_write(u16 port, u32 value, unsigned size) override;
    u64 mmio_read(Gpa gpa, unsigned size) override;
    void mmio_write(Gpa gpa, u64 value, unsigned size) override;

private:
    hypervisor::Io& inner_;
    const Trace& trace_;
};

}  // namespace triune::machine
