// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <tuple>

#include "base/bits.h"
#include "bus/pci.h"

namespace triune::bus {

namespace {
constexpr u64 config_ports = 0xcf8, config_port_count = 8;
constexpr u32 config_enable = u32{1} << 31;
}  // namespace

class WiredOr::Input final : public IrqLine {
public:
    explicit Input(WiredOr& to) : to_(to) {}
    void set(bool level) override {
        // The exchange makes a change count once however many threads report it.
        if (level_.exchange(level) != level) to_.change(level ? 1 : -1);
    }

private:
    WiredOr& to_;
    std::atomic<bool> level_{false};
};

std::unique_ptr<IrqLine> WiredOr::make_input() { return std::make_unique<Input>(*this); }

void WiredOr::change(int delta) {
    const base::MutexLock lock(mutex_);
    const bool was = high_ > 0;
    high_ += delta;
    // Signed, because two changes of one input may arrive in either order.
    if (const bool is = high_ > 0; is != was) output_.set(is);
}

PciHost::PciHost(AddressMap& ports, AddressMap& mmio, MsiSink& msi, std::array<IrqLine*, pci_gsi_count> intx)
    : ports_(ports), mmio_(mmio), msi_(msi) {
    for (unsigned i = 0; i < pci_gsi_count; ++i)
        if (intx[i]) lines_[i] = std::make_unique<WiredOr>(*intx[i]);
    ports_.add(config_ports, config_port_count, *this);
}

PciHost::~PciHost() {
    for (PciFunction* f : functions_) {
        if (!f) continue;
        const base::MutexLock lock(f->mutex_);
        for (unsigned i = 0; i < PciFunction::bar_count; ++i)
            if (auto& bar = f->bars_[i]; bar.mapped) {
                update_doorbells(*f, i, false);
                (bar.kind == BarKind::io ? ports_ : mmio_).remove(bar.mapped_at, *bar.block);
                bar.mapped = false;
            }
        if (f->msix_) f->msix_->connect(nullptr);
        f->host_ = nullptr;
        f->line_ = nullptr;
    }
    ports_.remove(config_ports, *this);
}

bool PciHost::attach(unsigned slot, PciFunction& function, unsigned number) {
    if (slot >= pci_slots || number >= pci_slot_functions) return false;
    const unsigned first = slot * pci_slot_functions;
    if (functions_[first + number] || (number && !functions_[first])) return false;
    functions_[first + number] = &function;
    if (number) {
        constexpr u32 multi_function = 0x80;
        PciFunction& f = *functions_[first];
        const base::MutexLock lock(f.mutex_);
        f.set_locked(pci_reg::header_type, f.get_locked(pci_reg::header_type, 1) | multi_function, 1);
        f.initial_[pci_reg::header_type] |= multi_function;
    }
    const base::MutexLock lock(function.mutex_);
    function.host_ = this;
    function.attached_ = true;
    if (function.msix_) function.msix_->connect(&msi_);
    if (const unsigned pin = function.config_[pci_reg::interrupt_pin]; pin) {
        const unsigned gsi = pci_gsi(slot, pin);
        if (auto& line = lines_[gsi - pci_first_gsi]) {
            inputs_.push_back(line->make_input());
            function.line_ = inputs_.back().get();
        }
    }
    return true;
}

bool PciHost::assign_resources(const std::array<u8, pci_pirqs>& legacy_irqs) {
    legacy_irqs_ = legacy_irqs;
    struct Wanted {
        PciFunction* function;
        unsigned devfn, index;
        BarKind kind;
        u64 size;
    };
    std::vector<Wanted> wanted;
    for (unsigned devfn = 0; devfn < functions_.size(); ++devfn) {
        PciFunction* f = functions_[devfn];
        if (!f) continue;
        const base::MutexLock lock(f->mutex_);
        if (const unsigned pin = f->config_[pci_reg::interrupt_pin]; pin)
            f->set_locked(pci_reg::interrupt_line, legacy_irqs[pci_pirq(devfn / pci_slot_functions, pin)], 1);
        for (unsigned i = 0; i < PciFunction::bar_count; ++i)
            if (f->bars_[i].size) wanted.push_back({f, devfn, i, f->bars_[i].kind, f->bars_[i].size});
    }
    // Largest first: every BAR is then aligned without gaps.
    std::ranges::sort(wanted, [](const Wanted& a, const Wanted& b) {
        return std::tuple(b.size, a.devfn, a.index) < std::tuple(a.size, b.devfn, b.index);
    });
    u64 mmio_next = pci_mmio_base, io_next = pci_io_base;
    bool all = true;
    for (const Wanted& w : wanted) {
        u64& next = w.kind == BarKind::io ? io_next : mmio_next;
        const u64 end = w.kind == BarKind::io ? pci_io_end : pci_mmio_end;
        const u64 at = base::align_up(next, w.size);
        if (at > end || w.size > end - at) {
            all = false;
            continue;
        }
        w.function->set_bar_address(w.index, at);
        next = at + w.size;
        const base::MutexLock lock(w.function->mutex_);
        const u32 enable = w.kind == BarKind::io ? pci_command::io : pci_command::memory;
        w.function->set_locked(pci_reg::command, w.function->get_locked(pci_reg::command, 2) | enable, 2);
    }
    update_mappings();
    return all;
}

void PciHost::reset() {
    address_ = 0;
    for (PciFunction* f : functions_)
        if (f) f->reset();
    assign_resources(legacy_irqs_);
}

void PciHost::update_mappings() {
    const base::MutexLock lock(mapping_mutex_);
    // All that must go goes first: a BAR may move to where another one was.
    for (const bool mapping : {false, true})
        for (PciFunction* f : functions_) {
            if (!f) continue;
            const base::MutexLock function_lock(f->mutex_);
            const u32 command = f->get_locked(pci_reg::command, 2);
            for (unsigned i = 0; i < PciFunction::bar_count; ++i) {
                auto& bar = f->bars_[i];
                if (!bar.size) continue;
                AddressMap& map = bar.kind == BarKind::io ? ports_ : mmio_;
                const u64 address = f->bar_address_locked(i);
                // Address 0 is where an unplaced BAR is.
                const bool wants =
                    (command & (bar.kind == BarKind::io ? pci_command::io : pci_command::memory)) && address;
                if (!mapping && bar.mapped && (!wants || bar.mapped_at != address)) {
                    update_doorbells(*f, i, false);
                    map.remove(bar.mapped_at, *bar.block);
                    bar.mapped = false;
                } else if (mapping && !bar.mapped && wants && map.add(address, bar.size, *bar.block)) {
                    // Where add() fails the range is taken: the BAR stays unmapped until a change
                    // of some BAR brings us here again.
                    bar.mapped = true;
                    bar.mapped_at = address;
                    update_doorbells(*f, i, true);
                }
            }
        }
}

void PciHost::update_doorbells(const PciFunction& f, unsigned bar, bool mapped) {
    for (const PciFunction::Doorbell& d : f.doorbells_) {
        if (!signals_ || d.bar != bar) continue;
        const u64 address = f.bars_[bar].mapped_at + d.offset;
        mapped ? signals_->add(address, d.size, d.eventfd) : signals_->remove(address, d.size, d.eventfd);
    }
}

PciFunction* PciHost::selected(u32 address) const {
    const bool bus0 = !(address & 0x00ff'0000);
    if (!(address & config_enable) || !bus0) return nullptr;
    return functions_[address >> 8 & 0xff];
}

u64 PciHost::read(u64 offset, unsigned size) {
    if (offset < 4) {
        if (offset == 0 && size == 4) return address_;
        if (offset == 1 && size == 1 && reset_port_) return reset_port_->read(0, 1);
        return base::low_mask(8 * size);
    }
    const u32 address = address_;
    PciFunction* f = selected(address);
    if (!f || size > 4) return base::low_mask(8 * size);
    return f->config_read((address & 0xfc) + (offset & 3), size);
}

void PciHost::write(u64 offset, u64 value, unsigned size) {
    if (offset < 4) {
        // Only doubleword writes reach CONFIG_ADDRESS (PCI Local Bus 3.0, 3.2.2.3.2). Bits 30:24
        // and 1:0 are reserved and read as zero.
        if (offset == 0 && size == 4) address_ = static_cast<u32>(value) & 0x80ff'fffc;
        if (offset == 1 && size == 1 && reset_port_) reset_port_->write(0, value & 0xff, 1);
        return;
    }
    const u32 address = address_;
    if (PciFunction* f = selected(address); f && size <= 4)
        f->config_write((address & 0xfc) + (offset & 3), static_cast<u32>(value), size);
}

}  // namespace triune::bus
