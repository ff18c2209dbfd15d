// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
//
// Disk, entropy source and console behind their PCI registers, each with its own threads at work while a
// hostile driver writes registers, rings and data. What a disk device asks of its backend must stay in the
// disk.
#include <algorithm>
#include <cstdlib>
#include <memory>

#include "device/virtio_blk.h"
#include "device/virtio_console.h"
#include "device/virtio_rng.h"

namespace {

using namespace triune;

constexpr u64 ram = 64 << 10, disk_bytes = 1 << 20;

struct NullMsi final : bus::MsiSink {
    void send(u64, u32) override {}
};
struct NullLine final : bus::IrqLine {
    void set(bool) override {}
};
struct Chars final : backend::CharBackend {
    void write(std::span<const u8> bytes) override {
        sum += bytes.empty() ? 0 : bytes.front() + bytes.back();
    }
    void on_input(Input r) override { receiver = std::move(r); }
    void resume_input() override {}
    Input receiver;
    std::atomic<unsigned> sum{0};
};
/// Contents do not matter, only that every byte asked for exists.
struct Disk final : backend::BlockBackend {
    u64 size() const override { return disk_bytes; }
    bool readonly() const override { return false; }
    u32 physical_block_size() const override { return 512; }
    int read(u64 offset, std::span<const iovec> to) override {
        check(offset, total(to));
        for (const iovec& v : to) std::fill_n(static_cast<u8*>(v.iov_base), v.iov_len, u8{0x5a});
        return 0;
    }
    int write(u64 offset, std::span<const iovec> from) override {
        check(offset, total(from));
        for (const iovec& v : from)
            if (v.iov_len) sum += static_cast<const u8*>(v.iov_base)[v.iov_len - 1];
        return 0;
    }
    int flush() override { return 0; }
    int discard(u64 offset, u64 size) override { return check(offset, size), 0; }
    int write_zeroes(u64 offset, u64 size, bool) override { return check(offset, size), 0; }
    static u64 total(std::span<const iovec> v) {
        u64 n = 0;
        for (const iovec& i : v) n += i.iov_len;
        return n;
    }
    static void check(u64 offset, u64 size) {
        if (offset > disk_bytes || size > disk_bytes - offset) std::abort();
    }
    std::atomic<unsigned> sum{0};
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
    const u8* const end = data + size;
    const auto byte = [&] { return data == end ? u8{0} : *data++; };
    const auto half = [&] { return static_cast<u16>(byte() | byte() << 8); };

    bus::AddressMap ports, mmio;
    NullMsi msi;
    NullLine line;
    std::array<bus::IrqLine*, bus::pci_gsi_count> lines;
    lines.fill(&line);
    Chars chars;
    Disk disk;
    std::unique_ptr<device::VirtioPci> card;
    switch (byte() % 3) {
        case 0: card = std::make_unique<device::VirtioBlk>(*memory, disk, "fuzz", 1); break;
        case 1: card = std::make_unique<device::VirtioRng>(*memory); break;
        case 2: card = std::make_unique<device::VirtioConsole>(*memory, chars); break;
    }
    bus::PciHost pci(ports, mmio, msi, lines);
    if (!pci.attach(1, *card) || !pci.assign_resources()) std::abort();
    card->config_write(4, 6, 2);
    const u64 base = card->mapped_bar(device::VirtioPci::register_bar);
    const auto put = [&](u64 offset, u64 v, unsigned n) { mmio.write(base + offset, v, n); };
    const auto start = [&] {
        put(20, 0, 1);
        put(20, 3, 1);
        put(8, 1, 4), put(12, 1, 4);
        put(20, 11, 1);
        for (u64 q = 0; q < 2; q++) {
            put(22, q, 2), put(24, 8, 2);
            put(32, q * 0x4000, 8), put(40, q * 0x4000 + 0x1000, 8), put(48, q * 0x4000 + 0x2000, 8);
            put(28, 1, 2);
        }
        put(20, 15, 1);
    };
    start();
    for (int steps = 0; data != end && steps < 256; steps++) {
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
            case 3: put(device::VirtioPci::notify_offset + (byte() & 3) * 4, 0, 2); break;
            case 4: {
                const u8 r = byte() & 63;
                const unsigned n = 1U << (byte() & 3);
                put(r & ~(n - 1), half() | u64{half()} << 32, n);
                break;
            }
            case 5: {
                const u8 r = byte();
                (void)mmio.read(base + (r & 63) + (r >> 6) * 0x1000, 1);
                if (r == 0xff) start();
                break;
            }
            case 6: {
                // A plain disk request: header, data, status.
                const u16 at = 0x8000, type = byte() & 15;
                u8* d = host;
                const auto descriptor = [&](u64 gpa, u32 length, u16 flags, u16 next) {
                    for (unsigned i = 0; i < 8; ++i) *d++ = static_cast<u8>(gpa >> 8 * i);
                    for (unsigned i = 0; i < 4; ++i) *d++ = static_cast<u8>(length >> 8 * i);
                    for (const u16 v : {flags, next})
                        *d++ = static_cast<u8>(v), *d++ = static_cast<u8>(v >> 8);
                };
                descriptor(at, 16, 1, 1);
                descriptor(0x9000, half(), static_cast<u16>(1 | (type & 1 ? 0 : 2)), 2);
                descriptor(0xf000, 1, 2, 0);
                host[at] = static_cast<u8>(type);
                for (unsigned i = 8; i < 12; ++i)
                    host[at + i] = byte() & (i == 8 ? 0xff : i == 9 ? 0x0f : 0x80);
                break;
            }
            default:
                if (chars.receiver) {
                    const std::vector<u8> input(byte(), 0x41);
                    chars.receiver(input);
                }
                break;
        }
    }
    card->reset();
    return 0;
}
