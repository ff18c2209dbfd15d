// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/bt/perf_map.h"

#include <unistd.h>

#include <string>

namespace triune::hypervisor::soft::bt {

void PerfMap::open() {
    const std::string path = "/tmp/perf-" + std::to_string(getpid()) + ".map";
    file_.reset(std::fopen(path.c_str(), "ae"));
}

void PerfMap::add(const u8* code, u32 size, u64 rip) {
    if (!file_) return;
    std::fprintf(file_.get(), "%lx %x guest:%lx\n", reinterpret_cast<unsigned long>(code), size,
                 static_cast<unsigned long>(rip));
}

}  // namespace triune::hypervisor::soft::bt
