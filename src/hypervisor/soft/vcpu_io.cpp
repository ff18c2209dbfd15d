// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/vcpu_io.h"

namespace triune::hypervisor::soft {

using irqchip::ChipIo;

u32 VcpuIo::port_read(u16 port, unsigned size) {
    const observe::TimedScope timed(time_, observe::Activity::devices);
    if (!ChipIo::owns_port(port, size)) [[likely]]
        return next_.port_read(port, size);
    return chip_.port_read(port, size, next_);
}

void VcpuIo::port_write(u16 port, u32 value, unsigned size) {
    const observe::TimedScope timed(time_, observe::Activity::devices);
    if (ChipIo::owns_port(port, size)) return chip_.port_write(port, value, size, next_);
    if (!events_.write(IoEvent::Space::port, port, value, size)) next_.port_write(port, value, size);
}

u64 VcpuIo::mmio_read(Gpa gpa, unsigned size) {
    const observe::TimedScope timed(time_, observe::Activity::devices);
    return chip_.owns_mmio(gpa) ? chip_.mmio_read(gpa, size) : next_.mmio_read(gpa, size);
}

void VcpuIo::mmio_write(Gpa gpa, u64 value, unsigned size) {
    const observe::TimedScope timed(time_, observe::Activity::devices);
    if (chip_.owns_mmio(gpa)) return chip_.mmio_write(gpa, value, size);
    if (!events_.write(IoEvent::Space::mmio, gpa, value, size)) next_.mmio_write(gpa, value, size);
}

}  // namespace triune::hypervisor::soft
