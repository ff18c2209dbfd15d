// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
//
// A counter is not clocked: its count and output are computed from when it was loaded.
#include <utility>

#include "hypervisor/soft/irqchip/pit.h"

namespace triune::hypervisor::soft::irqchip {

/// The count moves: loaded, not stopped by the gate, and triggered where that is needed.
bool PitCounter::counts() const {
    return loaded_ && frozen_ == never && ((mode_ != 1 && mode_ != 5) || triggered_);
}

u64 PitCounter::elapsed(u64 now) const {
    const u64 at = frozen_ == never ? now : frozen_;
    return at > start_ ? at - start_ : 0;
}

u16 PitCounter::to_register(u64 n) const {
    n %= modulus();
    if (!bcd_) return static_cast<u16>(n);
    return static_cast<u16>(n % 10 | n / 10 % 10 << 4 | n / 100 % 10 << 8 | n / 1000 << 12);
}

void PitCounter::settle(u64 now) {
    if (!next_reload_ || now < switch_at_) return;
    start_ = switch_at_;
    reload_ = next_reload_;
    next_reload_ = 0;
}

u16 PitCounter::count(u64 now) const {
    if (!loaded_) return to_register(reload_);
    const u64 t = elapsed(now);
    switch (mode_) {
        case 2: return to_register(reload_ - t % reload_);
        case 3: {
            // Counts by two, once for each half of the wave; an odd count makes the high half longer.
            const u64 p = t % reload_;
            const u64 half = (reload_ + 1) / 2;
            return to_register((reload_ & ~1u) - 2 * (p < half ? p : p - half));
        }
        case 1:
        case 5:
            if (!triggered_) return to_register(reload_);
            break;
        default: break;
    }
    // One-shot modes wrap around and go on.
    return to_register(reload_ + modulus() - t % modulus());
}

bool PitCounter::output(u64 now) {
    settle(now);
    const u64 t = elapsed(now);
    switch (mode_) {
        case 0: return loaded_ && t >= reload_;
        case 1: return !triggered_ || t >= reload_;
        case 2: return !counts() || t % reload_ != reload_ - 1;
        case 3: return !counts() || t % reload_ < (reload_ + 1) / 2;
        default: return !counts() || t != reload_;
    }
}

u64 PitCounter::next_rise(u64 now) {
    settle(now);
    if (!counts()) return never;
    u64 rise = 0;
    switch (mode_) {
        case 2:
        case 3:
            if (next_reload_) return switch_at_;
            return start_ + (elapsed(now) / reload_ + 1) * reload_;
        case 0:
        case 1: rise = start_ + reload_; break;
        default: rise = start_ + reload_ + 1; break;
    }
    return rise > now ? rise : never;
}

void PitCounter::control(u8 word, u64 now) {
    const u8 mode = (word >> 1) & 7;
    mode_ = mode > 5 ? mode - 4 : mode;
    access_ = (word >> 4) & 3;
    bcd_ = word & 1;
    loaded_ = triggered_ = false;
    next_reload_ = 0;
    frozen_ = never;
    write_high_ = read_high_ = status_latched_ = false;
    latched_bytes_ = 0;
    start_ = now;
    reload_ = modulus();
}

void PitCounter::load(u16 raw, u64 now) {
    u32 n = raw;
    if (bcd_) n = (raw & 15u) + (raw >> 4 & 15u) * 10 + (raw >> 8 & 15u) * 100 + (raw >> 12) * 1000u;
    if (n == 0 || n > modulus()) n = modulus();
    if ((mode_ == 2 || mode_ == 3) && counts()) {
        // The new count is taken at the end of the period under way.
        switch_at_ = start_ + (elapsed(now) / reload_ + 1) * reload_;
        next_reload_ = n;
        return;
    }
    // Modes 1 and 5: the count under way is not disturbed until the next trigger, which takes this.
    if ((mode_ == 1 || mode_ == 5) && triggered_ && elapsed(now) < reload_) {
        next_reload_ = n;
        switch_at_ = never;
        return;
    }
    reload_ = n;
    start_ = now;
    loaded_ = true;
    triggered_ = false;
    frozen_ = gate_ || mode_ == 1 || mode_ == 5 ? never : now;
}

void PitCounter::write(u8 value, u64 now) {
    settle(now);
    switch (access_) {
        case 1: return load(value, now);
        case 2: return load(static_cast<u16>(value << 8), now);
        default: break;
    }
    if (!write_high_) {
        low_byte_ = value;
        write_high_ = true;
        if (mode_ == 0) loaded_ = false;  // the first byte stops the count
        return;
    }
    write_high_ = false;
    load(static_cast<u16>(value << 8 | low_byte_), now);
}

void PitCounter::latch_count(u64 now) {
    if (latched_bytes_) return;
    settle(now);
    latch_ = count(now);
    latched_bytes_ = access_ == 3 ? 2 : 1;
    if (access_ == 2) latch_ = static_cast<u16>(latch_ >> 8);
}

void PitCounter::latch_status(u64 now) {
    if (status_latched_) return;
    const bool null_count = !loaded_ || next_reload_;
    status_ = static_cast<u8>(output(now) << 7 | null_count << 6 | access_ << 4 | mode_ << 1 | bcd_);
    status_latched_ = true;
}

u8 PitCounter::read(u64 now) {
    if (status_latched_) {
        status_latched_ = false;
        return status_;
    }
    if (latched_bytes_) {
        const u8 v = static_cast<u8>(latch_);
        latch_ = static_cast<u16>(latch_ >> 8);
        --latched_bytes_;
        return v;
    }
    settle(now);
    const u16 n = count(now);
    if (access_ == 1) return static_cast<u8>(n);
    if (access_ == 2) return static_cast<u8>(n >> 8);
    read_high_ = !read_high_;
    return static_cast<u8>(read_high_ ? n : n >> 8);
}

void PitCounter::set_gate(bool level, u64 now) {
    if (level == gate_) return;
    settle(now);
    gate_ = level;
    if (mode_ == 1 || mode_ == 5) {
        if (!level || !loaded_) return;
        if (next_reload_) reload_ = std::exchange(next_reload_, 0);
        triggered_ = true;
        start_ = now;
        return;
    }
    if (!loaded_) return;
    if (!level) {
        frozen_ = now;
        return;
    }
    if (mode_ == 2 || mode_ == 3)
        start_ = now;  // a rising gate restarts the period
    else
        start_ += now - frozen_;
    frozen_ = never;
}

}  // namespace triune::hypervisor::soft::irqchip
