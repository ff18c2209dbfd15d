// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "hypervisor/soft/io_events.h"
#include "hypervisor/soft/irqchip/chip_io.h"

namespace triune::hypervisor::soft {

/// One vCPU's way to devices: the interrupt chip's ports and register pages are taken out, the
/// rest goes on to the VM's Io, unless the write is an event's.
class VcpuIo final : public Io {
public:
    VcpuIo(irqchip::IrqChip& chip, unsigned vcpu, const IoEvents& events, Io& next, observe::TimeLedger& time)
        : chip_(chip, vcpu), events_(events), next_(next), time_(time) {}

    u32 port_read(u16 port, unsigned size) override;
    void port_write(u16 port, u32 value, unsigned size) override;
    u64 mmio_read(Gpa gpa, unsigned size) override;
    void mmio_write(Gpa gpa, u64 value, unsigned size) override;

private:
    irqchip::ChipIo chip_;
    IoEvents::View events_;
    Io& next_;
    observe::TimeLedger& time_;
};

}  // namespace triune::hypervisor::soft
