// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>

#include "base/types.h"

namespace triune::hypervisor::soft::cpu {

/// The processor's view of its interrupt controller. Called on the vCPU's thread. The real one is
/// irqchip's; processor tests use a small one of their own.
class LocalApic {
public:
    virtual ~LocalApic() = default;

    /// IA32_APIC_BASE; a write that sets reserved bits or makes an illegal transition gives false (#GP).
    [[nodiscard]] virtual u64 apic_base() const = 0;
    virtual bool set_apic_base(u64 value) = 0;

    /// x2APIC MSRs 0x800-0x8ff and xAPIC registers (`offset` in the 4 KB page). nullopt/false: #GP.
    virtual std::optional<u64> read_x2apic(u32 msr) = 0;
    virtual bool write_x2apic(u32 msr, u64 value) = 0;
    virtual u32 read_mmio(u32 offset) = 0;
    virtual void write_mmio(u32 offset, u32 value) = 0;

    [[nodiscard]] virtual u64 cr8() const = 0;
    virtual void set_cr8(u64 value) = 0;
    [[nodiscard]] virtual u64 tsc_deadline() const = 0;
    virtual void set_tsc_deadline(u64 guest_tsc) = 0;

    /// An interrupt could be delivered now if RFLAGS.IF allows: from the local APIC (above PPR) or,
    /// on the boot processor, from the PIC through LINT0/ExtINT.
    [[nodiscard]] virtual bool has_interrupt() = 0;
    /// Takes it: its vector, or -1 if it is gone.
    virtual int acknowledge() = 0;
    /// The processor's FERR# pin, which follows unmasked x87 exceptions while CR0.NE is 0 and which a PC
    /// wires to IRQ 13 (Intel SDM 1 8.7.2). Gives IGNNE#: true when the exception is to be ignored.
    virtual bool ferr([[maybe_unused]] bool error) { return true; }
    /// INIT (`init`) or power-on reset.
    virtual void reset(bool init) = 0;
};

}  // namespace triune::hypervisor::soft::cpu
