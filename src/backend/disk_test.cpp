// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "backend/disk.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <vector>

#include "base/fd.h"

namespace triune::backend {
namespace {

class DiskTest : public testing::Test {
protected:
    void SetUp() override { ASSERT_NE(mkdtemp(dir.data()), nullptr); }
    void TearDown() override { std::filesystem::remove_all(dir); }
    std::string image(const std::string& name, u64 size) {
        const std::string path = dir + "/" + name;
        const base::Fd fd(::open(path.c_str(), O_CREAT | O_RDWR | O_TRUNC, 0644));
        EXPECT_EQ(ftruncate(fd.get(), static_cast<off_t>(size)), 0);
        return path;
    }
    static std::string error(const std::string& path, bool readonly = false) {
        const auto d = open_raw_disk(path, readonly);
        return d ? "" : d.error().message;
    }
    static void expect_error(const std::string& message, const std::string& path, const std::string& part) {
        EXPECT_TRUE(message.starts_with(path + ": ")) << message;
        EXPECT_NE(message.find(part), std::string::npos) << message;
        EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    }
    std::string dir = (std::filesystem::temp_directory_path() / "triune-disk-XXXXXX").string();
};

TEST_F(DiskTest, ScatteredWriteAndRead) {
    auto d = open_raw_disk(image("a.img", 1 << 20), false);
    ASSERT_TRUE(d) << d.error().message;
    EXPECT_EQ((*d)->size(), 1U << 20);
    // More pieces than one system call takes.
    std::vector<u8> out(300'000), in(300'000);
    for (size_t i = 0; i < out.size(); i++) out[i] = static_cast<u8>(i * 31);
    std::vector<iovec> to, from;
    for (size_t i = 0; i < out.size(); i += 200) from.push_back({&out[i], 200});
    for (size_t i = 0; i < in.size(); i += 3000) to.push_back({&in[i], 3000});
    ASSERT_EQ((*d)->write(512, from), 0);
    ASSERT_EQ((*d)->flush(), 0);
    ASSERT_EQ((*d)->read(512, to), 0);
    EXPECT_EQ(in, out);
}

/// How often `part` is in `text`.
int count(const std::string& text, const std::string& part) {
    int n = 0;
    for (size_t at = 0; (at = text.find(part, at)) != std::string::npos; ++at) ++n;
    return n;
}

TEST_F(DiskTest, HostErrorsAreToldOnce) {
    const std::string path = image("short.img", 1 << 20);
    auto d = open_raw_disk(path, false);
    ASSERT_TRUE(d);
    std::filesystem::resize_file(path, 4096);  // somebody cuts it short under us
    std::vector<u8> b(1024);
    const iovec v{b.data(), b.size()};
    testing::internal::CaptureStderr();
    for (int i = 0; i < 100; ++i) EXPECT_EQ((*d)->read(8192, {&v, 1}), EIO);
    const std::string told = testing::internal::GetCapturedStderr();
    EXPECT_EQ(count(told, "\n"), 1) << told;
    EXPECT_NE(told.find("triune: " + path + ": read of 1024 bytes at offset 8192: Input/output error"),
              std::string::npos)
        << told;
    // What the guest asks wrongly is not the host's error.
    testing::internal::CaptureStderr();
    EXPECT_EQ((*d)->read(2 << 20, {&v, 1}), EINVAL);
    EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

TEST_F(DiskTest, RangesAreChecked) {
    auto d = open_raw_disk(image("a.img", 4096), false);
    ASSERT_TRUE(d);
    std::vector<u8> b(1024);
    const iovec v{b.data(), b.size()};
    EXPECT_EQ((*d)->read(3072, {&v, 1}), 0);
    EXPECT_EQ((*d)->read(3584, {&v, 1}), EINVAL);
    EXPECT_EQ((*d)->write(~u64{0} - 100, {&v, 1}), EINVAL);
    EXPECT_EQ((*d)->discard(4096, 1), EINVAL);
    EXPECT_EQ((*d)->write_zeroes(0, 4097, true), EINVAL);
}

TEST_F(DiskTest, ShrunkFileIsAnErrorNotAHang) {
    const std::string path = image("a.img", 8192);
    auto d = open_raw_disk(path, false);
    ASSERT_TRUE(d);
    ASSERT_EQ(truncate(path.c_str(), 4096), 0);
    std::vector<u8> b(8192);
    const iovec v{b.data(), b.size()};
    EXPECT_EQ((*d)->read(0, {&v, 1}), EIO);
}

TEST_F(DiskTest, DiscardGivesSpaceBack) {
    const std::string path = image("a.img", 1 << 20);
    auto d = open_raw_disk(path, false);
    ASSERT_TRUE(d);
    std::vector<u8> b(1 << 20, 1);
    const iovec v{b.data(), b.size()};
    ASSERT_EQ((*d)->write(0, {&v, 1}), 0);
    ASSERT_EQ((*d)->flush(), 0);
    struct stat before{}, after{};
    ASSERT_EQ(stat(path.c_str(), &before), 0);
    ASSERT_EQ((*d)->write_zeroes(0, 1 << 19, true), 0);
    ASSERT_EQ((*d)->flush(), 0);
    ASSERT_EQ(stat(path.c_str(), &after), 0);
    EXPECT_LT(after.st_blocks, before.st_blocks);
    EXPECT_EQ(after.st_size, before.st_size);
    ASSERT_EQ((*d)->read(0, {&v, 1}), 0);
    EXPECT_EQ(b[0], 0);
    EXPECT_EQ(b[(1 << 19) - 1], 0);
    EXPECT_EQ(b[1 << 19], 1);
}

TEST_F(DiskTest, AWriterExcludesEverybody) {
    const std::string path = image("a.img", 4096);
    {
        auto writer = open_raw_disk(path, false);
        ASSERT_TRUE(writer);
        expect_error(error(path, false), path, "already in use by another VM");
        expect_error(error(path, true), path, "already in use by another VM");
    }
    auto r1 = open_raw_disk(path, true), r2 = open_raw_disk(path, true);
    EXPECT_TRUE(r1 && r2) << "readers share";
    expect_error(error(path, false), path, "already in use by another VM");
}

TEST_F(DiskTest, ReadOnlyRefusesChanges) {
    auto d = open_raw_disk(image("a.img", 4096), true);
    ASSERT_TRUE(d);
    std::vector<u8> b(512);
    const iovec v{b.data(), b.size()};
    EXPECT_TRUE((*d)->readonly());
    EXPECT_EQ((*d)->write(0, {&v, 1}), EROFS);
    EXPECT_EQ((*d)->discard(0, 512), EROFS);
    EXPECT_EQ((*d)->write_zeroes(0, 512, true), EROFS);
    EXPECT_EQ((*d)->flush(), 0);
}

TEST_F(DiskTest, ErrorsAreOneClearLine) {
    expect_error(error(dir + "/none.img"), dir + "/none.img", "No such file");
    expect_error(error(dir), dir, "is a directory");
    expect_error(error(dir, true), dir, "is a directory");
    expect_error(error("/dev/null"), "/dev/null", "neither a file nor a block device");
    std::string path = image("odd.img", 1000);
    expect_error(error(path), path, "not a multiple of 512");
    path = image("empty.img", 0);
    expect_error(error(path), path, "is empty");
    path = image("a.qcow2", 65536);
    const base::Fd fd(::open(path.c_str(), O_RDWR));
    ASSERT_EQ(pwrite(fd.get(), "QFI\xfb", 4, 0), 4);
    expect_error(error(path), path, "qemu-img convert");
    path = dir + "/fifo";
    ASSERT_EQ(mkfifo(path.c_str(), 0644), 0);
    expect_error(error(path, true), path, "neither a file nor a block device");
    if (geteuid() != 0) {
        path = image("ro.img", 4096);
        ASSERT_EQ(chmod(path.c_str(), 0444), 0);
        expect_error(error(path), path, "attach the disk read-only");
    }
}

}  // namespace
}  // namespace triune::backend
