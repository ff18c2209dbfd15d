// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <span>
#include <string>

#include "base/fd.h"
#include "base/result.h"
#include "base/types.h"

namespace triune::boot {

/// A regular file open for reading, and its size then.
struct InputFile {
    base::Fd fd;
    u64 size = 0;
    std::string path;
};

Result<InputFile> open_input(const std::string& path);
/// Fills [to, to+file.size). A file that became shorter meanwhile is an error.
Result<void> read_all(const InputFile& file, u8* to);

/// What a file contained. Kernels are large and needed once: their memory comes in large pages where the host
/// has any, is not zeroed before, and goes back to the host.
class FileBytes {
public:
    FileBytes() = default;
    /// Not initialized. Null data() when there is no memory.
    explicit FileBytes(u64 size);
    [[nodiscard]] u8* data() { return bytes_.get(); }
    [[nodiscard]] u64 size() const { return size_; }
    operator std::span<const u8>() const {
        return {bytes_.get(), size_};
    }  // NOLINT(google-explicit-constructor)

private:
    struct Unmap {
        u64 size;  // no initializer: g++ 12 would take this class for incomplete below
        void operator()(u8* p) const;
    };
    u64 size_ = 0;
    std::unique_ptr<u8, Unmap> bytes_;
};
Result<FileBytes> read_file(const std::string& path, u64 max_size);

}  // namespace triune::boot
