// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
//
// Any accesses to the interrupt chip: 8259As, PIT, I/O APIC, two local APICs (pages and MSRs), with lines,
// messages, acknowledgements and time in between.
#include <cstdlib>

#include "hypervisor/soft/irqchip/irqchip.h"

extern "C" int LLVMFuzzerTestOneInput(const triune::u8* data, size_t size) {
    using namespace triune;
    using namespace triune::hypervisor::soft;
    const auto loop = base::EventLoop::create().value();  // never runs; timers die with it
    static x86::CpuModel model = [] {
        x86::CpuModel m;
        m.tsc_hz = 1'000'000'000;
        return m;
    }();
    const auto contexts = [] {
        std::array<std::unique_ptr<cpu::VcpuContext>, 2> c;
        for (unsigned i = 0; i < 2; ++i) {
            c[i] = std::make_unique<cpu::VcpuContext>();
            c[i]->index = i;
            c[i]->model = &model;
        }
        return c;
    }();
    irqchip::IrqChip chip({contexts[0].get(), contexts[1].get()}, *loop);

    const u8* const end = data + size;
    const auto byte = [&] { return data == end ? u8{0} : *data++; };
    const auto number = [&](unsigned bytes) {
        u64 v = 0;
        for (unsigned i = 0; i < bytes; ++i) v |= u64{byte()} << 8 * i;
        return v;
    };
    static constexpr u16 ports[] = {0x20, 0x21, 0xa0, 0xa1, 0x40, 0x41, 0x42, 0x43, 0x61, 0x4d0, 0x4d1};
    while (data != end) {
        const u8 op = byte();
        auto& apic = chip.apic(op >> 7);
        switch (op & 15) {
            case 0: (void)chip.port_read(ports[byte() % std::size(ports)]); break;
            case 1:
            case 2: chip.port_write(ports[byte() % std::size(ports)], byte()); break;
            case 3: (void)chip.ioapic().read(byte() & 0x70); break;
            case 4: chip.ioapic().write(byte() & 0x70, static_cast<u32>(number(4))); break;
            case 5: (void)apic.read_mmio(byte() << 4); break;
            case 6:
            case 7: apic.write_mmio(byte() << 4, static_cast<u32>(number(4))); break;
            case 8: (void)apic.read_x2apic(0x800 + byte()); break;
            case 9: (void)apic.write_x2apic(0x800 + byte(), number(8)); break;
            case 10: (void)apic.set_apic_base(number(5)); break;
            case 11: chip.set_gsi(byte() & 31, op & 16); break;
            case 12: chip.signal_msi(0xfee00000 + number(3), static_cast<u32>(number(2))); break;
            case 13:
                if (apic.has_interrupt()) {
                    const int vector = apic.acknowledge();
                    if (vector < -1 || vector > 255) std::abort();
                }
                break;
            case 14: apic.set_tsc_deadline(number(8)), apic.poll_timer(); break;
            case 15:
                if (op & 16)
                    apic.reset(op & 32);
                else
                    apic.set_cr8(byte() & 15);
                break;
        }
    }
    return 0;
}
