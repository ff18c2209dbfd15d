// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fmt/format.h>

#include "bus/bus.h"
#include "device/chipset.h"
#include "hypervisor/hypervisor.h"
#include "machine/message_events.h"
#include "machine/trace.h"

namespace triune::machine {

/// The processors' accesses that are not RAM go to the two address maps.
class MappedIo final : public hypervisor::Io {
public:
    bus::AddressMap ports, mmio;

    u32 port_read(u16 port, unsigned size) override { return static_cast<u32>(ports.read(port, size)); }
    void port_write(u16 port, u32 value, unsigned size) override { ports.write(port, value, size); }
    u64 mmio_read(Gpa gpa, unsigned size) override { return mmio.read(gpa, size); }
    void mmio_write(Gpa gpa, u64 value, unsigned size) override { mmio.write(gpa, value, size); }
};

/// A device's interrupt line that ends at a global system interrupt.
class GsiLine final : public bus::IrqLine {
public:
    GsiLine(hypervisor::Vm& vm, unsigned gsi, const Trace& trace) : vm_(vm), gsi_(gsi), trace_(trace) {}
    void set(bool level) override {
        if (trace_.on(Trace::Event::irq))
            trace_.write(fmt::format("irq {} {}", gsi_, level ? "high" : "low"));
        vm_.set_gsi(gsi_, level);
    }

private:
    hypervisor::Vm& vm_;
    unsigned gsi_;
    const Trace& trace_;
};

/// A PCI interrupt wire, which ends at an IOAPIC input and at the router to the 8259A pair.
class PciWire final : public bus::IrqLine {
public:
    PciWire(bus::IrqLine& gsi, device::IsaBridge& router, unsigned wire)
        : gsi_(gsi), router_(router), wire_(wire) {}
    void set(bool level) override {
        gsi_.set(level);
        router_.set_pirq(wire_, level);
    }

private:
    bus::IrqLine& gsi_;
    device::IsaBridge& router_;
    unsigned wire_;
};

/// Doorbells of devices are the hypervisor's I/O events. Where one cannot be added, the write reaches the
/// device as ever.
class EventSignals final : public bus::WriteSignals {
public:
    explicit EventSignals(hypervisor::Vm& vm) : vm_(vm) {}
    void add(u64 address, unsigned size, int eventfd) override {
        (void)vm_.add_io_event({.address = address, .size = size, .value = {}, .fd = eventfd});
    }
    void remove(u64 address, unsigned size, int eventfd) override {
        (void)vm_.remove_io_event({.address = address, .size = size, .value = {}, .fd = eventfd});
    }

private:
    hypervisor::Vm& vm_;
};

/// Message-signalled interrupts go to the hypervisor as they are, or by eventfds where those are direct.
class MsiBridge final : public bus::MsiSink {
public:
    MsiBridge(hypervisor::Vm& vm, const Trace& trace) : vm_(vm), events_(vm), trace_(trace) {}
    void send(u64 address, u32 data) override {
        if (trace_.on(Trace::Event::msi)) trace_.write(fmt::format("msi {:#x} data {:#x}", address, data));
        if (!vm_.irq_events_are_direct() || !events_.send(address, data)) vm_.signal_msi(address, data);
    }

private:
    hypervisor::Vm& vm_;
    MessageEvents events_;
    const Trace& trace_;
};

}  // namespace triune::machine
