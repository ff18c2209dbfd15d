// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "device/virtio_blk.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <future>

#include "backend/disk.h"
#include "device/virtio_test_driver.h"

namespace triune::device {
namespace {

using test::Piece;
using test::TestDriver;
using test::TestMachine;
using test::TestRing;

constexpr u32 type_in = 0, type_out = 1, type_flush = 4, type_get_id = 8, type_discard = 11, type_zeroes = 13;
constexpr u8 ok = 0, io_error = 1, unsupported = 2;
constexpr Gpa headers = 0x1000, statuses = 0x2000, buffers = 0x100000;

/// A disk in memory that can be told to fail or to wait.
class FakeDisk final : public backend::BlockBackend {
public:
    static constexpr u64 bytes = 1 << 20;
    u64 size() const override { return bytes; }
    bool readonly() const override { return false; }
    u32 physical_block_size() const override { return 512; }
    int read(u64 offset, std::span<const iovec> to) override {
        if (error) return error;
        for (const iovec& v : to) {
            std::memcpy(v.iov_base, &content[offset], v.iov_len);
            offset += v.iov_len;
        }
        return 0;
    }
    int write(u64 offset, std::span<const iovec> from) override {
        if (error) return error;
        for (const iovec& v : from) {
            std::memcpy(&content[offset], v.iov_base, v.iov_len);
            offset += v.iov_len;
        }
        return 0;
    }
    int flush() override {
        flushing.store(true);
        flushing.notify_all();
        hold.wait(true);
        return error;
    }
    int discard(u64, u64) override { return error; }
    int write_zeroes(u64, u64, bool) override { return error; }

    std::vector<u8> content = std::vector<u8>(bytes);
    std::atomic<int> error{0};
    std::atomic<bool> hold{false}, flushing{false};
};

/// A running device on `disk` and one request at a time.
struct Rig {
    explicit Rig(backend::BlockBackend& disk, u64 features = TestDriver::version_1)
        : blk(*m.memory, disk, "serial-0123456789-too-long"), d(m, blk, 4) {
        ready = d.negotiate(features);
        d.enable_msix();
        ring.emplace(d.make_queue(0, 0x10000, 256));
        d.start();
    }
    /// Queues a request whose header, data and status are descriptors from `slot` * 8 on.
    void submit(u16 slot, u32 type, u64 sector, const std::vector<Piece>& data) {
        const Gpa header = headers + 16 * slot;
        ring->poke(header, type);
        ring->poke(header + 8, sector);
        ring->poke<u8>(statuses + slot, 0xee);
        std::vector<Piece> pieces{{header, 16, false}};
        pieces.insert(pieces.end(), data.begin(), data.end());
        pieces.push_back({statuses + slot, 1, true});
        ring->add(static_cast<u16>(slot * 8), pieces);
        d.kick(0);
        submitted++;
    }
    u8 status(u16 slot) { return ring->peek<u8>(statuses + slot); }
    /// Submits and waits; gives the status byte.
    int request(u32 type, u64 sector, const std::vector<Piece>& data) {
        submit(0, type, sector, data);
        return ring->wait_used(submitted) ? status(0) : -1;
    }
    int erase(u32 type, u64 sector, u32 sectors, u32 flags) {
        ring->poke(buffers, sector);
        ring->poke(buffers + 8, sectors);
        ring->poke(buffers + 12, flags);
        return request(type, 0, {{buffers, 16, false}});
    }
    void put(Gpa at, const std::string& s) { ready = ready && m.memory->write(at, s.data(), s.size()); }
    std::string get(Gpa at, size_t n) {
        std::string s(n, 0);
        ready = ready && m.memory->read(at, s.data(), n);
        return s;
    }

