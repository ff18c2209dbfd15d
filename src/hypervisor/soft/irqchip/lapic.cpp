// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/irqchip/lapic.h"

#include "base/bits.h"

namespace triune::hypervisor::soft::irqchip {

Lapic::Lapic(cpu::VcpuContext& vcpu, LapicBus& bus, base::EventLoop& loop)
    : vcpu_(vcpu), bus_(bus), timer_(vcpu, loop, [this](u8 vector) { accept_fixed(vector, false); }) {
    reset(false);
}

void Lapic::reset(bool init) {
    // INIT keeps IA32_APIC_BASE and the mode with it (Intel SDM 3A 11.4.7.3).
    if (!init) base_ = 0xfee00000 | base_enable | (vcpu_.index == 0 ? base_bsp : 0);
    timer_.reset();
    svr_ = 0xff;
    ldr_ = 0;
    dfr_ = ~0u;
    for (auto& l : lvt_) l = lvt_masked;
    // The boot processor starts in virtual wire mode, as firmware would leave it (Intel MP
    // specification 3.6.2.1): a kernel that is started directly finds the 8259A connected.
    if (!init && vcpu_.index == 0) lvt_[lvt_lint0] = static_cast<u32>(DeliveryMode::extint) << 8;
    irr_.clear_all();
    isr_.clear_all();
    tmr_.clear_all();
    tpr_ = 0;
    ppr_ = 0;
    errors_ = 0;
    esr_ = 0;
    icr_ = 0;
    extint_message_ = false;
    noticed_ = false;
    if (accepts_extint() && bus_.extint_pending()) notify();
}

bool Lapic::set_apic_base(u64 value) {
    const unsigned phys_bits = vcpu_.model ? vcpu_.model->phys_bits : 40;
    const bool has_x2apic = vcpu_.model && base::bit(vcpu_.model->lookup(1, 0).ecx, 21);
    const u64 allowed =
        (base::low_mask(phys_bits) & ~page_mask) | base_bsp | base_enable | (has_x2apic ? base_x2apic : 0);
    if (value & ~allowed) return false;
    const u64 old = apic_base() & (base_enable | base_x2apic);
    const u64 now = value & (base_enable | base_x2apic);
    // Figure 11-27: x2APIC only from xAPIC, and out of x2APIC only by disabling.
    if (now == base_x2apic) return false;
    if (old == 0 && now == (base_enable | base_x2apic)) return false;
    if (old == (base_enable | base_x2apic) && now == base_enable) return false;
    if (old && !now) {
        reset(true);
        lvt_[lvt_lint0] = lvt_masked;
    }
    base_ = value;
    if (!old && now) reset(true);
    // An APIC that is off connects the processor's INTR to the 8259A.
    if (old != now && accepts_extint() && bus_.extint_pending()) notify();
    return true;
}

// -- what arrives ---------------------------------------------------------------------------------

bool Lapic::matches(const Message& m) const {
    const u64 base = apic_base();
    if (!(base & base_enable)) return false;
    if (m.broadcast()) return true;
    if (!m.logical) return m.destination == id();
    if (base & base_x2apic) {
        const u32 ldr = x2apic_ldr();
        return (ldr >> 16) == (m.destination >> 16) && (ldr & m.destination & 0xffff);
    }
    if (m.destination > 0xff) return false;
    const u32 ldr = ldr_.load(std::memory_order_relaxed) >> 24;
    if (dfr_.load(std::memory_order_relaxed) >> 28 == 0xf) return ldr & m.destination;
    return (ldr >> 4) == (m.destination >> 4) && (ldr & m.destination & 0xf);
}

bool Lapic::accept(const Message& m) {
    cpu::Signals& signals = vcpu_.signals;
    switch (m.mode) {
        case DeliveryMode::fixed:
        case DeliveryMode::lowest_priority: return accept_fixed(m.vector, m.level);
        case DeliveryMode::nmi: signals.raise_nmi(); return true;
        case DeliveryMode::init:
            // A start-up message from before the INIT is void.
            signals.pending.fetch_and(~static_cast<u32>(cpu::Signal::sipi), std::memory_order_acq_rel);
            signals.raise(cpu::Signal::init);
            return true;
        case DeliveryMode::startup:
            signals.sipi_vector.store(m.vector, std::memory_order_relaxed);
            signals.raise(cpu::Signal::sipi);
            return true;
        case DeliveryMode::extint:
            extint_message_ = true;
            notify();
            return true;
        case DeliveryMode::smi:  // there is no system-management mode
        case DeliveryMode::reserved: return false;
    }
    return false;
}

bool Lapic::accept_fixed(u8 vector, bool level) {
    if (!software_enabled()) return false;
    if (vector < 16) {
        error(esr_receive_illegal);
        return false;
    }
    if (tmr_.test(vector) != level) {
        if (level)
            tmr_.set(vector);
        else
            tmr_.clear(vector);
    }
    // IRR is written before PPR is read, and the vCPU's thread lowers PPR before it reads IRR: one of
    // the two sees the other, so an interrupt below PPR needs no signal.
    if (irr_.set(vector) && (vector >> 4) > (ppr_.load(std::memory_order_seq_cst) >> 4)) notify();
    return true;
}

void Lapic::notify() {
    if (!noticed_.exchange(true, std::memory_order_seq_cst)) vcpu_.signals.raise(cpu::Signal::interrupt);
}

void Lapic::lint0_rises() {
    if (!(apic_base() & base_enable)) return notify();
    const u32 lvt = lvt_[lvt_lint0].load(std::memory_order_seq_cst);
    if (lvt & lvt_masked) return;
    switch (static_cast<DeliveryMode>((lvt >> 8) & 7)) {
        case DeliveryMode::extint: return notify();
        case DeliveryMode::nmi: return vcpu_.signals.raise_nmi();
        case DeliveryMode::fixed: accept_fixed(static_cast<u8>(lvt), false); return;
        default: return;
    }
}

void Lapic::error(u32 bits) {
    if ((errors_.fetch_or(bits, std::memory_order_acq_rel) & bits) == bits) return;
    const u32 lvt = lvt_[lvt_error].load(std::memory_order_relaxed);
    // An error vector that is itself illegal would report itself for ever.
    if (!(lvt & lvt_masked) && (lvt & 0xff) >= 16) accept_fixed(static_cast<u8>(lvt), false);
}

// -- what the processor takes ---------------------------------------------------------------------

bool Lapic::accepts_extint() const {
    if (!(apic_base() & base_enable)) return vcpu_.index == 0;
    const u32 lvt = lvt_[lvt_lint0].load(std::memory_order_relaxed);
    return !(lvt & lvt_masked) && ((lvt >> 8) & 7) == static_cast<u32>(DeliveryMode::extint);
}

/// Vector that could be delivered now, or -1.
int Lapic::deliverable() const {
    if (!(apic_base() & base_enable)) return -1;
    const int v = irr_.highest();
    return v >= 0 && (v >> 4) > (ppr_.load(std::memory_order_seq_cst) >> 4) ? v : -1;
}

bool Lapic::has_interrupt() {
    const auto look = [this] {
        return deliverable() >= 0 || (bus_.extint_pending() &&
                                      (accepts_extint() || extint_message_.load(std::memory_order_relaxed)));
    };
    if (look()) {
        noticed_.store(true, std::memory_order_relaxed);
        return true;
    }
    if (!noticed_.load(std::memory_order_relaxed)) return false;
    noticed_.store(false, std::memory_order_seq_cst);
    // Something may have come between the look and the store, seen `noticed_` and stayed silent.
    if (!look()) return false;
    noticed_.store(true, std::memory_order_relaxed);
    return true;
}

int Lapic::acknowledge() {
    if (bus_.extint_pending()) {
        const bool message = extint_message_.exchange(false, std::memory_order_relaxed);
        if (message || accepts_extint())
            if (const int v = bus_.extint_acknowledge(); v >= 0) return v;
    }
    const int v = deliverable();
    if (v < 0) return -1;
    irr_.clear(static_cast<u8>(v));
    isr_.set(static_cast<u8>(v));
    update_priority();
    return v;
}

/// PPR from TPR and ISR (11.8.3.1). On the vCPU's thread.
void Lapic::update_priority() {
    const int serviced = isr_.highest();
    const u8 isr_class = serviced < 0 ? 0 : static_cast<u8>(serviced & 0xf0);
    ppr_.store((tpr_ & 0xf0) >= isr_class ? tpr_ : isr_class, std::memory_order_seq_cst);
}

void Lapic::set_tpr(u8 value) {
    if (tpr_ == value) return;
    tpr_ = value;
    update_priority();
    if (deliverable() >= 0) notify();
}

void Lapic::eoi() {
    const int v = isr_.highest();
    if (v < 0) return;
    isr_.clear(static_cast<u8>(v));
    update_priority();
    if (tmr_.test(static_cast<u8>(v))) bus_.broadcast_eoi(static_cast<u8>(v));
    if (deliverable() >= 0) notify();
}

// -- what it sends --------------------------------------------------------------------------------

void Lapic::send_ipi(u64 icr, bool wide) {
    Message m;
    m.vector = static_cast<u8>(icr);
    m.mode = static_cast<DeliveryMode>((icr >> 8) & 7);
    m.logical = icr & (1 << 11);
    m.wide = wide;
    m.destination = wide ? static_cast<u32>(icr >> 32) : static_cast<u32>(icr >> 56);
    const bool has_vector = m.mode == DeliveryMode::fixed || m.mode == DeliveryMode::lowest_priority;
    if (has_vector && m.vector < 16) return error(esr_send_illegal);
    // INIT level de-assert only synchronises arbitration ids, which nothing here has.
    const bool level = icr & (1 << 15), asserted = icr & (1 << 14);
    if (m.mode == DeliveryMode::init && level && !asserted) return;
    switch ((icr >> 18) & 3) {
        case 0: bus_.send(m); break;
        case 1:  // self: fixed only (table 11-3)
            if (has_vector) accept_fixed(m.vector, false);
            break;
        case 2:
            if (has_vector) bus_.send_all(m, -1);
            break;
        case 3: bus_.send_all(m, static_cast<int>(id())); break;
    }
}

}  // namespace triune::hypervisor::soft::irqchip
