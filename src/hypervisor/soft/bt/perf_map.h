// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdio>
#include <memory>

#include "base/types.h"

namespace triune::hypervisor::soft::bt {

/// Names translated code for `perf report`: a line per block in /tmp/perf-PID.map.
class PerfMap {
public:
    void open();
    void add(const u8* code, u32 size, u64 rip);

private:
    struct Close {
        void operator()(std::FILE* f) const { std::fclose(f); }
    };
    std::unique_ptr<std::FILE, Close> file_;
};

}  // namespace triune::hypervisor::soft::bt
