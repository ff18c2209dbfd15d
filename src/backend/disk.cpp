// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "backend/disk.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <bit>
#include <climits>
#include <cstdio>
#include <cstring>
#include <string_view>
#include <vector>

#include "base/event_loop.h"
#include "base/fd.h"
#include "base/mutex.h"

namespace triune::backend {
namespace {

constexpr u64 sector_size = 512;

/// Tells the user of failed transfers, once and then at most every few seconds with a count of what was
/// left out: a guest retries, and may do so for ever.
class ErrorLog {
public:
    explicit ErrorLog(std::string path) : path_(std::move(path)) {}
    void add(const char* what, u64 offset, u64 length, int error) {
        constexpr u64 pause_ns = 10'000'000'000;
        const base::MutexLock lock(mutex_);
        const u64 now = base::monotonic_ns();
        if (now < quiet_until_) {
            ++left_out_;
            return;
        }
        const std::string more =
            left_out_ ? " (" + std::to_string(left_out_) + " more errors before it)" : "";
        std::fprintf(stderr, "triune: %s: %s of %llu bytes at offset %llu: %s%s\n", path_.c_str(), what,
                     static_cast<unsigned long long>(length), static_cast<unsigned long long>(offset),
                     std::strerror(error), more.c_str());
        left_out_ = 0;
        quiet_until_ = now + pause_ns;
    }

private:
    base::Mutex mutex_;
    const std::string path_;
    u64 quiet_until_ GUARDED_BY(mutex_) = 0, left_out_ GUARDED_BY(mutex_) = 0;
};

class RawDisk final : public BlockBackend {
public:
    RawDisk(base::Fd fd, std::string path, u64 size, u32 physical_block_size, bool readonly)
        : fd_(std::move(fd)),
          log_(std::move(path)),
          size_(size),
          physical_block_size_(physical_block_size),
          readonly_(readonly) {}

    u64 size() const override { return size_; }
    bool readonly() const override { return readonly_; }
    u32 physical_block_size() const override { return physical_block_size_; }

    int read(u64 offset, std::span<const iovec> to) override { return transfer("read", offset, to, preadv); }
    int write(u64 offset, std::span<const iovec> from) override {
        return readonly_ ? EROFS : transfer("write", offset, from, pwritev);
    }
    int flush() override {
        if (readonly_) return 0;
        int r;
        do r = fdatasync(fd_.get());
        while (r < 0 && errno == EINTR);
        return r < 0 ? failed("flush", 0, size_, errno) : 0;
    }
    int discard(u64 offset, u64 length) override {
        if (readonly_) return EROFS;
        if (!inside(offset, length)) return EINVAL;
        const int error = allocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length);
        return error == EOPNOTSUPP ? 0 : error;  // a hint: a file system without holes ignores it
    }
    int write_zeroes(u64 offset, u64 length, bool may_unmap) override {
        if (readonly_) return EROFS;
        if (!inside(offset, length)) return EINVAL;
        int error = EOPNOTSUPP;
        if (may_unmap) error = allocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length);
        if (error == EOPNOTSUPP) error = allocate(FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, offset, length);
        if (error == EOPNOTSUPP) error = write_zero_bytes(offset, length);
        return error;
    }

private:
    [[nodiscard]] bool inside(u64 offset, u64 length) const {
        return offset <= size_ && length <= size_ - offset;
    }

    int allocate(int mode, u64 offset, u64 length) {
        if (length == 0) return 0;
        int r;
        do r = fallocate(fd_.get(), mode, static_cast<off_t>(offset), static_cast<off_t>(length));
        while (r < 0 && errno == EINTR);
        if (r < 0 && errno == EOPNOTSUPP) return errno;  // the caller knows another way
        return r < 0 ? failed("allocation", offset, length, errno) : 0;
    }

    /// An error of the host, told to the user; the guest gets it as well.
    int failed(const char* what, u64 offset, u64 length, int error) {
        log_.add(what, offset, length, error);
        return error;
    }

    int write_zero_bytes(u64 offset, u64 length) {
        static constexpr std::array<u8, 65536> zeros{};
        while (length > 0) {
            const u64 n = std::min<u64>(length, zeros.size());
            const iovec one{const_cast<u8*>(zeros.data()), n};
            if (const int error = write(offset, {&one, 1})) return error;
            offset += n;
            length -= n;
        }
        return 0;
    }

