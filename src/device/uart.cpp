// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "device/uart.h"

#include <algorithm>

namespace triune::device {

namespace {

enum Register : u8 { rbr_thr, ier, iir_fcr, lcr, mcr, lsr, msr, scr };

constexpr u8 ier_rx = 1, ier_tx = 2, ier_line = 4, ier_modem = 8;
constexpr u8 iir_none = 1, iir_modem = 0, iir_tx = 2, iir_rx = 4, iir_line = 6, iir_timeout = 12,
             iir_fifos = 0xc0;
constexpr u8 fcr_enable = 1, fcr_clear_rx = 2, fcr_trigger = 0xc0;
constexpr u8 lcr_dlab = 0x80;
constexpr u8 mcr_dtr = 1, mcr_rts = 2, mcr_out1 = 4, mcr_out2 = 8, mcr_loop = 16, mcr_bits = 0x1f;
constexpr u8 lsr_ready = 1, lsr_overrun = 2, lsr_thr_empty = 0x20, lsr_idle = 0x40;
constexpr u8 msr_cts = 0x10, msr_dsr = 0x20, msr_ri = 0x40, msr_dcd = 0x80;

// Four characters of ten bits at 115200 bit/s.
constexpr u64 character_timeout_ns = 347'000;
// A host write a character would cost more than all the rest; so short a delay nobody sees.
constexpr u64 flush_delay_ns = 2'000'000;
constexpr size_t output_limit = 256;
// A driver in use disables its interrupts for so long at most, to write a console line.
constexpr u64 short_pause_ns = 100'000'000;
// Who looks at LSR so often and writes nothing in between waits for input. A sender looks once a
// byte, since the transmitter is always empty; a driver that starts up looks some ten times.
constexpr unsigned polls_that_listen = 64;

}  // namespace

Uart::Uart(bus::IrqLine& irq, backend::CharBackend& backend, base::EventLoop& loop, u64 settle_ns)
    : irq_(irq), backend_(backend), settle_ns_(settle_ns) {
    modem_ = modem_lines_locked();
    output_.reserve(output_limit);
    timeout_timer_ = loop.make_timer([this] { timeout_passed(); });
    flush_timer_ = loop.make_timer([this] { flush(); });
    settle_timer_ = loop.make_timer([this] {
        const base::MutexLock lock(mutex_);
        resume_if_listening_locked();
    });
    backend_.on_input([this](std::span<const u8> bytes) { return input(bytes); });
}

Uart::~Uart() {
    backend_.on_input({});
    timeout_timer_.reset();
    flush_timer_.reset();
    settle_timer_.reset();
    flush();
}

void Uart::reset() {
    const base::MutexLock lock(mutex_);
    flush_locked();
    head_ = count_ = 0;
    ier_ = fcr_ = lcr_ = mcr_ = lsr_errors_ = msr_delta_ = scratch_ = 0;
    divisor_ = 1;
    thre_pending_ = timeout_ = false;
    listened_until_ = 0;
    status_polls_ = 0;
    modem_ = modem_lines_locked();
    update_irq_locked();
}

unsigned Uart::trigger() const {
    static constexpr unsigned levels[] = {1, 4, 8, 14};
    return fifo_on() ? levels[fcr_ >> 6] : 1;
}

size_t Uart::input(std::span<const u8> bytes) {
    const base::MutexLock lock(mutex_);
    size_t taken = 0;
    while (listens_locked() && taken < bytes.size() && count_ < capacity()) receive_locked(bytes[taken++]);
    input_waits_ = taken < bytes.size();
    resume_if_listening_locked();  // or sets the alarm for it
    update_irq_locked();
    return taken;
}

bool Uart::listens_locked() const {
    // In loopback the receiver is cut off from the line.
    if (mcr_ & mcr_loop) return false;
    if (status_polls_ >= polls_that_listen) return true;
    return (ier_ & ier_rx) && base::monotonic_ns() >= settled_at_;
}

void Uart::receive_interrupt_switched_locked(bool on) {
    const u64 now = base::monotonic_ns();
    if (!on)
        listened_until_ = now >= settled_at_ ? now : 0;
    else if (!listened_until_ || now - listened_until_ > short_pause_ns)
        settled_at_ = now + settle_ns_;
}

void Uart::resume_if_listening_locked() {
    if (!input_waits_ || count_ == capacity()) return;
    if (listens_locked()) {
        input_waits_ = false;
        backend_.resume_input();
    } else if ((ier_ & ier_rx) && !(mcr_ & mcr_loop)) {
        settle_timer_->arm(settled_at_);
    }
}

void Uart::receive_locked(u8 byte) {
    if (count_ == capacity()) {
        // A full FIFO keeps what it has, the single register is overwritten (datasheet 8.4).
        lsr_errors_ |= lsr_overrun;
        if (!fifo_on()) fifo_[head_] = byte;
        return;
    }
    fifo_[(head_ + count_++) % fifo_size] = byte;
    timeout_ = false;
    if (fifo_on()) timeout_timer_->arm(base::monotonic_ns() + character_timeout_ns);
}

u8 Uart::read_data_locked() {
    if (count_ == 0) return 0;
    const u8 byte = fifo_[head_];
    head_ = (head_ + 1) % fifo_size;
    --count_;
    timeout_ = false;
    if (fifo_on() && count_) timeout_timer_->arm(base::monotonic_ns() + character_timeout_ns);
    resume_if_listening_locked();
    return byte;
}

void Uart::timeout_passed() {
    const base::MutexLock lock(mutex_);
    timeout_ = fifo_on() && count_ > 0;
    update_irq_locked();
}

void Uart::transmit_locked(u8 byte) {
    if (mcr_ & mcr_loop) {
        receive_locked(byte);
    } else {
        output_.push_back(byte);
        if (byte == '\n' || output_.size() >= output_limit)
            flush_locked();
        else if (output_.size() == 1)
            flush_timer_->arm(base::monotonic_ns() + flush_delay_ns);
    }
    thre_pending_ = true;  // and it is empty again
}

void Uart::flush() {
    const base::MutexLock lock(mutex_);
    flush_locked();
}

void Uart::flush_locked() {
    if (!output_.empty()) backend_.write(output_);
    output_.clear();
}

void Uart::write_fcr_locked(u8 value) {
    const bool toggled = (value ^ fcr_) & fcr_enable;
    // Other bits count only together with bit 0; the transmit FIFO is always empty anyway.
    fcr_ = value & fcr_enable ? value & (fcr_enable | fcr_trigger) : 0;
    // The one byte that a FIFO being switched on finds in the register moves into it: the datasheet
    // would have it cleared, but drivers do this while listening, and the byte was not asked away.
    if ((toggled && !fifo_on()) || (fifo_on() && (value & fcr_clear_rx))) {
        head_ = count_ = 0;
        timeout_ = false;
    } else if (toggled && count_) {
        timeout_timer_->arm(base::monotonic_ns() + character_timeout_ns);
    }
    resume_if_listening_locked();
}

u8 Uart::modem_lines_locked() const {
    // Nobody unplugs the other end: carrier, set ready and clear to send are always there.
    if (!(mcr_ & mcr_loop)) return msr_cts | msr_dsr | msr_dcd;
    return static_cast<u8>((mcr_ & mcr_dtr ? msr_dsr : 0) | (mcr_ & mcr_rts ? msr_cts : 0) |
                           (mcr_ & mcr_out1 ? msr_ri : 0) | (mcr_ & mcr_out2 ? msr_dcd : 0));
}

void Uart::update_modem_locked() {
    const u8 now = modem_lines_locked();
    const u8 changed = now ^ modem_;
    // RI reports only its trailing edge (datasheet 8.8).
    msr_delta_ |= static_cast<u8>((changed & (msr_cts | msr_dsr | msr_dcd)) >> 4);
    if (modem_ & changed & msr_ri) msr_delta_ |= msr_ri >> 4;
    modem_ = now;
}

void Uart::write_mcr_locked(u8 value) {
    mcr_ = value & mcr_bits;
    update_modem_locked();
    resume_if_listening_locked();
}

/// The highest of what is pending and enabled (datasheet table IV).
u8 Uart::interrupt_id_locked() const {
    if ((ier_ & ier_line) && lsr_errors_) return iir_line;
    if ((ier_ & ier_rx) && count_ >= trigger()) return iir_rx;
    if ((ier_ & ier_rx) && timeout_) return iir_timeout;
    if ((ier_ & ier_tx) && thre_pending_) return iir_tx;
    if ((ier_ & ier_modem) && msr_delta_) return iir_modem;
    return iir_none;
}

void Uart::update_irq_locked() {
    const bool level = interrupt_id_locked() != iir_none;
    if (std::exchange(irq_level_, level) != level) irq_.set(level);
}

u8 Uart::read8(u64 offset) {
    const base::MutexLock lock(mutex_);
    u8 value = 0;
    switch (offset) {
        case rbr_thr: value = lcr_ & lcr_dlab ? static_cast<u8>(divisor_) : read_data_locked(); break;
        case ier: value = lcr_ & lcr_dlab ? static_cast<u8>(divisor_ >> 8) : ier_; break;
        case iir_fcr:
            value = interrupt_id_locked();
            if (value == iir_tx) thre_pending_ = false;
            if (fifo_on()) value |= iir_fifos;
            break;
        case lcr: value = lcr_; break;
        case mcr: value = mcr_; break;
        case lsr:
            value = static_cast<u8>(std::exchange(lsr_errors_, u8{0}) | (count_ ? lsr_ready : 0) |
                                    lsr_thr_empty | lsr_idle);
            if (status_polls_ < polls_that_listen && ++status_polls_ == polls_that_listen)
                resume_if_listening_locked();
            break;
        case msr: value = static_cast<u8>(modem_ | std::exchange(msr_delta_, u8{0})); break;
        case scr: value = scratch_; break;
        default: return 0xff;
    }
    update_irq_locked();
    return value;
}

void Uart::write8(u64 offset, u8 value) {
    const base::MutexLock lock(mutex_);
    status_polls_ = 0;
    switch (offset) {
        case rbr_thr:
            if (lcr_ & lcr_dlab) {
                divisor_ = static_cast<u16>((divisor_ & 0xff00) | value);
            } else {
                // The line drops for a moment as on the chip, so that an edge-triggered input sees
                // the next "empty".
                thre_pending_ = false;
                update_irq_locked();
                transmit_locked(value);
            }
            break;
        case ier:
            if (lcr_ & lcr_dlab) {
                divisor_ = static_cast<u16>((divisor_ & 0xff) | value << 8);
            } else {
                // Enabling the interrupt while the transmitter is empty raises it.
                if (value & ~ier_ & ier_tx) thre_pending_ = true;
                if ((value ^ ier_) & ier_rx) receive_interrupt_switched_locked(value & ier_rx);
                ier_ = value & (ier_rx | ier_tx | ier_line | ier_modem);
                resume_if_listening_locked();
            }
            break;
        case iir_fcr: write_fcr_locked(value); break;
        case lcr: lcr_ = value; break;
        case mcr: write_mcr_locked(value); break;
        case lsr:
        case msr: break;  // read-only
        case scr: scratch_ = value; break;
        default: break;
    }
    update_irq_locked();
}

}  // namespace triune::device
