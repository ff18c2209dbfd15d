// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

/// The driver's side of virtio for tests: a small machine with RAM and a PCI bus, and a driver that
/// finds the registers as an operating system does and builds rings in guest memory.
#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <map>
#include <optional>
#include <string>
#include <thread>

#include "bus/pci.h"
#include "device/virtio_queue.h"

namespace triune::device::test {

/// Counts messages by data word.
class MsiRecorder final : public bus::MsiSink {
public:
    void send(u64, u32 data) override {
        const std::lock_guard lock(mutex_);
        sent_[data]++;
        changed_.notify_all();
    }
    unsigned count(u32 data) {
        const std::lock_guard lock(mutex_);
        return sent_[data];
    }
    bool wait(u32 data, unsigned at_least, std::chrono::milliseconds limit = std::chrono::seconds(10)) {
        std::unique_lock lock(mutex_);
        return changed_.wait_for(lock, limit, [&] { return sent_[data] >= at_least; });
    }

private:
    std::mutex mutex_;
    std::condition_variable changed_;
    std::map<u32, unsigned> sent_;
};

class LevelRecorder final : public bus::IrqLine {
public:
    void set(bool level) override { level_ = level; }
    [[nodiscard]] bool level() const { return level_; }

private:
    std::atomic<bool> level_{false};
};

struct TestMachine {
    static constexpr u64 ram_bytes = 8 << 20, rom_bytes = 64 << 10;
    static constexpr Gpa rom = 0xfffc'0000;

    TestMachine() {
        memory = std::move(*memory::GuestMemory::create(ram_bytes + rom_bytes));
        // RAM in two slots that touch, so that buffers can span slots.
        ok = memory->add_slot(0, ram_bytes / 2, 0) &&
             memory->add_slot(ram_bytes / 2, ram_bytes / 2, ram_bytes / 2) &&
             memory->add_slot(rom, rom_bytes, ram_bytes, true);
        std::array<bus::IrqLine*, bus::pci_gsi_count> lines{};
        for (size_t i = 0; i < lines.size(); i++) lines[i] = &intx[i];
        pci = std::make_unique<bus::PciHost>(ports, mmio, msi, lines);
    }

    bool ok = false;
    std::unique_ptr<memory::GuestMemory> memory;
    bus::AddressMap ports, mmio;
    MsiRecorder msi;
    std::array<LevelRecorder, bus::pci_gsi_count> intx;
    std::unique_ptr<bus::PciHost> pci;
};

struct Piece {
    Gpa gpa = 0;
    u32 size = 0;
    bool write = false;
};

/// One queue's rings as the driver keeps them.
class TestRing {
public:
    TestRing(memory::GuestMemory& m, Gpa base, u16 entries) : m_(m), base_(base), size(entries) {}

    [[nodiscard]] Gpa descriptors() const { return base_; }
    [[nodiscard]] Gpa avail() const { return base_ + 0x4000; }
    [[nodiscard]] Gpa used() const { return base_ + 0x5000; }
    static constexpr u64 footprint = 0x8000;

    void put_descriptor(Gpa table, u16 i, u64 address, u32 length, u16 flags, u16 next) {
        poke(table + 16 * i, address);
        poke(table + 16 * i + 8, length);
        poke(table + 16 * i + 12, flags);
        poke(table + 16 * i + 14, next);
    }
    /// Writes a chain from descriptor `first` on and makes it available.
    void add(u16 first, const std::vector<Piece>& pieces) {
        for (size_t i = 0; i < pieces.size(); i++) {
            const bool last = i + 1 == pieces.size();
            put_descriptor(base_, static_cast<u16>(first + i), pieces[i].gpa, pieces[i].size,
                           static_cast<u16>((last ? 0 : 1) | (pieces[i].write ? 2 : 0)),
                           static_cast<u16>(first + i + 1));
        }
        offer(first);
    }
    void offer(u16 head) {
        poke<u16>(avail() + 4 + 2 * (next_ % size), head);
        next_++;
        poke<u16>(avail() + 2, next_);
    }
    void set_avail_index(u16 v) { poke<u16>(avail() + 2, v); }
    void set_used_event(u16 v) { poke<u16>(avail() + 4 + 2 * size, v); }
    u16 avail_event() { return peek<u16>(used() + 4 + 8 * size); }
    u16 used_flags() { return peek<u16>(used()); }
    u16 used_index() { return peek<u16>(used() + 2); }
    std::pair<u32, u32> used_entry(u16 i) {
        return {peek<u32>(used() + 4 + 8 * (i % size)), peek<u32>(used() + 8 + 8 * (i % size))};
    }
    /// Until the device has used `n` requests in all.
    bool wait_used(u16 n, std::chrono::milliseconds limit = std::chrono::seconds(10)) {
        const auto end = std::chrono::steady_clock::now() + limit;
        while (used_index() != n) {
            if (std::chrono::steady_clock::now() > end) return false;
            std::this_thread::sleep_for(std::chrono::microseconds(50));
        }
        return true;
    }

    template <class T>
    T peek(Gpa gpa) {
        return std::atomic_ref<T>(*reinterpret_cast<T*>(m_.host(gpa, sizeof(T)))).load();
    }
    template <class T>
    void poke(Gpa gpa, T v) {
        std::atomic_ref<T>(*reinterpret_cast<T*>(m_.host(gpa, sizeof(T)))).store(v);
    }

private:
    memory::GuestMemory& m_;
    Gpa base_;
    u16 next_ = 0;

public:
    const u16 size;
};

/// Finds and drives one modern virtio device.
class TestDriver {
public:
    static constexpr u8 acknowledge = 1, driver = 2, driver_ok = 4, features_ok = 8, needs_reset = 64;
    static constexpr u64 version_1 = virtio_feature::version_1;

