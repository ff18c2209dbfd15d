// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "boot/bzimage.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "boot/bytes.h"

namespace triune::boot {

namespace {
namespace h = setup_header;

constexpr u32 magic_hdrs = 0x53726448;  // "HdrS"
constexpr u8 loaded_high = 1;
constexpr u16 xlf_kernel_64 = 1;
constexpr u16 oldest_version = 0x020a;    // the first with pref_address and init_size
constexpr unsigned header_limit = 0x290;  // where boot_params go on with other things

}  // namespace

bool looks_like_bzimage(std::span<const u8> file) { return load<u32>(file, h::magic) == magic_hdrs; }

Result<BzImage> parse_bzimage(std::span<const u8> file, const std::string& name) {
    if (!looks_like_bzimage(file)) return fail(name + ": not a Linux kernel (no HdrS magic at 0x202)");
    if (load<u16>(file, h::boot_flag) != 0xaa55)
        return fail(name + ": not a Linux kernel (no boot flag 0xaa55 at 0x1fe)");
    BzImage image;
    image.version = load<u16>(file, h::version).value_or(0);
    if (image.version < oldest_version)
        return fail(fmt::format("{}: boot protocol {}.{:02} is too old (Linux 2.6.31 and later have 2.10)",
                                name, image.version >> 8, image.version & 0xff));
    const u64 header_end = std::min<u64>(h::magic + load<u8>(file, h::jump + 1).value_or(0), header_limit);
    if (header_end < h::init_size + 4) return fail(name + ": the kernel's setup header is too short");
    const auto header = part(file, h::start, header_end - h::start);
    if (!header) return fail(name + ": truncated (ends within the setup header)");
    image.header = *header;

    // From here on every fixed field lies within the header.
    const u64 sectors = file[h::setup_sects] ? file[h::setup_sects] : 4;
    const u64 payload_offset = (sectors + 1) * 512;
    if (payload_offset >= file.size())
        return fail(fmt::format("{}: truncated (the kernel begins at {:#x}, the file has {:#x} bytes)", name,
                                payload_offset, file.size()));
    image.payload = file.subspan(payload_offset);
    // The header tells the kernel's length in paragraphs, of which the last need not be whole (memtest86+'s
    // is not); a signature may follow it.
    constexpr u64 paragraph = 16;
    if (const u64 told = u64{*load<u32>(file, h::syssize)} * paragraph;
        image.payload.size() + paragraph <= told)
        return fail(fmt::format("{}: truncated (its kernel has {:#x} bytes, {:#x} are there)", name, told,
                                image.payload.size()));
    if (!(file[h::loadflags] & loaded_high))
        return fail(name + ": a zImage, which loads low; a bzImage is needed");

    image.relocatable = file[h::relocatable_kernel] != 0;
    image.alignment = *load<u32>(file, h::kernel_alignment);
    if (!std::has_single_bit(image.alignment)) {
        if (image.relocatable)
            return fail(
                fmt::format("{}: kernel alignment {:#x} is not a power of two", name, image.alignment));
        image.alignment = 4096;
    }
    image.pref_address = *load<u64>(file, h::pref_address);
    image.init_size = *load<u32>(file, h::init_size);
    if (image.payload.size() > 0xffff'ffff) return fail(name + ": larger than any kernel");
    image.init_size = std::max(image.init_size, static_cast<u32>(image.payload.size()));
    image.initrd_addr_max = *load<u32>(file, h::initrd_addr_max);
    image.cmdline_size = *load<u32>(file, h::cmdline_size);
    if (image.version >= 0x020c) image.entry64 = *load<u16>(file, h::xloadflags) & xlf_kernel_64;
    if (image.entry64 && image.payload.size() <= 0x200)
        return fail(name + ": truncated (no 64-bit entry point)");
    return image;
}

}  // namespace triune::boot
