// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "boot/file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace triune::boot {

Result<InputFile> open_input(const std::string& path) {
    // Non-blocking, so that a FIFO given by mistake does not hang the program.
    base::Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    struct stat st{};
    if (!fd || ::fstat(fd.get(), &st) != 0) return fail_errno(path);
    if (!S_ISREG(st.st_mode)) return fail(path + ": not a regular file");
    return InputFile{std::move(fd), static_cast<u64>(st.st_size), path};
}

Result<void> read_all(const InputFile& file, u8* to) {
    for (u64 at = 0; at < file.size;) {
        const ssize_t n = ::pread(file.fd.get(), to + at, file.size - at, static_cast<off_t>(at));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return fail_errno(file.path);
        if (n == 0) return fail(file.path + ": became shorter while it was read");
        at += static_cast<u64>(n);
    }
    return {};
}

FileBytes::FileBytes(u64 size) : size_(size) {
    const u64 mapped = size ? size : 1;
    void* const p = ::mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) return;
    (void)::madvise(p, mapped, MADV_HUGEPAGE);
    bytes_ = {static_cast<u8*>(p), Unmap{mapped}};
}

void FileBytes::Unmap::operator()(u8* p) const { ::munmap(p, size); }

Result<FileBytes> read_file(const std::string& path, u64 max_size) {
    auto file = open_input(path);
    if (!file) return std::unexpected(file.error());
    if (file->size > max_size)
        return fail(fmt::format("{}: {} bytes do not fit into the guest's memory", path, file->size));
    FileBytes bytes(file->size);
    if (!bytes.data()) return fail_errno(path);
    if (auto r = read_all(*file, bytes.data()); !r) return std::unexpected(r.error());
    return bytes;
}

}  // namespace triune::boot
