// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "device/rtc.h"

#include <time.h>

#include <algorithm>
#include <chrono>

#include "bus/pc_ports.h"

namespace triune::device {

namespace {

enum Register : u8 {
    seconds,
    seconds_alarm,
    minutes,
    minutes_alarm,
    hours,
    hours_alarm,
    weekday,
    day,
    month,
    year,
    reg_a,
    reg_b,
    reg_c,
    reg_d,
};
constexpr u8 century = bus::pc::cmos_century;

constexpr u8 a_update = 0x80, a_divider = 0x70, a_rate = 0x0f, a_divider_on = 0x20;
constexpr u8 b_set = 0x80, b_periodic = 0x40, b_alarm = 0x20, b_update = 0x10, b_binary = 4, b_24h = 2;
constexpr u8 b_enables = b_periodic | b_alarm | b_update;
constexpr u8 c_irq = 0x80;
constexpr u8 d_valid = 0x80;
constexpr u8 hour_pm = 0x80, any = 0xc0;

constexpr i64 second_ns = 1'000'000'000;
// Update in progress: told 244 µs ahead of an update that takes 1984 µs (datasheet, "Update Cycle").
constexpr u32 update_ns = 244'000 + 1'984'000;
constexpr int day_seconds = 86400;

/// Floor division for possibly negative times.
constexpr i64 floor_div(i64 a, i64 b) { return a / b - (a % b < 0); }

}  // namespace

i64 host_utc_ns() {
    timespec t{};
    ::clock_gettime(CLOCK_REALTIME, &t);
    return i64{t.tv_sec} * second_ns + t.tv_nsec;
}

Rtc::Rtc(bus::IrqLine& irq, base::EventLoop& loop, Clock utc_ns) : irq_(irq), utc_ns_(std::move(utc_ns)) {
    cmos_[reg_a] = a_divider_on | 6;  // 32.768 kHz, 1024 Hz: what a PC's firmware leaves
    cmos_[reg_b] = b_24h;
    synced_ns_ = utc_ns_();
    timer_ = loop.make_timer([this] { expired(); });
}

Rtc::~Rtc() { timer_.reset(); }

void Rtc::set_memory_size(u64 low_bytes, u64 high_bytes) {
    const base::MutexLock lock(mutex_);
    const auto put = [&](u8 at, u64 v, u64 most, unsigned bytes) REQUIRES(mutex_) {
        v = std::min(v, most);
        for (unsigned i = 0; i < bytes; ++i) cmos_[at + i] = static_cast<u8>(v >> (8 * i));
    };
    constexpr u64 mb = 1 << 20;
    put(0x15, 640, 640, 2);  // KB of base memory
    const u64 extended_kb = low_bytes > mb ? (low_bytes - mb) >> 10 : 0;
    put(0x17, extended_kb, 0xffff, 2);
    put(0x30, extended_kb, 0xffff, 2);
    put(0x34, low_bytes > 16 * mb ? (low_bytes - 16 * mb) >> 16 : 0, 0xffff, 2);  // 64 KB units above 16 MB
    put(0x5b, high_bytes >> 16, 0xff'ffff, 3);                                    // the same above 4 GB
}

void Rtc::set_cpu_count(unsigned cpus) {
    const base::MutexLock lock(mutex_);
    cmos_[0x5f] = static_cast<u8>(cpus - 1);
}

void Rtc::reset() {
    const base::MutexLock lock(mutex_);
    sync_locked();
    cmos_[reg_b] &= static_cast<u8>(~b_enables);
    cmos_[reg_c] = 0;
    index_ = 0;
    update_irq_locked();
}

Rtc::Now Rtc::now_locked() const {
    const i64 ns = utc_ns_();
    const i64 s = floor_div(ns, second_ns);
    return {s + offset_seconds_, static_cast<u32>(ns - s * second_ns)};
}

u8 Rtc::encode_locked(int v) const {
    return static_cast<u8>(cmos_[reg_b] & b_binary ? v : v / 10 << 4 | v % 10);
}

int Rtc::decode_locked(u8 v) const { return cmos_[reg_b] & b_binary ? v : (v >> 4) * 10 + (v & 15); }

u8 Rtc::encode_hour_locked(int hour) const {
    if (cmos_[reg_b] & b_24h) return encode_locked(hour);
    const int h12 = hour % 12 == 0 ? 12 : hour % 12;
    return static_cast<u8>(encode_locked(h12) | (hour >= 12 ? hour_pm : 0));
}

int Rtc::decode_hour_locked(u8 v) const {
    if (cmos_[reg_b] & b_24h) return decode_locked(v);
    return decode_locked(v & 0x7f) % 12 + (v & hour_pm ? 12 : 0);
}

/// The clock's present time into the registers.
void Rtc::latch_time_locked() {
    namespace ch = std::chrono;
    const i64 s = now_locked().seconds;
    const i64 days = floor_div(s, day_seconds);
    const auto tod = static_cast<int>(s - days * day_seconds);
    // Years 0 to 9999, which four BCD digits can tell.
    const ch::sys_days date{ch::days{static_cast<int>(std::clamp<i64>(days, -719'528, 2'932'896))}};
    const ch::year_month_day ymd{date};
    const int y = std::clamp(static_cast<int>(ymd.year()), 0, 9999);
    cmos_[seconds] = encode_locked(tod % 60);
    cmos_[minutes] = encode_locked(tod / 60 % 60);
    cmos_[hours] = encode_hour_locked(tod / 3600);
    cmos_[weekday] = encode_locked(static_cast<int>(ch::weekday{date}.c_encoding()) + 1);
    cmos_[day] = encode_locked(static_cast<int>(static_cast<unsigned>(ymd.day())));
    cmos_[month] = encode_locked(static_cast<int>(static_cast<unsigned>(ymd.month())));
    cmos_[year] = encode_locked(y % 100);
    cmos_[century] = encode_locked(y / 100);
}

/// The registers' time into the clock. The guest may have left anything there: days beyond the
/// month's end run over into the next, all else is clamped.
void Rtc::set_time_locked() {
    namespace ch = std::chrono;
    const int y = std::clamp(decode_locked(cmos_[century]), 0, 99) * 100 +
                  std::clamp(decode_locked(cmos_[year]), 0, 99);
    const auto m = static_cast<unsigned>(std::clamp(decode_locked(cmos_[month]), 1, 12));
    const int d = std::clamp(decode_locked(cmos_[day]), 1, 31);
    const ch::sys_days first{ch::year{y} / ch::month{m} / ch::day{1}};
    const i64 days = first.time_since_epoch().count() + d - 1;
    const i64 s = days * day_seconds + std::clamp(decode_hour_locked(cmos_[hours]), 0, 23) * 3600 +
                  std::clamp(decode_locked(cmos_[minutes]), 0, 59) * 60 +
                  std::clamp(decode_locked(cmos_[seconds]), 0, 59);
    offset_seconds_ += s - now_locked().seconds;
    synced_ns_ = utc_ns_();
}

u64 Rtc::period_ns_locked() const {
    const unsigned rate = cmos_[reg_a] & a_rate;
    if (rate == 0 || (cmos_[reg_a] & a_divider) != a_divider_on) return 0;
    // Rates 1 and 2 are those of 8 and 9 (datasheet table 5); 3 is 8192 Hz.
    const unsigned shift = rate <= 2 ? rate + 7 : rate;
    return (u64{second_ns} << (shift - 1)) / 32768;
}

/// First second after `after` that the alarm registers match. In each, 0xc0-0xff matches anything.
std::optional<i64> Rtc::next_alarm_locked(i64 after) const {
    const auto matches = [](u8 reg, int wanted, int value) { return (reg & any) == any || wanted == value; };
    const int ws = decode_locked(cmos_[seconds_alarm]), wm = decode_locked(cmos_[minutes_alarm]),
              wh = decode_hour_locked(cmos_[hours_alarm]);
    i64 t = after + 1;
    const i64 last = after + day_seconds;
    while (t <= last) {  // at most 25 + 60 + 60 steps
        const auto tod = static_cast<int>(t - floor_div(t, day_seconds) * day_seconds);
        if (!matches(cmos_[hours_alarm], wh, tod / 3600))
            t += 3600 - tod % 3600;
        else if (!matches(cmos_[minutes_alarm], wm, tod / 60 % 60))
            t += 60 - tod % 60;
        else if (!matches(cmos_[seconds_alarm], ws, tod % 60))
            ++t;
        else
            return t;
    }
    return std::nullopt;
}

/// Sets the flags of what happened since the last time. Flags are set whether or not their
/// interrupts are enabled (datasheet, "Register C").
void Rtc::sync_locked() {
    const i64 now_ns = utc_ns_();
    if (now_ns < synced_ns_) synced_ns_ = now_ns;  // the host's clock was set back
    if (const auto period = static_cast<i64>(period_ns_locked());
        period && floor_div(now_ns, period) != floor_div(synced_ns_, period))
        cmos_[reg_c] |= b_periodic;
    const i64 before = offset_seconds_ + floor_div(synced_ns_, second_ns);
    const i64 after = offset_seconds_ + floor_div(now_ns, second_ns);
    if (!(cmos_[reg_b] & b_set) && after != before) {
        cmos_[reg_c] |= b_update;
        if (const auto alarm = next_alarm_locked(before); alarm && *alarm <= after) cmos_[reg_c] |= b_alarm;
    }
    synced_ns_ = now_ns;
}

void Rtc::update_irq_locked() {
    const bool wanted = cmos_[reg_b] & cmos_[reg_c] & b_enables;
    cmos_[reg_c] = static_cast<u8>((cmos_[reg_c] & ~c_irq) | (wanted ? c_irq : 0));
    if (std::exchange(irq_level_, wanted) != wanted) irq_.set(wanted);
    arm_locked();
}

/// Wakes at the first event that may raise an interrupt. None while the line is high: it stays so
/// until register C is read.
void Rtc::arm_locked() {
    const u8 b = cmos_[reg_b];
    i64 next = INT64_MAX;
    const i64 second = floor_div(synced_ns_, second_ns);
    if (const auto period = static_cast<i64>(period_ns_locked()); (b & b_periodic) && period)
        next = (floor_div(synced_ns_, period) + 1) * period;
    if ((b & b_update) && !(b & b_set)) next = std::min(next, (second + 1) * second_ns);
    if ((b & b_alarm) && !(b & b_set))
        if (const auto alarm = next_alarm_locked(offset_seconds_ + second))
            next = std::min(next, (*alarm - offset_seconds_) * second_ns);
    if (irq_level_ || next == INT64_MAX) {
        timer_->disarm();
        return;
    }
    const i64 wait = std::max<i64>(next - utc_ns_(), 0);
    timer_->arm(base::monotonic_ns() + static_cast<u64>(wait));
}

void Rtc::expired() {
    const base::MutexLock lock(mutex_);
    sync_locked();
    update_irq_locked();
}

u8 Rtc::read_register_locked(u8 index) {
    const bool running = !(cmos_[reg_b] & b_set);
    switch (index) {
        case seconds:
        case minutes:
        case hours:
        case weekday:
        case day:
        case month:
        case year:
        case century:
            if (running) latch_time_locked();
            return cmos_[index];
        case reg_a: {
            const bool updating = running && now_locked().nanoseconds >= second_ns - update_ns;
            return static_cast<u8>(cmos_[reg_a] | (updating ? a_update : 0));
        }
        case reg_c: {
            sync_locked();
            update_irq_locked();
            const u8 value = cmos_[reg_c];
            cmos_[reg_c] = 0;
            update_irq_locked();
            return value;
        }
        case reg_d: return d_valid;
        default: return cmos_[index];
    }
}

void Rtc::write_register_locked(u8 index, u8 value) {
    const bool running = !(cmos_[reg_b] & b_set);
    switch (index) {
        case seconds:
        case minutes:
        case hours:
        case weekday:
        case day:
        case month:
        case year:
        case century:
            sync_locked();
            if (running) latch_time_locked();
            cmos_[index] = value;
            if (running) set_time_locked();
            break;
        case reg_c:
        case reg_d: return;  // read-only
        case reg_b:
            sync_locked();
            if (running && (value & b_set)) latch_time_locked();
            // SET clears the update-ended interrupt enable (datasheet, "Register B").
            if (value & b_set) value &= static_cast<u8>(~b_update);
            cmos_[reg_b] = value;
            // Times are kept in the format that was in force when they were written.
            if (!running && !(value & b_set)) set_time_locked();
            break;
        case reg_a:
            sync_locked();
            cmos_[reg_a] = value & static_cast<u8>(~a_update);
            break;
        default:
            if (index <= hours_alarm) sync_locked();
            cmos_[index] = value;
            if (index > hours_alarm) return;  // plain memory
            break;
    }
    update_irq_locked();
}

u8 Rtc::read8(u64 offset) {
    const base::MutexLock lock(mutex_);
    return offset == 0 ? 0xff : read_register_locked(index_);  // the index port is write-only
}

void Rtc::write8(u64 offset, u8 value) {
    const base::MutexLock lock(mutex_);
    if (offset == 0)
        index_ = value & 0x7f;
    else
        write_register_locked(index_, value);
}

}  // namespace triune::device
