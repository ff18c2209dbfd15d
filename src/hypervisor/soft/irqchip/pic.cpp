// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/irqchip/pic.h"

namespace triune::hypervisor::soft::irqchip {
namespace {

constexpr unsigned cascade = 2;
/// IRQ 0, 1, 2, 8 and 13 are edge-triggered whatever ELCR says (PIIX3 datasheet 2.6.9).
constexpr u8 elcr_mask[2] = {0xf8, 0xde};

}  // namespace

void Pic8259::set_irq(unsigned irq, bool level) {
    const u8 bit = static_cast<u8>(1u << irq);
    if (level_triggered_ || (elcr_ & bit)) {
        irr_ = static_cast<u8>(level ? irr_ | bit : irr_ & ~bit);
    } else if (level && !(lines_ & bit)) {
        // An 8259A wants the line high until INTA, else it answers with IR7. A pulse of a device here
        // may be shorter than the vCPU's way to its INTA, so the latch keeps it.
        irr_ |= bit;
    }
    lines_ = static_cast<u8>(level ? lines_ | bit : lines_ & ~bit);
}

unsigned Pic8259::priority(u8 mask) const {
    for (unsigned p = 0; p < 8; ++p)
        if (mask & (1u << ((lowest_ + 1 + p) & 7))) return p;
    return 8;
}

int Pic8259::pending() const {
    if (icw_expected_) return -1;
    const unsigned wanted = priority(static_cast<u8>(irr_ & ~imr_));
    if (wanted == 8) return -1;
    // In special mask mode only masked levels are let through; what is in service and masked does
    // not inhibit others.
    u8 in_service = special_mask_ ? static_cast<u8>(isr_ & ~imr_) : isr_;
    // Special fully nested: the cascade input interrupts itself (a higher slave request).
    if (special_nested_ && master_) in_service = static_cast<u8>(in_service & ~(1u << cascade));
    if (priority(in_service) <= wanted) return -1;
    return static_cast<int>((lowest_ + 1 + wanted) & 7);
}

void Pic8259::begin(unsigned irq) {
    const u8 bit = static_cast<u8>(1u << irq);
    if (!level_triggered_ && !(elcr_ & bit)) irr_ = static_cast<u8>(irr_ & ~bit);
    if (!auto_eoi_)
        isr_ |= bit;
    else if (rotate_on_auto_eoi_)
        lowest_ = static_cast<u8>(irq);
}

u8 Pic8259::acknowledge() {
    const int irq = pending();
    if (irq < 0) return static_cast<u8>(base_ + 7);
    begin(static_cast<unsigned>(irq));
    return static_cast<u8>(base_ + irq);
}

u8 Pic8259::read(unsigned a0) {
    if (poll_) {
        poll_ = false;
        const int irq = pending();
        if (irq < 0) return 0;
        begin(static_cast<unsigned>(irq));
        return static_cast<u8>(0x80 | irq);
    }
    if (a0) return imr_;
    return read_isr_ ? isr_ : irr_;
}

void Pic8259::initialize(u8 icw1) {
    // The edge sense circuits are reset: a line that is high needs a new edge.
    irr_ = 0;
    isr_ = imr_ = 0;
    lowest_ = 7;
    special_mask_ = read_isr_ = poll_ = false;
    auto_eoi_ = rotate_on_auto_eoi_ = special_nested_ = false;
    level_triggered_ = icw1 & 8;
    icw4_needed_ = icw1 & 1;
    icw_expected_ = 2;
    irr_ = static_cast<u8>(lines_ & (level_triggered_ ? 0xff : elcr_));
}

void Pic8259::write_ocw2(u8 value) {
    const unsigned operation = value >> 5;
    const unsigned level = value & 7;
    const auto end = [&](unsigned irq, bool rotate) {
        isr_ = static_cast<u8>(isr_ & ~(1u << irq));
        if (rotate) lowest_ = static_cast<u8>(irq);
    };
    switch (operation) {
        case 0: rotate_on_auto_eoi_ = false; break;
        case 4: rotate_on_auto_eoi_ = true; break;
        case 1:
        case 5: {
            // Non-specific EOI; in special mask mode it does not end a masked level.
            const unsigned p = priority(special_mask_ ? static_cast<u8>(isr_ & ~imr_) : isr_);
            if (p < 8) end((lowest_ + 1 + p) & 7, operation == 5);
            break;
        }
        case 3: end(level, false); break;
        case 7: end(level, true); break;
        case 6: lowest_ = static_cast<u8>(level); break;
        default: break;  // 2: no operation
    }
}

void Pic8259::write_ocw3(u8 value) {
    if (value & 0x40) special_mask_ = value & 0x20;
    if (value & 4) poll_ = true;
    if (value & 2) read_isr_ = value & 1;
}

void Pic8259::write(unsigned a0, u8 value) {
    if (!a0) {
        if (value & 0x10) return initialize(value);
        return value & 8 ? write_ocw3(value) : write_ocw2(value);
    }
    switch (icw_expected_) {
        case 2:
            base_ = value & 0xf8;
            // ICW1.SNGL is not honoured: in a PC both chips are cascaded.
            icw_expected_ = 3;
            break;
        case 3: icw_expected_ = icw4_needed_ ? 4 : 0; break;
        case 4:
            auto_eoi_ = value & 2;
            special_nested_ = value & 0x10;
            icw_expected_ = 0;
            break;
        default: imr_ = value; break;
    }
}

// -- the pair -------------------------------------------------------------------------------------

void PicPair::update() {
    master_.set_irq(cascade, slave_.pending() >= 0);
    const bool now = master_.pending() >= 0;
    if (output_.exchange(now, std::memory_order_seq_cst) != now && now) rises_();
}

void PicPair::set_irq(unsigned irq, bool level) {
    if (irq >= 16 || irq == cascade) return;
    const base::MutexLock lock(mutex_);
    (irq < 8 ? master_ : slave_).set_irq(irq & 7, level);
    update();
}

u8 PicPair::read(u16 port) {
    const base::MutexLock lock(mutex_);
    if (port == 0x4d0) return master_.elcr();
    if (port == 0x4d1) return slave_.elcr();
    const u8 v = (port & 0x80 ? slave_ : master_).read(port & 1);
    update();  // a poll acknowledges
    return v;
}

void PicPair::tell_ended(unsigned irqs) {
    irqs &= watched_.load(std::memory_order_seq_cst);
    for (unsigned irq = 0; irqs && ended_; ++irq, irqs >>= 1)
        if (irqs & 1) ended_(irq);
}

void PicPair::write(u16 port, u8 value) {
    base::MutexLock lock(mutex_);
    const unsigned before = in_service();
    if (port == 0x4d0)
        master_.set_elcr(value & elcr_mask[0]);
    else if (port == 0x4d1)
        slave_.set_elcr(value & elcr_mask[1]);
    else
        (port & 0x80 ? slave_ : master_).write(port & 1, value);
    update();
    const unsigned ended = before & ~unsigned{in_service()};
    lock.unlock();
    tell_ended(ended);
}

int PicPair::acknowledge() {
    base::MutexLock lock(mutex_);
    int irq = master_.pending();
    if (irq < 0) return -1;
    u8 vector = master_.acknowledge();
    if (irq == static_cast<int>(cascade)) {
        const int of_slave = slave_.pending();
        irq = of_slave < 0 ? -1 : 8 + of_slave;
        vector = slave_.acknowledge();
    }
    // With automatic end of interrupt that was its end too.
    const unsigned ended = irq < 0 ? 0 : (1u << irq) & ~unsigned{in_service()};
    // INTR falls during INTA, so a further request is a new edge.
    output_.store(false, std::memory_order_seq_cst);
    update();
    lock.unlock();
    tell_ended(ended);
    return vector;
}

}  // namespace triune::hypervisor::soft::irqchip
