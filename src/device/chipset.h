// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <functional>

#include "bus/pci.h"
#include "device/byte_registers.h"

namespace triune::device {

/// 82441FX host bridge (i440FX PMC). Guests look for a host bridge before they believe in
/// configuration mechanism #1.
class HostBridge final : public bus::PciFunction {
public:
    HostBridge();
};

/// 82371SB (PIIX3) PCI-to-ISA bridge, function 0: what the ISA devices hang on in the ACPI
/// namespace.
class IsaBridge final : public bus::PciFunction {
public:
    IsaBridge();
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
