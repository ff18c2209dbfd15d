// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "machine/ram.h"

#include <fmt/format.h>
#include <sys/sysinfo.h>

#include "boot/layout.h"

namespace triune::machine {

std::expected<void, VmError> check_ram(u64 bytes, u64 host_bytes) {
    const auto refuse = [](std::string message) {
        return std::unexpected(VmError{std::move(message), true});
    };
    if (bytes < smallest_ram)
        return refuse(
            fmt::format("memory of {}K is too small: give the guest {}M or more (Linux wants some 128M)",
                        bytes >> 10, smallest_ram >> 20));
    if (bytes > largest_ram)
        return refuse(fmt::format("memory of {}G is too large: a guest can address {}G", bytes >> 30,
                                  largest_ram >> 30));
    if (bytes % page_size != 0)
        return refuse(fmt::format("memory of {} bytes is not a multiple of 4K", bytes));
    if (bytes > host_bytes)
        return refuse(fmt::format("memory of {}M is too large: this host has {}M, swap included", bytes >> 20,
                                  host_bytes >> 20));
    return {};
}

u64 host_ram() {
    struct sysinfo info{};
    if (sysinfo(&info) != 0) return largest_ram;
    return (static_cast<u64>(info.totalram) + info.totalswap) * info.mem_unit;
}

std::expected<std::unique_ptr<memory::GuestMemory>, VmError> make_ram(u64 bytes) {
    auto ram = memory::GuestMemory::create(bytes);
    if (!ram) return std::unexpected(VmError{ram.error().message});
    if (const auto placed = boot::place_ram(**ram); !placed)
        return std::unexpected(VmError{placed.error().message});
    return std::move(*ram);
}

}  // namespace triune::machine
