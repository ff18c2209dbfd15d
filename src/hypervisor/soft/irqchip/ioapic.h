// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <functional>

#include "base/mutex.h"
#include "hypervisor/chip_state.h"
#include "hypervisor/soft/irqchip/message.h"

namespace triune::hypervisor::soft::irqchip {

/// I/O APIC with 24 pins (82093AA datasheet; the EOI register of version 0x20). Pins are logical:
/// "asserted" whatever the entry's polarity says.
///
/// Threads: any. `send` is called with the lock held and must not call back.
class IoApic {
public:
    static constexpr unsigned pins = 24;
    static constexpr u64 window = 0x1000;

    /// `send` gives true when a local APIC accepted the message. `ended`, called without the lock, hears of
    /// the end of a level-triggered interrupt at a pin of watch_ends(), before the pin is looked at again.
    explicit IoApic(std::function<bool(const Message&)> send, std::function<void(unsigned pin)> ended = {})
        : send_(std::move(send)), ended_(std::move(ended)) {
        reset();
    }

    void reset();
    void set_pin(unsigned pin, bool asserted);
    /// End of interrupt from a local APIC.
    void eoi(u8 vector);
    void watch_ends(u32 pins) { watched_.store(pins, std::memory_order_seq_cst); }
    /// `offset` in the 4 KB window.
    u32 read(u64 offset);
    void write(u64 offset, u32 value);
    [[nodiscard]] IoApicState state();
    void set_state(const IoApicState& s);

private:
    static constexpr u64 remote_irr = 1 << 14, level_trigger = 1 << 15, masked = 1 << 16;
    u32 read_register() const REQUIRES(mutex_);
    void write_register(u32 value) REQUIRES(mutex_);
    void service(unsigned pin) REQUIRES(mutex_);

    void tell_ended(u8 vector);

    std::function<bool(const Message&)> send_;
    std::function<void(unsigned)> ended_;
    std::atomic<u32> watched_{0};
    base::Mutex mutex_;
    std::array<u64, pins> entry_ GUARDED_BY(mutex_){};
    u32 lines_ GUARDED_BY(mutex_) = 0;  ///< a bit a pin: asserted
    u32 select_ GUARDED_BY(mutex_) = 0, id_ GUARDED_BY(mutex_) = 0;
};

}  // namespace triune::hypervisor::soft::irqchip
