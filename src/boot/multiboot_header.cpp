// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "boot/multiboot_header.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>

#include "base/bits.h"
#include "boot/bytes.h"

namespace triune::boot {

namespace {

using Header = MultibootHeader;
using Found = Result<std::optional<Header>>;

// The header lies wholly in the first bytes of the file, and is aligned.
constexpr u32 magic1 = 0x1bad'b002, magic2 = 0xe852'50d6;
constexpr u64 search1 = 8192, align1 = 4, search2 = 32768, align2 = 8;

/// A header's place: with the right checksum, or the first with a wrong one.
struct Place {
    std::optional<u64> sound, damaged;
};

Place find(std::span<const u8> file, u32 magic, u64 search, u64 step, unsigned words) {
    Place place;
    const auto head = file.first(std::min<u64>(file.size(), search));
    for (u64 at = 0; at + 4 * u64{words} <= head.size(); at += step) {
        if (*load<u32>(head, at) != magic) continue;
        u32 sum = 0;
        for (unsigned i = 0; i < words; ++i) sum += *load<u32>(head, at + 4 * i);
        if (sum == 0) {
            place.sound = at;
            return place;
        }
        if (!place.damaged) place.damaged = at;
    }
    return place;
}

Place find1(std::span<const u8> file) { return find(file, magic1, search1, align1, 3); }
Place find2(std::span<const u8> file) { return find(file, magic2, search2, align2, 4); }

/// Both versions have the same four address fields.
struct AddressFields {
    u32 header = 0, load = 0, load_end = 0, bss_end = 0;
};

Result<Header::Addresses> resolve(const AddressFields& a, u64 offset, u64 file_size,
                                  const std::string& name) {
    Header::Addresses r;
    r.load = a.load;
    constexpr u32 from_start = ~u32{0};  // version 2: load the file from its first byte on
    if (a.load == from_start) {
        if (a.header < offset)
            return fail(name + ": multiboot header: header_addr leaves no room for what precedes it");
        r.load = a.header - offset;
    } else {
        if (a.load > a.header || a.header - a.load > offset)
            return fail(
                fmt::format("{}: multiboot header: load_addr {:#x} does not agree with header_addr {:#x}",
                            name, a.load, a.header));
        r.file_offset = offset - (a.header - a.load);
    }
    r.file_size = file_size - r.file_offset;
    if (a.load_end != 0) {
        if (a.load_end < r.load)
            return fail(name + ": multiboot header: load_end_addr lies before load_addr");
        if (a.load_end - r.load > r.file_size)
            return fail(fmt::format("{}: truncated (load_end_addr {:#x} lies beyond the end of the file)",
                                    name, a.load_end));
        r.file_size = a.load_end - r.load;
    }
    r.memory_size = r.file_size;
    if (a.bss_end != 0) {
        if (a.bss_end < r.load || a.bss_end - r.load < r.file_size)
            return fail(name + ": multiboot header: bss_end_addr lies before the end of what is loaded");
        r.memory_size = a.bss_end - r.load;
    }
    if (r.memory_size == 0) return fail(name + ": multiboot header: there is nothing to load");
    return r;
}

Found parse1(std::span<const u8> file, u64 at, const std::string& name) {
    constexpr u32 page_align = 1 << 0, memory_info = 1 << 1, video_mode = 1 << 2, has_addresses = 1 << 16;
    constexpr u32 required = 0xffff;
    const u32 flags = *load<u32>(file, at + 4);
    if (flags & video_mode)
        return fail(name +
                    ": the multiboot header requires a video mode (flag 2), but this machine has no display");
    if (const u32 unknown = flags & required & ~(page_align | memory_info))
        return fail(fmt::format(
            "{}: the multiboot header requires features that no loader knows (flags {:#x})", name, unknown));
    Header h{.version = 1, .offset = at};
    if (flags & has_addresses) {
        struct Fields {
            AddressFields addresses;
            u32 entry;
        };
        const auto f = load<Fields>(file, at + 12);
        if (!f) return fail(name + ": truncated (ends within the multiboot header)");
        const auto addresses = resolve(f->addresses, at, file.size(), name);
        if (!addresses) return std::unexpected(addresses.error());
        h.addresses = *addresses;
        h.entry = f->entry;
    }
    return h;
}

/// Information that this loader gives, by the tag's type (Multiboot2 3.6).
bool can_supply(u32 type) {
    // Command line, loader's name, modules, memory, memory map, ELF sections, RSDP old and new, load base.
    constexpr std::array<u32, 9> supplied = {1, 2, 3, 4, 6, 9, 14, 15, 21};
    return std::ranges::find(supplied, type) != supplied.end();
}

namespace tag {
constexpr u16 end = 0, information = 1, address = 2, entry = 3, console = 4, framebuffer = 5,
              align_modules = 6, efi_boot_services = 7, efi32_entry = 8, efi64_entry = 9, relocatable = 10;
constexpr u16 optional = 1;
}  // namespace tag

Result<Header::Relocation> parse_relocation(std::span<const u8> body, const std::string& name) {
    struct Fields {
        u32 lowest, highest, alignment, preference;
    };
    const auto f = load<Fields>(body, 0);
    if (!f) return fail(name + ": multiboot2 header: the relocatable tag is too short");
    constexpr u32 highest = 2;
    if (!std::has_single_bit(f->alignment) || f->lowest > f->highest || f->preference > highest)
        return fail(name + ": multiboot2 header: the relocatable tag makes no sense");
    return Header::Relocation{f->lowest, f->highest, f->alignment, f->preference == highest};
}

/// One tag of a version 2 header. `body`: what follows the tag's type, flags and size.
Result<void> parse_tag(Header& h, u16 type, bool optional, std::span<const u8> body, u64 file_size,
                       const std::string& name) {
    const auto too_short = [&] {
        return fail(fmt::format("{}: multiboot2 header: the tag of type {} is too short", name, type));
    };
    switch (type) {
        case tag::information:
            for (u64 i = 0; const auto wanted = load<u32>(body, i); i += 4)
                if (!optional && !can_supply(*wanted))
                    return fail(
                        fmt::format("{}: the multiboot2 header requires information of type {}, which this "
                                    "machine does not have",
                                    name, *wanted));
            return {};
        case tag::address: {
            const auto fields = load<AddressFields>(body, 0);
            if (!fields) return too_short();
            const auto addresses = resolve(*fields, h.offset, file_size, name);
            if (!addresses) return std::unexpected(addresses.error());
            h.addresses = *addresses;
            return {};
        }
        case tag::entry: {
            const auto entry = load<u32>(body, 0);
            if (!entry) return too_short();
            h.entry = *entry;
            return {};
        }
        case tag::console: {
            const auto flags = load<u32>(body, 0);
            if (!flags) return too_short();
            constexpr u32 console_required = 1;
            if (!optional && (*flags & console_required))
                return fail(name +
                            ": the multiboot2 header requires a display, which this machine does not have");
            return {};
        }
        case tag::framebuffer:
            if (!optional)
                return fail(name +
                            ": the multiboot2 header requires a framebuffer, but this machine has no display "
                            "(mark the tag as optional, and print on the serial line)");
            return {};
        case tag::relocatable: {
            const auto relocation = parse_relocation(body, name);
            if (!relocation) return std::unexpected(relocation.error());
            h.relocation = *relocation;
            return {};
        }
        case tag::align_modules:      // they always are
        case tag::efi_boot_services:  // speak of machines with EFI
        case tag::efi32_entry:
        case tag::efi64_entry: return {};
        default:
            if (optional) return {};
            return fail(
                fmt::format("{}: the multiboot2 header requires an unknown feature (tag {})", name, type));
    }
}

Found parse2(std::span<const u8> file, u64 at, const std::string& name) {
    constexpr u32 i386 = 0;
    constexpr u64 fixed_size = 16, tag_head = 8;
    const u32 architecture = *load<u32>(file, at + 4), length = *load<u32>(file, at + 8);
    if (architecture != i386)
        return fail(fmt::format("{}: a multiboot2 kernel for another processor (architecture {})", name,
                                architecture));
    if (length < fixed_size || at + length > search2)
        return fail(fmt::format("{}: multiboot2 header: a length of {} bytes is impossible", name, length));
    const auto header = part(file, at, length);
    if (!header) return fail(name + ": truncated (ends within the multiboot2 header)");
    Header h{.version = 2, .offset = at};
    for (u64 t = fixed_size;;) {
        const auto type = load<u16>(*header, t), flags = load<u16>(*header, t + 2);
        const auto size = load<u32>(*header, t + 4);
        if (!type || !flags || !size) return fail(name + ": multiboot2 header: it has no end tag");
        if (*type == tag::end) return h;
        const auto body = *size < tag_head ? std::nullopt : part(*header, t + tag_head, *size - tag_head);
        if (!body)
            return fail(
                fmt::format("{}: multiboot2 header: the tag of type {} has a wrong size", name, *type));
        if (const auto r = parse_tag(h, *type, *flags & tag::optional, *body, file.size(), name); !r)
            return std::unexpected(r.error());
        t += base::align_up(*size, align2);
    }
}

}  // namespace

Found find_multiboot_header(std::span<const u8> file, const std::string& name) {
    if (const auto at = find2(file).sound) return parse2(file, *at, name);
    if (const auto at = find1(file).sound) return parse1(file, *at, name);
    return std::nullopt;
}

bool has_damaged_multiboot_header(std::span<const u8> file) {
    const Place one = find1(file), two = find2(file);
    return (one.damaged && !one.sound) || (two.damaged && !two.sound);
}

}  // namespace triune::boot
