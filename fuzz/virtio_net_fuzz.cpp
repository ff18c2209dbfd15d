// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0

/// A whole virtio device behind its PCI registers: the fuzzer is a guest kernel that writes registers
/// and memory as it likes, while frames come and go.
#include <algorithm>
#include <cstdlib>
#include <memory>

#include "device/virtio_net.h"

namespace {

using namespace triune;

constexpr u64 ram = 64 << 10;

class NullMsi final : public bus::MsiSink {
    void send(u64, u32) override {}
};
class NullLine final : public bus::IrqLine {
    void set(bool) override {}
};
class Wire final : public backend::NetBackend {
public:
    void attach(backend::NetClient* c) override { client = c; }
    void kick() override { kicked = true; }
    void send(std::span<const u8> frame) override { sum += frame.empty() ? 0 : frame.front() + frame.back(); }
    u32 max_frame() const override { return 1514; }
    bool checksums_hold() const override { return true; }
    bool takes_large_segments() const override { return true; }
    backend::NetClient* client = nullptr;
    bool kicked = false;
    unsigned sum = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const u8* data, size_t size) {
    static const auto memory = [] {
        auto m = std::move(*memory::GuestMemory::create(ram));
        if (!m->add_slot(0, ram, 0)) std::abort();
        return m;
    }();
    u8* const host = memory->host(0, ram);
    std::fill_n(host, ram, u8{0});

    bus::AddressMap ports, mmio;
    NullMsi msi;
    NullLine line;
    std::array<bus::IrqLine*, bus::pci_gsi_count> lines;
    lines.fill(&line);
    Wire wire;
    device::VirtioNet card(*memory, wire, {0x52, 0x54, 0, 0, 0, 1});
    bus::PciHost pci(ports, mmio, msi, lines);
    if (!pci.attach(1, card) || !pci.assign_resources()) std::abort();
    card.config_write(4, 6, 2);
    const u64 base = card.mapped_bar(device::VirtioPci::register_bar);
    const auto put = [&](u64 offset, u64 v, unsigned n) { mmio.write(base + offset, v, n); };
    const auto start = [&] {
        put(20, 0, 1);
        put(20, 3, 1);
        put(8, 0, 4), put(12, 0x3001'8823, 4), put(8, 1, 4), put(12, 1, 4);
        put(20, 11, 1);
        for (u64 q = 0; q < 2; q++) {
            put(22, q, 2), put(24, 8, 2);
            put(32, q * 0x4000, 8), put(40, q * 0x4000 + 0x1000, 8), put(48, q * 0x4000 + 0x2000, 8);
            put(28, 1, 2);
        }
        put(20, 15, 1);
    };
    start();

    const u8* const end = data + size;
    const auto byte = [&] { return data == end ? u8{0} : *data++; };
    const auto half = [&] { return static_cast<u16>(byte() | byte() << 8); };
    std::vector<u8> frame;
    for (int steps = 0; data != end && steps < 4096; steps++) {
        switch (byte() % 8) {
            case 0:
            case 1: {
                const u16 at = half();
                for (unsigned i = byte() & 63; i > 0 && at + i <= ram; i--) host[at + i - 1] = byte();
                break;
            }
            case 2: {  // one more request available
                u8* p = host + (byte() & 1) * 0x4000 + 0x1002;
                const unsigned index = (p[0] | p[1] << 8) + 1U;
                p[0] = static_cast<u8>(index), p[1] = static_cast<u8>(index >> 8);
                break;
            }
            case 3: put(device::VirtioPci::notify_offset + (byte() & 7) * 4, 0, 2); break;
            case 4: {
                const u8 r = byte() & 63;
                const unsigned n = 1U << (byte() & 3);
                const u64 low = half(), high = half();
                put(r & ~(n - 1), low | high << 32, n);
                break;
            }
            case 5: {
                const u8 r = byte();
                mmio.read(base + (r & 63) + (r >> 6) * 0x1000, 1);
                if (r == 0xff) start();
                break;
            }
            case 6:
                frame.assign(half() % 1600, byte());
                wire.client->receive(frame);
                wire.client->receive_done();
                break;
            default:
                for (int i = 0; i < 4 && wire.kicked; i++) {
                    wire.kicked = false;
                    wire.client->network_ready();
                }
                break;
        }
    }
    return 0;
}
