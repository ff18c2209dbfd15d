// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/system/kvmclock.h"

#include <atomic>
#include <ctime>

#include "base/event_loop.h"
#include "hypervisor/soft/system/detail.h"

/// KVM's paravirtual clock (Linux Documentation/virt/kvm/x86/msr.rst).
///
/// System time is a function of the host's TSC and of one pair (TSC, CLOCK_MONOTONIC) taken once in
/// this process, so every vCPU publishes the same line: time is the same on all of them and never
/// goes back when a task migrates, which is what the TSC_STABLE flag promises. A page needs writing
/// only when the guest asks for it or moves its TSC.
namespace triune::hypervisor::soft::system {
namespace {

__extension__ using u128 = unsigned __int128;

struct WallClock {
    u32 version, seconds, nanoseconds;
};
static_assert(sizeof(WallClock) == 12);

struct Anchor {
    u64 tsc, ns;
    static Anchor take() {
        // The reading with the shortest bracket is the one that was not interrupted.
        Anchor best{};
        u64 shortest = ~u64{0};
        for (int i = 0; i < 8; ++i) {
            const u64 before = __builtin_ia32_rdtsc();
            const u64 ns = base::monotonic_ns();
            const u64 width = __builtin_ia32_rdtsc() - before;
            if (width < shortest) {
                shortest = width;
                best = {before + width / 2, ns};
            }
        }
        return best;
    }
};

const Anchor& anchor() {
    static const Anchor a = Anchor::take();
    return a;
}

}  // namespace

TscScale tsc_scale(u64 tsc_hz) {
    constexpr u64 second = 1'000'000'000;
    if (tsc_hz == 0) return {};
    // ns = ((tsc << shift) * mul) >> 32, or tsc >> -shift; mul < 2^32 and as large as possible.
    int shift = 0;
    u64 hz = tsc_hz;
    while (hz > 2 * second) {
        hz >>= 1;
        --shift;
    }
    while (hz <= second) {
        hz <<= 1;
        ++shift;
    }
    // With hz in (1e9, 2e9] the quotient is in [2^31, 2^32). Dividing by the exact rate keeps the
    // bits that halving it lost.
    const u128 numerator = static_cast<u128>(second) << 32;
    const u64 mul =
        static_cast<u64>(shift <= 0 ? (numerator << -shift) / tsc_hz : (numerator >> shift) / tsc_hz);
    return {static_cast<u32>(mul), static_cast<i8>(shift)};
}

u64 tsc_to_ns(const TscScale& scale, u64 delta) {
    const u64 shifted = scale.shift >= 0 ? delta << scale.shift : delta >> -scale.shift;
    return static_cast<u64>((static_cast<u128>(shifted) * scale.mul) >> 32);
}

void kvmclock_update(System& s) {
    auto& c = s.vcpu();
    const u64 value = c.state.kvmclock_msr;
    if (!(value & 1) || !c.memory || !c.model || s.repeating()) return;
    const Gpa gpa = value & ~u64{1};
    PvclockTime t;
    if (!c.memory->read_value(gpa, t)) return;  // not RAM: nobody can see a clock there
    const TscScale scale = tsc_scale(c.model->tsc_hz);
    // An odd version tells readers on other vCPUs that the rest is being written.
    t.version = (t.version + 1) | 1;
    if (!c.memory->write_value(gpa, t.version)) return;
    std::atomic_thread_fence(std::memory_order_release);
    t.tsc_timestamp = anchor().tsc + c.state.tsc_offset;
    t.system_time = anchor().ns - c.kvmclock_system_time_base;
    t.tsc_to_system_mul = scale.mul;
    t.tsc_shift = scale.shift;
    t.flags = 1;  // TSC_STABLE
    if (!c.memory->write(gpa + 4, reinterpret_cast<const u8*>(&t) + 4, sizeof t - 4)) return;
    std::atomic_thread_fence(std::memory_order_release);
    ++t.version;
    static_cast<void>(c.memory->write_value(gpa, t.version));
}

void kvmclock_write_wall_clock(System& s, Gpa gpa) {
    auto& c = s.vcpu();
    WallClock w{};
    if (s.repeating() || !c.memory || !c.memory->read_value(gpa, w)) return;
    w.version = (w.version + 1) | 1;
    if (!c.memory->write_value(gpa, w.version)) return;
    std::atomic_thread_fence(std::memory_order_release);
    // The wall clock at system time 0; the guest adds its system time.
    timespec now{};
    ::clock_gettime(CLOCK_REALTIME, &now);
    constexpr u64 second = 1'000'000'000;
    const u64 wall = static_cast<u64>(now.tv_sec) * second + static_cast<u64>(now.tv_nsec);
    const u64 boot = wall - (base::monotonic_ns() - c.kvmclock_system_time_base);
    w.seconds = static_cast<u32>(boot / second);
    w.nanoseconds = static_cast<u32>(boot % second);
    if (!c.memory->write(gpa + 4, reinterpret_cast<const u8*>(&w) + 4, sizeof w - 4)) return;
    std::atomic_thread_fence(std::memory_order_release);
    ++w.version;
    static_cast<void>(c.memory->write_value(gpa, w.version));
}

}  // namespace triune::hypervisor::soft::system