    TestMachine m;
    VirtioBlk blk;
    TestDriver d;
    std::optional<TestRing> ring;
    bool ready = false;
    u16 submitted = 0;
};

class TemporaryImage {
public:
    explicit TemporaryImage(u64 size) {
        const int fd = mkstemp(path.data());
        ok = fd >= 0 && ftruncate(fd, static_cast<off_t>(size)) == 0;
        ::close(fd);
    }
    ~TemporaryImage() { std::filesystem::remove(path); }
    std::string path = (std::filesystem::temp_directory_path() / "triune-blk-XXXXXX").string();
    bool ok = false;
};

TEST(VirtioBlk, Configuration) {
    FakeDisk disk;
    Rig r(disk);
    ASSERT_TRUE(r.ready);
    EXPECT_EQ(r.d.config_read(2, 2), 0x1042U);
    EXPECT_EQ(r.d.read(r.d.device, 8), FakeDisk::bytes / 512);
    EXPECT_EQ(r.d.read(r.d.device + 12, 4), VirtioBlk::max_segments);
    EXPECT_EQ(r.d.read(r.d.device + 20, 4), 512U);
}

TEST(VirtioBlk, WritesAndReadsAFile) {
    TemporaryImage image(1 << 20);
    ASSERT_TRUE(image.ok);
    auto disk = backend::open_raw_disk(image.path, false);
    ASSERT_TRUE(disk) << disk.error().message;
    Rig r(**disk);
    ASSERT_TRUE(r.ready);
    std::string text;
    for (int i = 0; i < 1536; i++) text += static_cast<char>('a' + i % 23);
    r.put(buffers, text);
    // Pieces that do not end at sectors.
    EXPECT_EQ(r.request(type_out, 5,
                        {{buffers, 100, false}, {buffers + 100, 1000, false}, {buffers + 1100, 436, false}}),
              ok);
    EXPECT_EQ(r.ring->used_entry(0).second, 1U) << "only the status was written";
    EXPECT_EQ(r.request(type_flush, 0, {}), ok);
    EXPECT_EQ(r.request(type_in, 6, {{buffers + 0x10000, 1, true}, {buffers + 0x10001, 1023, true}}), ok);
    EXPECT_EQ(r.ring->used_entry(2).second, 1025U);
    EXPECT_EQ(r.get(buffers + 0x10000, 1024), text.substr(512));
    EXPECT_GE(r.m.msi.count(0x41), 1U);
    std::string host(1536, 0);
    FILE* f = fopen(image.path.c_str(), "rb");
    fseek(f, 5 * 512, SEEK_SET);
    EXPECT_EQ(fread(host.data(), 1, host.size(), f), host.size());
    fclose(f);
    EXPECT_EQ(host, text);
}

TEST(VirtioBlk, IdIsTheSerial) {
    FakeDisk disk;
    Rig r(disk);
    EXPECT_EQ(r.request(type_get_id, 0, {{buffers, 20, true}}), ok);
    EXPECT_EQ(r.get(buffers, 20), std::string("serial-0123456789-to"));
    EXPECT_EQ(r.request(type_get_id, 0, {{buffers, 6, true}}), ok);
}

TEST(VirtioBlk, EraseOnAFile) {
    TemporaryImage image(1 << 20);
    auto disk = backend::open_raw_disk(image.path, false);
    ASSERT_TRUE(disk);
    Rig r(**disk);
    const std::string text(4096 * 3, 'z');
    r.put(buffers + 0x10000, text);
    ASSERT_EQ(r.request(type_out, 0, {{buffers + 0x10000, static_cast<u32>(text.size()), false}}), ok);
    EXPECT_EQ(r.erase(type_zeroes, 1, 6, 0), ok);
    EXPECT_EQ(r.erase(type_zeroes, 8, 8, 1), ok);
    EXPECT_EQ(r.erase(type_discard, 16, 8, 0), ok);
    ASSERT_EQ(r.request(type_in, 0, {{buffers + 0x20000, 4096 * 2, true}}), ok);
    EXPECT_EQ(r.get(buffers + 0x20000, 8192), std::string(512, 'z') + std::string(6 * 512, '\0') +
                                                  std::string(512, 'z') + std::string(4096, '\0'));

    EXPECT_EQ(r.erase(type_discard, 0, 8, 1), unsupported) << "discard has no flags";
    EXPECT_EQ(r.erase(type_zeroes, 0, 8, 2), unsupported);
    EXPECT_EQ(r.erase(type_zeroes, 2047, 2, 0), io_error) << "beyond the end";
    EXPECT_EQ(r.erase(type_zeroes, ~u64{0}, 2, 0), io_error);
    EXPECT_EQ(r.erase(type_discard, 0, 0xffff'ffff, 0), io_error);
    EXPECT_EQ(r.request(type_discard, 0, {{buffers, 15, false}}), io_error);
    EXPECT_EQ(r.request(type_discard, 0, {{buffers, 16 * 17, false}}), io_error) << "too many segments";
}

TEST(VirtioBlk, BadRequestsFail) {
    FakeDisk disk;
    Rig r(disk);
    const u64 sectors = FakeDisk::bytes / 512;
    EXPECT_EQ(r.request(type_in, sectors, {{buffers, 512, true}}), io_error);
    EXPECT_EQ(r.request(type_in, sectors - 1, {{buffers, 1024, true}}), io_error);
    EXPECT_EQ(r.request(type_out, ~u64{0}, {{buffers, 512, false}}), io_error);
    EXPECT_EQ(r.request(type_out, ~u64{0} / 512 + 1, {{buffers, 512, false}}), io_error) << "would wrap to 0";
    EXPECT_EQ(r.request(type_in, 0, {{buffers, 511, true}}), io_error);
    EXPECT_EQ(r.request(99, 0, {{buffers, 512, true}}), unsupported);
    EXPECT_EQ(r.request(type_in, 0, {}), ok) << "nothing to read is no error";
    EXPECT_FALSE(r.d.status() & TestDriver::needs_reset);
}

TEST(VirtioBlk, HostErrorsReachTheGuest) {
    FakeDisk disk;
    Rig r(disk);
    for (const int e : {ENOSPC, EIO}) {
        disk.error = e;
        EXPECT_EQ(r.request(type_out, 0, {{buffers, 512, false}}), io_error);
        EXPECT_EQ(r.request(type_in, 0, {{buffers, 512, true}}), io_error);
        EXPECT_EQ(r.request(type_flush, 0, {}), io_error);
    }
    disk.error = 0;
    EXPECT_EQ(r.request(type_out, 0, {{buffers, 512, false}}), ok);
}

TEST(VirtioBlk, ReadOnlyDisk) {
    TemporaryImage image(1 << 20);
    auto disk = backend::open_raw_disk(image.path, true);
    ASSERT_TRUE(disk);
    Rig r(**disk);
    const u64 f = r.d.device_features();
    EXPECT_TRUE(f & 1 << 5);
    EXPECT_FALSE(f & (1 << 13 | 1 << 14));
    ASSERT_TRUE(r.d.negotiate(TestDriver::version_1 | 1 << 5));
    r.ring.emplace(r.d.make_queue(0, 0x10000, 256));
    r.d.start();
    EXPECT_EQ(r.request(type_out, 0, {{buffers, 512, false}}), io_error);
    EXPECT_EQ(r.erase(type_zeroes, 0, 8, 0), unsupported);
    EXPECT_EQ(r.request(type_in, 0, {{buffers, 512, true}}), ok);
}

TEST(VirtioBlk, RequestWithoutHeaderOrStatusNeedsReset) {
    FakeDisk disk;
    for (const bool no_status : {false, true}) {
        Rig r(disk);
        if (no_status)
            r.ring->add(0, {{headers, 16, false}});
        else
            r.ring->add(0, {{headers, 15, false}, {statuses, 1, true}});
        r.d.kick(0);
        EXPECT_TRUE(r.d.wait_status(TestDriver::needs_reset));
        ASSERT_TRUE(r.d.negotiate(TestDriver::version_1));
        r.ring.emplace(r.d.make_queue(0, 0x10000, 256));
        r.d.start();
        EXPECT_EQ(r.request(type_in, 0, {{buffers, 512, true}}), ok);
    }
}

TEST(VirtioBlk, ReadsOvertakeASlowFlush) {
    for (const u64 event_idx : {u64{0}, virtio_feature::event_idx}) {
        FakeDisk disk;
        Rig r(disk, TestDriver::version_1 | event_idx);
        disk.hold = true;
        r.submit(0, type_flush, 0, {});
        disk.flushing.wait(false);
        for (u16 i = 1; i <= 8; i++) r.submit(i, type_in, i, {{buffers + u64{i} * 0x1000, 512, true}});
        EXPECT_TRUE(r.ring->wait_used(8));
        EXPECT_EQ(r.status(0), 0xee) << "the flush is under way";
        disk.hold = false;
        disk.hold.notify_all();
        EXPECT_TRUE(r.ring->wait_used(9));
        EXPECT_EQ(r.status(0), ok);
    }
}

TEST(VirtioBlk, ResetWaitsForRequestsUnderWay) {
    FakeDisk disk;
    Rig r(disk);
    disk.hold = true;
    r.submit(0, type_flush, 0, {});
    disk.flushing.wait(false);
    std::atomic<bool> reset_done{false};
    auto reset = std::async(std::launch::async, [&] {
        r.d.set_status(0);
        reset_done = true;
    });
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    EXPECT_FALSE(reset_done);
    disk.hold = false;
    disk.hold.notify_all();
    reset.wait();
    EXPECT_EQ(r.d.status(), 0);
    EXPECT_EQ(r.ring->used_index(), 1);
}

TEST(VirtioBlk, ManyRequestsInFlight) {
    FakeDisk disk;
    for (size_t i = 0; i < disk.content.size(); i++) disk.content[i] = static_cast<u8>(i / 512);
    Rig r(disk, TestDriver::version_1 | virtio_feature::event_idx);
    u16 total = 0;
    for (int round = 0; round < 200; round++) {
        for (u16 i = 0; i < 30; i++) {
            r.submit(i, type_in, u64{i} * 7, {{buffers + u64{i} * 0x1000, 512, true}});
            total++;
        }
        ASSERT_TRUE(r.ring->wait_used(total)) << "round " << round;
        for (u16 i = 0; i < 30; i++) {
            ASSERT_EQ(r.status(i), ok);
            ASSERT_EQ(r.ring->peek<u8>(buffers + u64{i} * 0x1000 + 511), i * 7);
            r.ring->poke<u8>(buffers + u64{i} * 0x1000 + 511, 0);
        }
    }
}

}  // namespace
}  // namespace triune::device
