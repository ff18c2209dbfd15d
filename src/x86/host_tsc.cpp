// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include <time.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <string>

#include "x86/host_cpuid.h"

namespace triune::x86 {
namespace {

/// From the processor: leaf 0x15 with the crystal's rate (Intel SDM 3B 18.7.3), or the timing leaf
/// of a hypervisor below us. 0 if untold.
u64 told_by_cpuid() {
    const CpuidResult crystal = host_cpuid(0x15);
    if (crystal.eax && crystal.ebx && crystal.ecx) return u64{crystal.ecx} * crystal.ebx / crystal.eax;
    if (!(host_cpuid(1).ecx & 1u << 31)) return 0;
    CpuidResult r;
    __cpuid(0x40000000, r.eax, r.ebx, r.ecx, r.edx);
    if (r.eax < 0x40000010 || r.eax > 0x400000ff) return 0;
    __cpuid(0x40000010, r.eax, r.ebx, r.ecx, r.edx);
    return u64{r.eax} * 1000;
}

/// One reading of both clocks, as close together as some tries can bring them.
struct Sample {
    u64 tsc = 0, ns = 0;
};
Sample sample() {
    Sample best;
    u64 best_gap = std::numeric_limits<u64>::max();
    for (int i = 0; i < 200; ++i) {
        timespec t;
        const u64 before = __builtin_ia32_rdtsc();
        clock_gettime(CLOCK_MONOTONIC_RAW, &t);
        const u64 after = __builtin_ia32_rdtsc();
        if (after - before >= best_gap) continue;
        best_gap = after - before;
        best = {before + (after - before) / 2,
                static_cast<u64>(t.tv_sec) * 1'000'000'000 + static_cast<u64>(t.tv_nsec)};
    }
    return best;
}

u64 measured() {
    const Sample a = sample();
    const timespec wait{0, 20'000'000};
    nanosleep(&wait, nullptr);
    const Sample b = sample();
    return static_cast<u64>(
        std::llround(static_cast<double>(b.tsc - a.tsc) * 1e9 / static_cast<double>(b.ns - a.ns)));
}

/// What the kernel says that is within 50 ppm of `measured`, else 0: the TSC driver's file where there
/// is one, or the processor's rate, which the kernel equates to the TSC's on machines that do not
/// scale it (most VMs).
u64 told_by_kernel(u64 measured) {
    const auto near = [measured](double hz) {
        return std::abs(hz - static_cast<double>(measured)) < 50e-6 * static_cast<double>(measured);
    };
    double khz = 0;
    if (std::ifstream f("/sys/devices/system/cpu/cpu0/tsc_freq_khz"); f >> khz && near(khz * 1e3))
        return static_cast<u64>(std::llround(khz * 1e3));
    std::ifstream info("/proc/cpuinfo");
    for (std::string line; std::getline(info, line);) {
        if (!line.starts_with("cpu MHz")) continue;
        const double mhz = std::strtod(line.c_str() + std::min(line.size(), line.find(':') + 1), nullptr);
        return near(mhz * 1e6) ? static_cast<u64>(std::llround(mhz * 1e3)) * 1000 : 0;
    }
    return 0;
}

u64 find_rate() {
    if (const u64 hz = told_by_cpuid()) return hz;
    const u64 hz = measured();
    const u64 told = told_by_kernel(hz);
    return told ? told : hz;
}

}  // namespace

u64 host_tsc_hz() {
    static const u64 hz = find_rate();
    return hz;
}

}  // namespace triune::x86