    /// preadv or pwritev until everything has moved: the kernel may stop short at any byte, and takes
    /// at most IOV_MAX pieces and 2 GiB a call.
    template <class Call>
    int transfer(const char* what, u64 offset, std::span<const iovec> pieces, Call call) {
        u64 total = 0;
        for (const iovec& v : pieces)
            if (__builtin_add_overflow(total, v.iov_len, &total)) return EINVAL;
        if (!inside(offset, total)) return EINVAL;

        std::array<iovec, 64> batch;  // pieces that are still to be moved, the first one perhaps in part
        size_t next = 0;
        u64 skip = 0;  // bytes of pieces[next] that are done
        while (next < pieces.size()) {
            size_t n = 0;
            for (size_t i = next; i < pieces.size() && n < batch.size(); i++) batch[n++] = pieces[i];
            batch[0].iov_base = static_cast<u8*>(batch[0].iov_base) + skip;
            batch[0].iov_len -= skip;
            u64 wanted = 0;
            for (size_t i = 0; i < n; i++) wanted += batch[i].iov_len;
            ssize_t moved = 0;
            if (wanted > 0) {
                moved = call(fd_.get(), batch.data(), static_cast<int>(n), static_cast<off_t>(offset));
                if (moved < 0 && errno == EINTR) continue;
                if (moved < 0) return failed(what, offset, wanted, errno);
                if (moved == 0) return failed(what, offset, wanted, EIO);  // the file was cut short under us
            }
            offset += static_cast<u64>(moved);
            u64 left = static_cast<u64>(moved);
            for (size_t i = 0; i < n && left >= batch[i].iov_len; i++) {
                left -= batch[i].iov_len;
                next++;
                skip = 0;
            }
            skip += left;
        }
        return 0;
    }

    base::Fd fd_;
    ErrorLog log_;
    u64 size_;
    u32 physical_block_size_;
    bool readonly_;
};

/// An image in a container format would look like garbage to the guest, and be ruined by its writes.
const char* container_format(int fd) {
    std::array<char, 16> head{};
    if (pread(fd, head.data(), head.size(), 0) < static_cast<ssize_t>(head.size())) return nullptr;
    const std::string_view s(head.data(), head.size());
    using namespace std::string_view_literals;
    if (s.starts_with("QFI\xfb"sv)) return "qcow2";
    if (s.starts_with("KDMV"sv) || s.starts_with("# Disk Descripto"sv)) return "vmdk";
    if (s.starts_with("vhdxfile"sv)) return "vhdx";
    if (s.starts_with("<<< "sv)) return "vdi";
    return nullptr;
}

}  // namespace

Result<std::unique_ptr<BlockBackend>> open_raw_disk(const std::string& path, bool readonly) {
    // O_NONBLOCK: opening a FIFO by mistake must not hang. It has no effect on files and disks.
    base::Fd fd(open(path.c_str(), (readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK));
    if (!fd) {
        if (errno == EISDIR) return fail(path + ": is a directory, not a disk image", EISDIR);
        if (!readonly && (errno == EACCES || errno == EROFS || errno == EPERM)) {
            const int code = errno;
            return fail(path + ": cannot be opened for writing (" + std::strerror(code) +
                            "): attach the disk read-only or make the file writable",
                        code);
        }
        return fail_errno(path);
    }
    struct stat st{};
    if (fstat(fd.get(), &st) < 0) return fail_errno(path);
    if (S_ISDIR(st.st_mode)) return fail(path + ": is a directory, not a disk image", EISDIR);
    if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
        return fail(path + ": is neither a file nor a block device", EINVAL);

    struct flock lock{};
    lock.l_type = readonly ? F_RDLCK : F_WRLCK;
    lock.l_whence = SEEK_SET;
    if (fcntl(fd.get(), F_OFD_SETLK, &lock) < 0) {
        if (errno == EAGAIN || errno == EACCES)
            return fail(
                path + ": already in use by another VM" +
                    (readonly ? "" : " (a disk can only be shared by VMs that all attach it read-only)"),
                EBUSY);
        return fail_errno(path + ": cannot be locked");
    }

    u64 size = static_cast<u64>(st.st_size);
    u32 physical = 512;
    if (S_ISBLK(st.st_mode)) {
        unsigned block = 0;
        if (ioctl(fd.get(), BLKGETSIZE64, &size) < 0) return fail_errno(path + ": size of block device");
        if (ioctl(fd.get(), BLKPBSZGET, &block) == 0) physical = block;
    } else if (st.st_blksize > 0) {
        physical = static_cast<u32>(std::min<blksize_t>(st.st_blksize, 4096));
    }
    if (!std::has_single_bit(physical) || physical < 512) physical = 512;
    if (size == 0) return fail(path + ": is empty: give it a size with `truncate -s 8G`", EINVAL);
    if (size % sector_size != 0)
        return fail(path + ": its size of " + std::to_string(size) +
                        " bytes is not a multiple of 512: pad it with `truncate -s %512`",
                    EINVAL);
    if (const char* format = container_format(fd.get()))
        return fail(path + ": is a " + format +
                        " image, only raw images are supported: convert it with "
                        "`qemu-img convert -O raw`",
                    EINVAL);
    return std::make_unique<RawDisk>(std::move(fd), path, size, physical, readonly);
}

}  // namespace triune::backend
