// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/irqchip/irqchip.h"

namespace triune::hypervisor::soft::irqchip {

IrqChip::IrqChip(const std::vector<cpu::VcpuContext*>& vcpus, base::EventLoop& loop)
    : pic_(
          [this] {
              // LINT0 of the boot processor; on the others nothing is wired.
              if (!apics_.empty()) apics_[0]->lint0_rises();
          },
          [this](unsigned irq) { ended_(irq); }),
      ioapic_([this](const Message& m) { return send(m); }, [this](unsigned pin) { pin_ended(pin); }),
      pit_(loop, [this](bool level) { set_gsi(0, level); }) {
    LapicBus& bus = *this;
    for (cpu::VcpuContext* v : vcpus) apics_.push_back(std::make_unique<Lapic>(*v, bus, loop));
}

void IrqChip::set_gsi(unsigned gsi, bool level) {
    if (gsi < 16) pic_.set_irq(gsi, level);
    if (gsi == 2) return;  // cascade: no line reaches it
    ioapic_.set_pin(gsi == 0 ? 2 : gsi, level);
}

void IrqChip::watch_ends(u32 gsis) {
    pic_.watch_ends(static_cast<u16>(gsis));
    // GSI 0 is pin 2.
    ioapic_.watch_ends((gsis & ~5u) | (gsis & 1) << 2);
}

void IrqChip::signal_msi(u64 address, u32 data) {
    Message m;
    if (decode_msi(address, data, m)) send(m);
}

bool IrqChip::send(const Message& m) {
    if (!m.lowest_priority()) {
        bool accepted = false;
        for (const auto& a : apics_)
            if (a->matches(m)) accepted |= a->accept(m);
        return accepted;
    }
    // The lowest processor priority wins; among equals the first, whose caches are warm (the
    // arbitration of real buses is no fairer, Intel SDM 3A 11.6.2.4).
    Lapic* best = nullptr;
    for (const auto& a : apics_)
        if (a->matches(m) && a->software_enabled() && (!best || a->priority() < best->priority()))
            best = a.get();
    return best && best->accept(m);
}

void IrqChip::send_all(const Message& m, int except) {
    for (size_t i = 0; i < apics_.size(); ++i)
        if (static_cast<int>(i) != except) apics_[i]->accept(m);
}

bool IrqChip::ferr(bool error) {
    if (error && ignne_) return true;
    if (!error) ignne_ = false;
    if (ferr_.exchange(error) != error) set_gsi(13, error);
    return false;
}

u8 IrqChip::port_read(u16 port) {
    if (is_coprocessor(port)) return 0xff;
    return is_pit(port) ? pit_.read(port) : pic_.read(port);
}

void IrqChip::port_write(u16 port, u8 value) {
    if (is_coprocessor(port)) {
        if (ferr_.exchange(false)) ignne_ = true;
        set_gsi(13, false);
    } else if (is_pit(port)) {
        pit_.write(port, value);
    } else {
        pic_.write(port, value);
    }
}

}  // namespace triune::hypervisor::soft::irqchip
