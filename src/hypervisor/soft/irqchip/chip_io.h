// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "hypervisor/soft/irqchip/irqchip.h"

namespace triune::hypervisor::soft::irqchip {

/// One vCPU's accesses to the chip's ports and register pages. On its thread.
class ChipIo {
public:
    ChipIo(IrqChip& chip, unsigned vcpu) : chip_(chip), apic_(chip.apic(vcpu)) {}

    /// Any byte of the access belongs to the chip. What does not goes to `next`.
    [[nodiscard]] static bool owns_port(u16 port, unsigned size) {
        for (unsigned i = 0; i < size; ++i)
            if (IrqChip::owns_port(static_cast<u16>(port + i))) return true;
        return false;
    }
    u32 port_read(u16 port, unsigned size, Io& next);
    void port_write(u16 port, u32 value, unsigned size, Io& next);

    [[nodiscard]] bool owns_mmio(Gpa gpa) const { return in_apic_page(gpa) || IrqChip::owns_mmio(gpa); }
    u64 mmio_read(Gpa gpa, unsigned size);
    void mmio_write(Gpa gpa, u64 value, unsigned size);

private:
    [[nodiscard]] bool in_apic_page(Gpa gpa) const {
        return apic_.mmio_enabled() && (gpa & ~page_mask) == (apic_.apic_base() & ~page_mask);
    }

    IrqChip& chip_;
    Lapic& apic_;
};

}  // namespace triune::hypervisor::soft::irqchip
