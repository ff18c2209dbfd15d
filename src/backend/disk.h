// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

/// backend: host resources with no guest concept: disk images, user networking, terminals.
///
/// Threads: a disk has none of its own and may be used from any; networking runs on the event loop
/// that it was given. A network holds its lock while it calls its client, which may kick() and send().
#include <memory>
#include <string>

#include "backend/block_backend.h"
#include "base/result.h"

namespace triune::backend {

/// Opens a raw image (a file or a block device) and locks it: a writer excludes everybody, readers
/// exclude writers. The lock is an open-file-description lock over the whole file, which also
/// excludes QEMU. Errors are one line that names the file.
Result<std::unique_ptr<BlockBackend>> open_raw_disk(const std::string& path, bool readonly);

}  // namespace triune::backend
