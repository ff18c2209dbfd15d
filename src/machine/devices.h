// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <expected>
#include <functional>
#include <memory>

#include "device/chipset.h"
#include "machine/backends.h"
#include "machine/wiring.h"
#include "memory/guest_memory.h"

namespace triune::machine {

/// What devices pass on from the guest. Called on vCPU threads.
struct GuestRequests {
    std::function<void()> power_off, reset;
    std::function<void(u32 value)> debug_exit;
    /// The chipset switches what the BIOS area shows. Empty: it is RAM.
    std::function<void(unsigned index, const device::PamSegment&)> shadow;
};

/// All devices of one boot, plugged in.
class Devices {
public:
    virtual ~Devices() = default;
};

std::expected<std::unique_ptr<Devices>, VmError> make_devices(
    const VmDefinition& definition, Backends& backends, memory::GuestMemory& memory, MappedIo& io,
    hypervisor::Vm& vm, base::EventLoop& loop, const GuestRequests& requests, const Trace& trace);

}  // namespace triune::machine
