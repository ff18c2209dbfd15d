// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/irqchip/chip_io.h"

#include "base/bits.h"

namespace triune::hypervisor::soft::irqchip {
namespace {

/// The part of 32-bit register `value` that an access of `size` bytes at `offset` sees; bytes past
/// the register are zero.
u64 part_of(u32 value, u64 offset, unsigned size) {
    return (u64{value} >> (offset & 3) * 8) & base::low_mask(size * 8);
}

}  // namespace

// The chip's registers are bytes: a wider access is several (an ISA bus splits it likewise).
u32 ChipIo::port_read(u16 port, unsigned size, Io& next) {
    u32 value = 0;
    for (unsigned i = 0; i < size; ++i) {
        const u16 p = static_cast<u16>(port + i);
        const u32 byte = IrqChip::owns_port(p) ? chip_.port_read(p) : next.port_read(p, 1) & 0xff;
        value |= byte << i * 8;
    }
    return value;
}

void ChipIo::port_write(u16 port, u32 value, unsigned size, Io& next) {
    for (unsigned i = 0; i < size; ++i) {
        const u16 p = static_cast<u16>(port + i);
        const u8 byte = static_cast<u8>(value >> i * 8);
        if (IrqChip::owns_port(p))
            chip_.port_write(p, byte);
        else
            next.port_write(p, byte, 1);
    }
}

u64 ChipIo::mmio_read(Gpa gpa, unsigned size) {
    // Registers lie 16 bytes apart; what is between them reads as zero (Intel SDM 3A 11.4.1).
    if (in_apic_page(gpa)) {
        const u32 offset = static_cast<u32>(gpa & page_mask);
        return offset & 12 ? 0 : part_of(apic_.read_mmio(offset & ~3u), offset, size);
    }
    const u64 offset = gpa - IrqChip::ioapic_base;
    return part_of(chip_.ioapic().read(offset & ~u64{3}), offset, size);
}

void ChipIo::mmio_write(Gpa gpa, u64 value, unsigned size) {
    if (in_apic_page(gpa)) {
        const u32 offset = static_cast<u32>(gpa & page_mask);
        if (size >= 4 && !(offset & 15)) apic_.write_mmio(offset, static_cast<u32>(value));
        return;
    }
    const u64 offset = gpa - IrqChip::ioapic_base;
    if (!(offset & 3)) chip_.ioapic().write(offset, static_cast<u32>(value & base::low_mask(size * 8)));
}

}  // namespace triune::hypervisor::soft::irqchip
