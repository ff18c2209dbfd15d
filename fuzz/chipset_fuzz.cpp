// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
//
// Any sequence of port and MMIO accesses of any size to the fixed devices and the PCI bus, with
// time and input passing in between.
#include <algorithm>
#include <cstdlib>

#include "bus/pc_ports.h"
#include "device/acpi_pm.h"
#include "device/chipset.h"
#include "device/rtc.h"
#include "device/uart.h"

using namespace triune;
namespace pc = bus::pc;

namespace {

struct Line : bus::IrqLine {
    void set(bool) override {}
};
struct Sink : bus::MsiSink {
    void send(u64, u32) override {}
};
struct Serial : backend::CharBackend {
    void write(std::span<const u8>) override {}
    void on_input(Input r) override { receiver = std::move(r); }
    void resume_input() override {}
    Input receiver;
};
struct Registers : bus::RegisterBlock {
    explicit Registers(u64 s) : size(s) {}
    u64 read(u64 offset, unsigned n) override { return check(offset, n); }
    void write(u64 offset, u64, unsigned n) override { check(offset, n); }
    u64 check(u64 offset, unsigned n) const {
        if (n == 0 || n > 8 || offset >= size || size - offset < n) std::abort();
        return ~u64{0};
    }
    u64 size;
};
struct Function : bus::PciFunction {
    Function()
        : PciFunction({.vendor = 0x1af4, .device = 0x1041, .class_code = 0x020000, .uses_intx = true}) {
        add_bar(0, bus::BarKind::io, 32, io);
        add_msix(1, 5);
        add_bar(2, bus::BarKind::memory32, 0x1000, mem);
        add_bar(4, bus::BarKind::memory64, 0x4000, big);
    }
    using PciFunction::set_intx;
    using PciFunction::signal_msix;
    Registers io{32}, mem{0x1000}, big{0x4000};
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const u8* data, size_t size) {
    const auto loop = base::EventLoop::create().value();  // never runs; timers die with it
    Line line;
    Sink sink;
    Serial serial;
    i64 utc = 1'700'000'000'000'000'000;
    u64 monotonic = 1'000'000'000;
    bus::AddressMap ports, mmio;
    device::Uart uart(line, serial, *loop);
    device::Rtc rtc(line, *loop, [&] { return utc; });
    device::AcpiPm pm(line, *loop, [] {}, [&] { return monotonic; });
    device::ResetControl reset([] {});
    device::KeyboardReset keyboard([] {});
    device::HostBridge host_bridge;
    device::IsaBridge isa_bridge;
    Function a, b;
    bus::PciHost pci(ports, mmio, sink, {&line, &line, &line, &line, &line, &line, &line, &line});
    ports.add(pc::com1_ports, pc::com_port_count, uart);
    ports.add(pc::rtc_ports, pc::rtc_port_count, rtc);
    ports.add(pc::pm_ports, pc::pm_port_count, pm);
    ports.add(pc::keyboard_status_port, 1, keyboard);
    pci.set_reset_port(&reset);
    pci.attach(0, host_bridge);
    pci.attach(1, isa_bridge);
    pci.attach(2, a);
    pci.attach(10, b);
    pci.assign_resources();

    const auto take = [&](unsigned n) {
        u64 v = 0;
        for (unsigned i = 0; i < n && size; ++i, --size) v |= u64{*data++} << (8 * i);
        return v;
    };
    static constexpr u16 bases[] = {pc::com1_ports, pc::rtc_ports, pc::pm_ports, 0xcf8, 0xcfc, 0x60, 0xc000};
    while (size) {
        const u64 op = take(1);
        const unsigned width = 1u << (op >> 6);
        switch (op & 7) {
            case 0:
                (void)ports.read(bases[take(1) % std::size(bases)] + take(1) % 16, std::min(width, 4u));
                break;
            case 1:
                ports.write(bases[take(1) % std::size(bases)] + take(1) % 16, take(width),
                            std::min(width, 4u));
                break;
            case 2: {  // configuration write: the interesting one
                const u64 where = take(2);
                ports.write(0xcf8, 0x80000000 | (where & 0x5ffc), 4);
                ports.write(0xcfc + (where & 3), take(4), std::min(width, 4u));
                break;
            }
            case 3: (void)mmio.read(bus::pci_mmio_base + take(2), width); break;
            case 4: mmio.write(bus::pci_mmio_base + take(2), take(width), width); break;
            case 5: {
                std::array<u8, 20> in{};
                serial.receiver(std::span(in).first(take(1) % in.size() + 1));
                break;
            }
            case 6: {
                const u64 step = take(width);
                utc += static_cast<i64>(step >> 4);
                monotonic += step >> 4;
                if (utc > i64{1} << 62) utc = 0;
                break;
            }
            case 7:
                if (op & 8)
                    a.set_intx(op & 16);
                else
                    a.signal_msix(static_cast<unsigned>(take(1)));
                if (op & 32) pci.reset();
                break;
        }
    }
    return 0;
}
