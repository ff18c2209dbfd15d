// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "backend/char_backend.h"
#include "base/event_loop.h"
#include "base/mutex.h"
#include "device/byte_registers.h"

namespace triune::device {

/// 16550A UART (National Semiconductor PC16550D datasheet): 8 ports. Characters take no time, so
/// the transmitter is always empty and the divisor has no effect. Input that finds no room in the
/// FIFO stays with the backend, and so does all input until the guest listens: it has enabled the
/// receive interrupt for a moment, or polls the line status. (A driver that probes and starts up
/// enables everything in passing and clears the FIFO: what was typed or piped in during boot would
/// be lost.)
///
/// Threads: any; one lock, under which the interrupt line is set and the backend is written to.
class Uart final : public ByteRegisters {
public:
    static constexpr u64 settle_time_ns = 2'000'000;
    /// `settle_ns`: how long the receive interrupt has to be enabled before input is let in.
    Uart(bus::IrqLine& irq, backend::CharBackend& backend, base::EventLoop& loop,
         u64 settle_ns = settle_time_ns);
    ~Uart() override;

    /// As after a pulse on MR; the receive FIFO's bytes are lost.
    void reset();
    /// Gives the backend what is still held back to be written in one go.
    void flush();

private:
    u8 read8(u64 offset) override;
    void write8(u64 offset, u8 value) override;

    size_t input(std::span<const u8> bytes);
    void receive_locked(u8 byte) REQUIRES(mutex_);
    u8 read_data_locked() REQUIRES(mutex_);
    void transmit_locked(u8 byte) REQUIRES(mutex_);
    void flush_locked() REQUIRES(mutex_);
    [[nodiscard]] bool listens_locked() const REQUIRES(mutex_);
    void receive_interrupt_switched_locked(bool on) REQUIRES(mutex_);
    void resume_if_listening_locked() REQUIRES(mutex_);
    void write_fcr_locked(u8 value) REQUIRES(mutex_);
    void write_mcr_locked(u8 value) REQUIRES(mutex_);
    [[nodiscard]] u8 modem_lines_locked() const REQUIRES(mutex_);
    void update_modem_locked() REQUIRES(mutex_);
    [[nodiscard]] u8 interrupt_id_locked() const REQUIRES(mutex_);
    void update_irq_locked() REQUIRES(mutex_);
    void timeout_passed();
    [[nodiscard]] bool fifo_on() const REQUIRES(mutex_) { return fcr_ & 1; }
    [[nodiscard]] unsigned capacity() const REQUIRES(mutex_) { return fifo_on() ? fifo_size : 1; }
    [[nodiscard]] unsigned trigger() const REQUIRES(mutex_);

    static constexpr unsigned fifo_size = 16;
    base::Mutex mutex_;
    bus::IrqLine& irq_;
    backend::CharBackend& backend_;
    std::array<u8, fifo_size> fifo_ GUARDED_BY(mutex_){};
    unsigned head_ GUARDED_BY(mutex_) = 0, count_ GUARDED_BY(mutex_) = 0;
    u8 ier_ GUARDED_BY(mutex_) = 0, fcr_ GUARDED_BY(mutex_) = 0;
    u8 lcr_ GUARDED_BY(mutex_) = 0, mcr_ GUARDED_BY(mutex_) = 0;
    u8 lsr_errors_ GUARDED_BY(mutex_) = 0, msr_delta_ GUARDED_BY(mutex_) = 0;
    u8 modem_ GUARDED_BY(mutex_) = 0, scratch_ GUARDED_BY(mutex_) = 0;
    u16 divisor_ GUARDED_BY(mutex_) = 1;
    bool thre_pending_ GUARDED_BY(mutex_) = false;  ///< the transmitter became empty and IIR has not told
    bool timeout_ GUARDED_BY(mutex_) =
        false;  ///< bytes below the trigger level have waited for four character times
    bool input_waits_ GUARDED_BY(mutex_) = false;   ///< the backend was told that there is no room
    unsigned status_polls_ GUARDED_BY(mutex_) = 0;  ///< reads of LSR since the last write
    bool irq_level_ GUARDED_BY(mutex_) = false;
    std::vector<u8> output_ GUARDED_BY(mutex_);
    const u64 settle_ns_;
    u64 settled_at_ GUARDED_BY(mutex_) = 0;      ///< when the enabled receive interrupt counts as listening
    u64 listened_until_ GUARDED_BY(mutex_) = 0;  ///< when it was disabled after it had counted; 0: it had not
    std::unique_ptr<base::EventLoop::Timer> timeout_timer_, flush_timer_, settle_timer_;
};

}  // namespace triune::device
