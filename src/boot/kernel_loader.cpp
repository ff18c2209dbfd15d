// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "boot/kernel_loader.h"

#include "boot/bzimage.h"
#include "boot/elf_image.h"
#include "boot/file.h"
#include "boot/flat_loader.h"
#include "boot/linux_loader.h"
#include "boot/multiboot_loader.h"

namespace triune::boot {

Result<x86::VcpuState> load_kernel_image(memory::GuestMemory& memory, const BootConfig& config,
                                         std::span<const u8> kernel) {
    if (config.flat) return load_flat(memory, config, *config.flat, kernel);
    if (!looks_like_bzimage(kernel)) {
        const auto header = find_multiboot_header(kernel, config.kernel);
        if (!header) return std::unexpected(header.error());
        if (*header) return load_multiboot(memory, config, **header, kernel);
        if (!looks_like_elf(kernel) && has_damaged_multiboot_header(kernel))
            return fail(config.kernel + ": the multiboot header is damaged (its checksum is wrong)");
    }
    if (!config.cmdline.empty()) return load_linux_image(memory, config, kernel);
    BootConfig with_console = config;
    with_console.cmdline = "console=ttyS0";
    return load_linux_image(memory, with_console, kernel);
}

Result<x86::VcpuState> load_kernel(memory::GuestMemory& memory, const BootConfig& config) {
    const auto file = read_file(config.kernel, memory.bytes());
    if (!file) return std::unexpected(file.error());
    return load_kernel_image(memory, config, *file);
}

}  // namespace triune::boot
