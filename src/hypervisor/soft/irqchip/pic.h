// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <functional>

#include "base/mutex.h"
#include "base/types.h"
#include "hypervisor/chip_state.h"

namespace triune::hypervisor::soft::irqchip {

/// One 8259A (Intel 8259A datasheet) with PIIX3's edge/level register. No lock of its own.
class Pic8259 {
public:
    explicit Pic8259(bool master) : master_(master) {}

    void set_irq(unsigned irq, bool level);
    u8 read(unsigned a0);
    void write(unsigned a0, u8 value);
    /// INTA: the vector; IR7's when nothing is left.
    u8 acknowledge();
    /// Interrupt number that INT is asserted for, or -1.
    [[nodiscard]] int pending() const;
    [[nodiscard]] u8 elcr() const { return elcr_; }
    [[nodiscard]] u8 in_service() const { return isr_; }
    void set_elcr(u8 value) { elcr_ = value; }
    [[nodiscard]] PicState state() const;
    void set_state(const PicState& s);

private:
    void initialize(u8 icw1);
    void write_ocw2(u8 value);
    void write_ocw3(u8 value);
    /// Priority of the highest bit of `mask`: 0 highest, 8 for none.
    [[nodiscard]] unsigned priority(u8 mask) const;
    void begin(unsigned irq);

    bool master_;
    u8 irr_ = 0, isr_ = 0, imr_ = 0, lines_ = 0, elcr_ = 0;
    u8 base_ = 0;
    u8 lowest_ = 7;        ///< interrupt with the lowest priority
    u8 icw_expected_ = 1;  ///< next initialization word, 0 when initialized; from power-on it waits for ICW1
    bool icw4_needed_ = false;
    bool read_isr_ = false, poll_ = false, special_mask_ = false;
    bool auto_eoi_ = false, rotate_on_auto_eoi_ = false, special_nested_ = false;
    bool level_triggered_ = false;  ///< ICW1.LTIM
};

/// The pair of a PC, the second cascaded into IR2 of the first.
///
/// Threads: any. `rises` is called with the lock held when INTR goes high, and must not call back.
class PicPair {
public:
    /// `ended`, called without the lock, hears of the end of an interrupt that is a bit of watch_ends().
    explicit PicPair(std::function<void()> rises, std::function<void(unsigned irq)> ended = {})
        : rises_(std::move(rises)), ended_(std::move(ended)) {}

    void set_irq(unsigned irq, bool level);
    /// Ports 0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1.
    u8 read(u16 port);
    void write(u16 port, u8 value);
    [[nodiscard]] bool output() const { return output_.load(std::memory_order_seq_cst); }
    /// INTA cycle: the vector, or -1 when INTR is low.
    int acknowledge();
    [[nodiscard]] std::array<PicState, 2> state();
    void set_state(const std::array<PicState, 2>& s);
    void watch_ends(u16 irqs) { watched_.store(irqs, std::memory_order_seq_cst); }

private:
    void update() REQUIRES(mutex_);
    [[nodiscard]] u16 in_service() const REQUIRES(mutex_) {
        return static_cast<u16>(master_.in_service() | slave_.in_service() << 8);
    }
    void tell_ended(unsigned irqs);

    std::function<void()> rises_;
    std::function<void(unsigned)> ended_;
    std::atomic<u16> watched_{0};
    base::Mutex mutex_;
    Pic8259 master_ GUARDED_BY(mutex_){true}, slave_ GUARDED_BY(mutex_){false};
    std::atomic<bool> output_{false};
};

}  // namespace triune::hypervisor::soft::irqchip
