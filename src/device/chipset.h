// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <vector>

#include "base/mutex.h"
#include "bus/pci.h"
#include "device/byte_registers.h"

namespace triune::device {

/// What accesses to a segment of the BIOS area reach (82441FX datasheet 3.2.18): RAM, or else the bus,
/// where the ROM is.
struct PamSegment {
    Gpa gpa = 0;
    u64 size = 0;
    bool read_ram = false, write_ram = false;
};
/// Twelve of 16 KB from 0xc0000 upwards, then one of 64 KB.
inline constexpr unsigned pam_segments = 13;

/// 82441FX host bridge (i440FX PMC). Guests look for a host bridge before they believe in
/// configuration mechanism #1, and firmware copies itself into RAM through its PAM registers.
class HostBridge final : public bus::PciFunction {
public:
    /// `changed` is called, on a vCPU's thread, for every segment that a write to the registers changed.
    /// Without it the area is RAM at all times, and the registers, which say so, just stick.
    explicit HostBridge(std::function<void(unsigned index, const PamSegment&)> changed = nullptr);

    /// As the registers stand.
    [[nodiscard]] PamSegment segment(unsigned index) const;

private:
    void after_config_write(unsigned offset, unsigned size) override;
    void on_reset() override { tell(); }
    void tell();

    std::function<void(unsigned, const PamSegment&)> changed_;
    base::Mutex mutex_;  // also orders the calls of changed_
    std::array<u8, pam_segments> known_ GUARDED_BY(mutex_){};
};

/// 82371SB (PIIX3) PCI-to-ISA bridge, function 0: what the ISA devices hang on in the ACPI namespace, and the
/// router that brings PCI's interrupts to the 8259A pair (PIIX3 datasheet 2.2.10) for software that does not
/// use the IOAPIC.
///
/// Threads: set_pirq() on any, with locks of PCI devices held.
class IsaBridge final : public bus::PciFunction {
public:
    using Routes = std::array<u8, bus::pci_pirqs>;
    static constexpr u8 not_routed = 0x80;
    /// `irqs`: the 8259A pair's inputs by number, each null or there for as long as the bridge.
    explicit IsaBridge(std::vector<bus::IrqLine*> irqs = {},
                       const Routes& routes = {not_routed, not_routed, not_routed, not_routed});
    /// Level of one of the wires that are one PIRQ: those with the same remainder.
    void set_pirq(unsigned wire, bool level);

private:
    void after_config_write(unsigned offset, unsigned size) override;
    void on_reset() override { route(); }
    void route();
    void drive_locked() REQUIRES(mutex_);

    const std::vector<bus::IrqLine*> irqs_;
    base::Mutex mutex_;
    Routes routes_ GUARDED_BY(mutex_);
    u32 wires_ GUARDED_BY(mutex_) = 0;
    u32 driven_ GUARDED_BY(mutex_) = 0;  ///< bit per IRQ
};

/// 82371AB (PIIX4) power management, function 3: says where in the port space the ACPI registers are (PIIX4
/// datasheet 7.1). Nowhere after a reset: firmware places them. Without firmware they are at
/// bus::pc::pm_ports from the start, as the ACPI tables say.
class Piix4Pm final : public bus::PciFunction {
public:
    /// The references outlive it.
    Piix4Pm(bus::AddressMap& ports, bus::RegisterBlock& registers, bool placed);
    ~Piix4Pm() override;
    /// Where the registers are, 0 for nowhere.
    [[nodiscard]] u16 place() const;

private:
    void after_config_write(unsigned offset, unsigned size) override;
    void on_reset() override { map(); }
    void map();

    bus::AddressMap& ports_;
    bus::RegisterBlock& registers_;
    base::Mutex mutex_;
    u16 mapped_ GUARDED_BY(mutex_) = 0;  ///< 0: nowhere
};

/// Reset Control Register, port 0xcf9 (PIIX3 datasheet 2.5.5): a rising edge of bit 2 resets.
/// `reset` is called on the vCPU's thread.
class ResetControl final : public ByteRegisters {
public:
    explicit ResetControl(std::function<void()> reset) : reset_(std::move(reset)) {}
    void clear() { value_ = 0; }

private:
    u8 read8(u64 offset) override;
    void write8(u64 offset, u8 value) override;
    std::function<void()> reset_;
    std::atomic<u8> value_{0};
};

/// Port 0x64 without a keyboard controller behind it: reads give all ones, as nobody answers, but
/// the command that pulses the processor's reset line works, for guests that reset this way
/// without looking.
class KeyboardReset final : public ByteRegisters {
public:
    explicit KeyboardReset(std::function<void()> reset) : reset_(std::move(reset)) {}

private:
    u8 read8(u64 offset) override;
    void write8(u64 offset, u8 value) override;
    std::function<void()> reset_;
};

/// Port 0x80: takes POST codes, and the writes that guests do to let time pass.
class PostPort final : public ByteRegisters {
public:
    [[nodiscard]] u8 last() const { return value_; }

private:
    u8 read8(u64 offset) override;
    void write8(u64 offset, u8 value) override;
    std::atomic<u8> value_{0};
};

}  // namespace triune::device
