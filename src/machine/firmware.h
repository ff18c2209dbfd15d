// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <expected>
#include <memory>
#include <vector>

#include "bus/bus.h"
#include "device/chipset.h"
#include "machine/processors.h"
#include "memory/guest_memory.h"
#include "triune/vm.h"

namespace triune::machine {

inline constexpr u64 smallest_firmware = 64 << 10, largest_firmware = 16 << 20;

/// The bytes of a ROM image: 64 KB to 16 MB, whole 64 KB.
std::expected<std::vector<u8>, VmError> read_firmware(const std::string& path);

/// A machine that starts in `rom`: RAM from 0 to 0xa0000, from 1 MB and from 4 GB; the ROM so that it ends
/// at 4 GB; and the area from 0xc0000 to 1 MB, in the pieces that the chipset switches. The ROM's bytes lie
/// in the memfd behind `ram_bytes`.
std::expected<std::unique_ptr<memory::GuestMemory>, VmError> make_firmware_memory(u64 ram_bytes,
                                                                                  const std::vector<u8>& rom);

/// The area from 0xc0000 to 1 MB, where the last 128 KB of the ROM can be seen, or RAM that shadows it
/// (82441FX datasheet 3.2.18). It claims the area's MMIO: what reads or writes there reaches no memory.
///
/// Threads: set() on a vCPU's thread, from a device; the switch itself happens while all vCPUs are
/// paused, soon, and before the next instructions of the vCPU that asked for it.
class ShadowRam final : public bus::RegisterBlock {
public:
    ShadowRam(memory::GuestMemory& memory, u64 ram_bytes, u64 rom_bytes, bus::AddressMap& mmio);
    ~ShadowRam() override;
    void set(Processors& processors, const device::PamSegment& segment);

    u64 read(u64, unsigned) override { return ~u64{0}; }
    void write(u64 offset, u64 value, unsigned size) override;

private:
    void show(const device::PamSegment& segment);

    memory::GuestMemory& memory_;
    bus::AddressMap& mmio_;
    u8* const base_;  ///< of the memfd's mapping: RAM below 1 MB lies at its guest-physical address
    const u64 ram_bytes_, rom_bytes_;
    std::array<std::atomic<bool>, device::pam_segments> writes_hidden_ram_{};
};

}  // namespace triune::machine
