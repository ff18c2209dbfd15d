// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

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
Result<std::vector<u8>> read_file(const std::string& path, u64 max_size);

}  // namespace triune::boot
