// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <bit>
#include <cassert>

#include "base/bits.h"
#include "bus/pci.h"

namespace triune::bus {

namespace {
constexpr u16 status_interrupt = 1 << 3, status_capabilities = 1 << 4;
constexpr u16 msix_enable = 1 << 15, msix_function_mask = 1 << 14;
constexpr unsigned bar_offset(unsigned index) { return pci_reg::bar0 + 4 * index; }
constexpr bool overlaps(unsigned offset, unsigned size, unsigned first, unsigned last) {
    return offset <= last && offset + size > first;
}
}  // namespace

PciFunction::PciFunction(const PciIds& ids) {
    set_locked(pci_reg::vendor, ids.vendor, 2);
    set_locked(pci_reg::device, ids.device, 2);
    set_locked(pci_reg::revision, ids.revision | ids.class_code << 8, 4);
    set_locked(pci_reg::subsystem_vendor, ids.subsystem_vendor, 2);
    set_locked(pci_reg::subsystem, ids.subsystem, 2);
    make_writable(pci_reg::command, pci_command::io | pci_command::memory | pci_command::bus_master, 2);
    make_writable(0x0c, 0xff, 1);  // cache line size: kept for the guest, no effect
    make_writable(pci_reg::interrupt_line, 0xff, 1);
    if (ids.uses_intx) {
        set_locked(pci_reg::interrupt_pin, 1, 1);
        make_writable(
            pci_reg::command,
            pci_command::io | pci_command::memory | pci_command::bus_master | pci_command::intx_disable, 2);
    }
    initial_ = config_;
}

PciFunction::~PciFunction() = default;

u32 PciFunction::get_locked(unsigned offset, unsigned size) const {
    u32 v = 0;
    for (unsigned i = 0; i < size && offset + i < config_.size(); ++i)
        v |= u32{config_[offset + i]} << (8 * i);
    return v;
}

void PciFunction::set_locked(unsigned offset, u32 value, unsigned size) {
    for (unsigned i = 0; i < size && offset + i < config_.size(); ++i)
        config_[offset + i] = static_cast<u8>(value >> (8 * i));
}

u32 PciFunction::config_get(unsigned offset, unsigned size) const {
    const base::MutexLock lock(mutex_);
    return get_locked(offset, size);
}

void PciFunction::config_set(unsigned offset, u32 value, unsigned size) {
    const base::MutexLock lock(mutex_);
    set_locked(offset, value, size);
    if (!attached_) initial_ = config_;
}

void PciFunction::make_writable(unsigned offset, u32 mask, unsigned size) {
    for (unsigned i = 0; i < size && offset + i < config_.size(); ++i)
        write_mask_[offset + i] = static_cast<u8>(mask >> (8 * i));
}

void PciFunction::add_bar(unsigned index, BarKind kind, u64 size, RegisterBlock& block) {
    assert(index + (kind == BarKind::memory64) < bar_count && std::has_single_bit(size));
    assert(kind == BarKind::io ? size >= 4 && size <= 256 : size >= 16);
    assert(kind == BarKind::memory64 || size <= u64{1} << 31);
    const base::MutexLock lock(mutex_);
    bars_[index] = {.kind = kind, .size = size, .block = &block};
    const u64 mask = ~(size - 1);
    switch (kind) {
        case BarKind::io:
            set_locked(bar_offset(index), 1, 4);
            // Only 16 address bits exist on the I/O side of a PC.
            make_writable(bar_offset(index), static_cast<u32>(mask & 0xffff), 4);
            break;
        case BarKind::memory32: make_writable(bar_offset(index), static_cast<u32>(mask), 4); break;
        case BarKind::memory64:
            set_locked(bar_offset(index), 4, 4);
            make_writable(bar_offset(index), static_cast<u32>(mask), 4);
            make_writable(bar_offset(index) + 4, static_cast<u32>(mask >> 32), 4);
            break;
    }
    initial_ = config_;
}

unsigned PciFunction::add_capability(u8 id, std::span<const u8> body) {
    const unsigned at = next_capability_;
    const auto length = static_cast<unsigned>(base::align_up(2 + body.size(), 4));
    assert(at + length <= config_.size());
    config_[at] = id;
    std::ranges::copy(body, config_.begin() + at + 2);
    // New capabilities go to the end of the list, so that guests find them in the order given.
    config_[last_capability_ ? last_capability_ + 1 : pci_reg::capabilities] = static_cast<u8>(at);
    config_[pci_reg::status] |= status_capabilities;
    last_capability_ = at;
    next_capability_ = at + length;
    initial_ = config_;
    return at;
}

void PciFunction::add_msix(unsigned bar, unsigned vectors) {
    assert(!msix_);
    msix_ = std::make_unique<Msix>(vectors);
    add_bar(bar, BarKind::memory32, msix_->bar_size(), *msix_);
    std::array<u8, 10> body{};
    const auto put = [&](unsigned at, u32 v, unsigned n) {
        for (unsigned i = 0; i < n; ++i) body[at + i] = static_cast<u8>(v >> (8 * i));
    };
    put(0, msix_->vectors() - 1, 2);
    put(2, bar, 4);
    put(6, msix_->pba_offset() | bar, 4);
    msix_offset_ = add_capability(pci_cap::msix, body);
    make_writable(msix_offset_ + 2, msix_enable | msix_function_mask, 2);
}

u32 PciFunction::config_read(unsigned offset, unsigned size) {
    if (offset >= config_.size()) return static_cast<u32>(base::low_mask(8 * size));
    before_config_read(offset, size);
    const base::MutexLock lock(mutex_);
    return get_locked(offset, size);
}

void PciFunction::config_write(unsigned offset, u32 value, unsigned size) {
    if (offset >= config_.size()) return;
    {
        const base::MutexLock lock(mutex_);
        for (unsigned i = 0; i < size && offset + i < config_.size(); ++i) {
            const u8 mask = write_mask_[offset + i];
            u8& byte = config_[offset + i];
            byte = static_cast<u8>((byte & ~mask) | (value >> (8 * i) & mask));
        }
    }
    const bool command = overlaps(offset, size, pci_reg::command, pci_reg::command + 1);
    if (msix_offset_ && (command || overlaps(offset, size, msix_offset_ + 2, msix_offset_ + 3)))
        update_msix();
    if (command) {
        const base::MutexLock lock(mutex_);
        update_intx_locked();
    }
    if (host_ && (command || overlaps(offset, size, pci_reg::bar0, bar_offset(bar_count) - 1)))
        host_->update_mappings();
    after_config_write(offset, size);
}

void PciFunction::reset() {
    {
        const base::MutexLock lock(mutex_);
        config_ = initial_;
        intx_level_ = false;
        update_intx_locked();
    }
    if (msix_) msix_->reset();
    if (host_) host_->update_mappings();
    on_reset();
}

u64 PciFunction::bar_address_locked(unsigned index) const {
    const Bar& bar = bars_[index];
    const u64 low = get_locked(bar_offset(index), 4);
    if (bar.kind == BarKind::io) return low & ~u64{3};
    const u64 high = bar.kind == BarKind::memory64 ? get_locked(bar_offset(index) + 4, 4) : 0;
    return (low & ~u64{15}) | high << 32;
}

void PciFunction::set_bar_address(unsigned index, u64 address) {
    const base::MutexLock lock(mutex_);
    const u32 flags = get_locked(bar_offset(index), 4) & (bars_[index].kind == BarKind::io ? 3 : 15);
    set_locked(bar_offset(index), static_cast<u32>(address) | flags, 4);
    if (bars_[index].kind == BarKind::memory64)
        set_locked(bar_offset(index) + 4, static_cast<u32>(address >> 32), 4);
}

u64 PciFunction::mapped_bar(unsigned index) const {
    const base::MutexLock lock(mutex_);
    return index < bar_count && bars_[index].mapped ? bars_[index].mapped_at : 0;
}

bool PciFunction::msix_enabled() const {
    return msix_offset_ && (config_get(msix_offset_ + 2, 2) & msix_enable);
}

bool PciFunction::bus_master() const { return config_get(pci_reg::command, 2) & pci_command::bus_master; }

void PciFunction::set_intx(bool level) {
    const base::MutexLock lock(mutex_);
    intx_level_ = level;
    update_intx_locked();
}

void PciFunction::update_intx_locked() {
    // Interrupt Status shows the level whatever Interrupt Disable says (PCI Local Bus 3.0, 6.2.3).
    const u32 status = get_locked(pci_reg::status, 2);
    set_locked(pci_reg::status, intx_level_ ? status | status_interrupt : status & ~u32{status_interrupt}, 2);
    const bool allowed = !(get_locked(pci_reg::command, 2) & pci_command::intx_disable) &&
                         !(msix_offset_ && (get_locked(msix_offset_ + 2, 2) & msix_enable));
    const bool drive = intx_level_ && allowed && config_[pci_reg::interrupt_pin];
    if (drive == intx_driven_) return;
    intx_driven_ = drive;
    if (line_) line_->set(drive);
}

void PciFunction::update_msix() {
    // Configured with the lock held, so that two vCPUs writing at once cannot leave the older
    // setting behind.
    const base::MutexLock lock(mutex_);
    const u32 control = get_locked(msix_offset_ + 2, 2);
    const bool master = get_locked(pci_reg::command, 2) & pci_command::bus_master;
    msix_->configure(control & msix_enable, control & msix_function_mask, master);
    update_intx_locked();
}

}  // namespace triune::bus
