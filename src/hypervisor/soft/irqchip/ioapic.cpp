// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/irqchip/ioapic.h"

namespace triune::hypervisor::soft::irqchip {
namespace {

/// Register offsets in the window and indices behind IOREGSEL (82093AA 3.1, 3.2).
enum : u64 { io_regsel = 0x00, io_win = 0x10, io_eoi = 0x40 };
enum : u32 { index_id = 0, index_version = 1, index_arbitration = 2, index_redirection = 0x10 };

constexpr u32 version_value = (IoApic::pins - 1) << 16 | 0x20;
/// Delivery status (bit 12) and remote IRR (bit 14) are read-only; bits 17-55 are reserved.
constexpr u64 writable = 0xff00'0000'0001'afff;

}  // namespace

void IoApic::reset() {
    const base::MutexLock lock(mutex_);
    entry_.fill(masked);
    select_ = id_ = 0;
}

/// Locked. Sends what pin's entry says, as its trigger mode demands.
void IoApic::service(unsigned pin) {
    u64& e = entry_[pin];
    if (e & masked) return;
    const bool level = e & level_trigger;
    if (level && (e & remote_irr)) return;
    Message m;
    m.vector = static_cast<u8>(e);
    m.mode = static_cast<DeliveryMode>((e >> 8) & 7);
    m.logical = e & (1 << 11);
    m.level = level;
    m.destination = static_cast<u32>(e >> 56);
    // The EOI may come from another thread at once: it waits for our lock, so it finds remote IRR set.
    if (send_(m) && level) e |= remote_irr;
}

void IoApic::set_pin(unsigned pin, bool asserted) {
    if (pin >= pins) return;
    const base::MutexLock lock(mutex_);
    const u32 bit = 1u << pin;
    const bool was = lines_ & bit;
    if (was == asserted) return;
    lines_ = asserted ? lines_ | bit : lines_ & ~bit;
    // An edge at a masked pin is lost (82093AA 3.2.4); a level is seen when the pin is unmasked.
    if (asserted) service(pin);
}

void IoApic::tell_ended(u8 vector) {
    u32 ended = 0;
    {
        const base::MutexLock lock(mutex_);
        for (unsigned pin = 0; pin < pins; ++pin)
            if (static_cast<u8>(entry_[pin]) == vector && (entry_[pin] & level_trigger) &&
                (entry_[pin] & remote_irr))
                ended |= 1u << pin;
    }
    ended &= watched_.load(std::memory_order_seq_cst);
    for (unsigned pin = 0; ended; ++pin, ended >>= 1)
        if (ended & 1) ended_(pin);
}

void IoApic::eoi(u8 vector) {
    if (watched_.load(std::memory_order_seq_cst) && ended_) tell_ended(vector);
    const base::MutexLock lock(mutex_);
    for (unsigned pin = 0; pin < pins; ++pin) {
        u64& e = entry_[pin];
        if (static_cast<u8>(e) != vector || !(e & level_trigger) || !(e & remote_irr)) continue;
        e &= ~remote_irr;
        if (lines_ & (1u << pin)) service(pin);
    }
}

u32 IoApic::read_register() const {
    switch (select_) {
        case index_id:
        case index_arbitration: return id_ << 24;
        case index_version: return version_value;
        default: break;
    }
    if (select_ < index_redirection || select_ >= index_redirection + 2 * pins) return 0;
    const u64 e = entry_[(select_ - index_redirection) / 2];
    return static_cast<u32>(select_ & 1 ? e >> 32 : e);
}

void IoApic::write_register(u32 value) {
    if (select_ == index_id) {
        id_ = (value >> 24) & 15;
        return;
    }
    if (select_ < index_redirection || select_ >= index_redirection + 2 * pins) return;
    const unsigned pin = (select_ - index_redirection) / 2;
    u64& e = entry_[pin];
    const u64 wanted = select_ & 1 ? (e & 0xffff'ffff) | u64{value} << 32 : (e & ~u64{0xffff'ffff}) | value;
    e = (wanted & writable) | (e & remote_irr);
    // An entry made edge-triggered forgets that it waits for an EOI: kernels use that in place of
    // the EOI register.
    if (!(e & level_trigger)) e &= ~remote_irr;
    if ((e & level_trigger) && (lines_ & (1u << pin))) service(pin);
}

u32 IoApic::read(u64 offset) {
    const base::MutexLock lock(mutex_);
    switch (offset) {
        case io_regsel: return select_;
        case io_win: return read_register();
        default: return 0;
    }
}

void IoApic::write(u64 offset, u32 value) {
    switch (offset) {
        case io_regsel: {
            const base::MutexLock lock(mutex_);
            select_ = value & 0xff;
            break;
        }
        case io_win: {
            const base::MutexLock lock(mutex_);
            write_register(value);
            break;
        }
        case io_eoi: eoi(static_cast<u8>(value)); break;
        default: break;
    }
}

}  // namespace triune::hypervisor::soft::irqchip
