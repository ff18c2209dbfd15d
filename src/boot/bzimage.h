// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>

#include "base/result.h"
#include "base/types.h"

namespace triune::boot {

/// What a bzImage's setup header says (Linux Documentation/arch/x86/boot.rst), checked for being
/// consistent with the file; that it fits the guest is the loader's business.
struct BzImage {
    u16 version = 0;              ///< 0x020f = 2.15
    std::span<const u8> header;   ///< from offset 0x1f1: what boot_params begin with there
    std::span<const u8> payload;  ///< the protected-mode kernel
    u64 pref_address = 0;         ///< where it prefers to run
    u32 alignment = 0;            ///< of the load address, a power of two
    u32 init_size = 0;            ///< bytes it needs from its load address on, at least the payload's
    u64 initrd_addr_max = 0;      ///< highest address that the initrd may use
    u32 cmdline_size = 0;         ///< longest command line, without the terminating zero
    bool relocatable = false;
    bool entry64 = false;  ///< has a 64-bit entry point at payload offset 0x200
};

/// Offsets in the setup header, the same in the file and in boot_params.
namespace setup_header {
inline constexpr unsigned start = 0x1f1, setup_sects = 0x1f1, syssize = 0x1f4, boot_flag = 0x1fe,
                          jump = 0x200, magic = 0x202, version = 0x206, type_of_loader = 0x210,
                          loadflags = 0x211, ramdisk_image = 0x218, ramdisk_size = 0x21c,
                          cmd_line_ptr = 0x228, initrd_addr_max = 0x22c, kernel_alignment = 0x230,
                          relocatable_kernel = 0x234, xloadflags = 0x236, cmdline_size = 0x238,
                          setup_data = 0x250, pref_address = 0x258, init_size = 0x260;
}

/// True when `file` carries the marks of a Linux boot image, damaged or not.
bool looks_like_bzimage(std::span<const u8> file);
/// `name` starts the message of an error. The result points into `file`.
Result<BzImage> parse_bzimage(std::span<const u8> file, const std::string& name);

}  // namespace triune::boot