    TestDriver(TestMachine& m, bus::PciFunction& f, unsigned slot) : m_(m), slot_(slot) {
        attached = m.pci->attach(slot, f) && m.pci->assign_resources();
        config_write(4, 0x0006, 2);  // memory space, bus master
        for (unsigned at = config_read(0x34, 1); at != 0; at = config_read(at + 1, 1)) {
            if (config_read(at, 1) == bus::pci_cap::msix) msix_capability = at;
            if (config_read(at, 1) != bus::pci_cap::vendor) continue;
            const unsigned type = config_read(at + 3, 1);
            const u64 base = bar(config_read(at + 4, 1)) + config_read(at + 8, 4);
            if (type == 1) common = base;
            if (type == 2) notify = base, notify_multiplier = config_read(at + 16, 4);
            if (type == 3) isr = base;
            if (type == 4) device = base;
            if (type == 5) window = at;
        }
    }

    /// A function outlives its bus.
    ~TestDriver() { m_.pci.reset(); }
    TestDriver(const TestDriver&) = delete;
    TestDriver& operator=(const TestDriver&) = delete;

    u32 config_read(unsigned offset, unsigned size) {
        m_.ports.write(0xcf8, 0x8000'0000 | slot_ << 11 | (offset & ~3U), 4);
        return static_cast<u32>(m_.ports.read(0xcfc + (offset & 3), size));
    }
    void config_write(unsigned offset, u32 v, unsigned size) {
        m_.ports.write(0xcf8, 0x8000'0000 | slot_ << 11 | (offset & ~3U), 4);
        m_.ports.write(0xcfc + (offset & 3), v, size);
    }
    u64 bar(unsigned i) {
        const u32 low = config_read(0x10 + 4 * i, 4);
        const u64 high = (low & 6) == 4 ? config_read(0x14 + 4 * i, 4) : 0;
        return high << 32 | (low & ~0xfU);
    }
    u64 read(u64 at, unsigned size) { return m_.mmio.read(at, size); }
    void write(u64 at, u64 v, unsigned size) { m_.mmio.write(at, v, size); }
    u8 status() { return static_cast<u8>(read(common + 20, 1)); }
    void set_status(u8 v) { write(common + 20, v, 1); }

    u64 device_features() {
        write(common, 0, 4);
        const u64 low = read(common + 4, 4);
        write(common, 1, 4);
        return low | read(common + 4, 4) << 32;
    }
    /// Reset to FEATURES_OK; true when the device agreed.
    bool negotiate(u64 features) {
        set_status(0);
        set_status(acknowledge);
        set_status(acknowledge | driver);
        for (u32 half = 0; half < 2; half++) {
            write(common + 8, half, 4);
            write(common + 12, static_cast<u32>(features >> (32 * half)), 4);
        }
        set_status(acknowledge | driver | features_ok);
        return status() & features_ok;
    }
    /// MSI-X on; vector v sends data 0x40 + v.
    void enable_msix() {
        const u64 table = bar(config_read(msix_capability + 4, 4) & 7);
        const unsigned vectors = (config_read(msix_capability + 2, 2) & 0x7ff) + 1;
        for (unsigned v = 0; v < vectors; v++) {
            write(table + 16 * v, 0xfee0'0000, 4);
            write(table + 16 * v + 8, 0x40 + v, 4);
            write(table + 16 * v + 12, 0, 4);
        }
        config_write(msix_capability + 2, 0x8000, 2);
    }
    /// Rings for queue `q` at `base`; vector q + 1.
    TestRing make_queue(u16 q, Gpa base, u16 size) {
        TestRing ring(*m_.memory, base, size);
        const std::vector<u8> zeros(TestRing::footprint);
        if (!m_.memory->write(base, zeros.data(), zeros.size())) abort();
        set_queue(q, size, ring.descriptors(), ring.avail(), ring.used());
        return ring;
    }
    void set_queue(u16 q, u16 size, Gpa desc, Gpa avail, Gpa used) {
        write(common + 22, q, 2);
        write(common + 24, size, 2);
        write(common + 26, q + 1U, 2);
        write(common + 32, static_cast<u32>(desc), 4);
        write(common + 36, desc >> 32, 4);
        write(common + 40, static_cast<u32>(avail), 4);
        write(common + 44, avail >> 32, 4);
        write(common + 48, static_cast<u32>(used), 4);
        write(common + 52, used >> 32, 4);
        write(common + 28, 1, 2);
    }
    void start() { set_status(acknowledge | driver | features_ok | driver_ok); }
    void kick(u16 q) {
        write(common + 22, q, 2);
        write(notify + u64{notify_multiplier} * read(common + 30, 2), q, 2);
    }
    bool wait_status(u8 bits) {
        for (int i = 0; i < 100'000; i++) {
            if ((status() & bits) == bits) return true;
            std::this_thread::sleep_for(std::chrono::microseconds(100));
        }
        return false;
    }

    bool attached = false;
    u64 common = 0, notify = 0, isr = 0, device = 0;
    u32 notify_multiplier = 0;
    unsigned msix_capability = 0, window = 0;

private:
    TestMachine& m_;
    unsigned slot_;
};

}  // namespace triune::device::test
