// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "boot/linux_loader.h"

#include <fmt/format.h>
#include <sys/random.h>

#include <algorithm>
#include <array>
#include <optional>

#include "base/bits.h"
#include "boot/bzimage.h"
#include "boot/elf_image.h"
#include "boot/entry_state.h"
#include "boot/file.h"

namespace triune::boot {

namespace {

namespace h = setup_header;

/// Offsets in boot_params (Linux Documentation/arch/x86/zero-page.rst).
namespace params {
constexpr unsigned acpi_rsdp_addr = 0x070, e820_entries = 0x1e8, e820_table = 0x2d0, e820_max = 128;
}
constexpr u8 loader_unknown = 0xff;
constexpr u32 setup_rng_seed = 9;
constexpr u64 pvh_cmdline_max = 2047;  // COMMAND_LINE_SIZE of an x86 Linux, less the zero

struct Initrd {
    Gpa gpa = 0;
    u64 size = 0;
};

std::unexpected<Error> too_little_memory(const BootConfig& c, const memory::GuestMemory& memory, u64 needed) {
    return fail(fmt::format("{}: does not fit into {} MB of guest memory (needs {} MB below 3 GB)", c.kernel,
                            memory.bytes() >> 20, (needed >> 20) + 1));
}

/// Reads the initrd to the highest place in [floor, ceiling).
Result<Initrd> load_initrd(memory::GuestMemory& memory, const BootConfig& c, u64 floor, u64 ceiling) {
    if (c.initrd.empty()) return Initrd{};
    auto file = open_input(c.initrd);
    if (!file) return std::unexpected(file.error());
    if (file->size == 0) return fail(c.initrd + ": the initrd is empty");
    const u64 first = base::align_up(floor, page_size);
    if (ceiling < first || file->size > ceiling - first)
        return fail(
            fmt::format("{}: the initrd ({} KB) does not fit between the kernel's end at {:#x} and {:#x}; "
                        "give the guest more memory",
                        c.initrd, file->size >> 10, floor, ceiling));
    const Gpa gpa = base::align_down(ceiling - file->size, page_size);
    u8* to = memory.host(gpa, file->size);
    if (!to) return fail(c.initrd + ": no guest memory for the initrd");
    if (auto r = read_all(*file, to); !r) return std::unexpected(r.error());
    memory.written(gpa, file->size);
    return Initrd{gpa, file->size};
}

Result<void> load_cmdline(memory::GuestMemory& memory, const BootConfig& c, u64 longest) {
    longest = std::min<u64>(longest, ebda_gpa - cmdline_gpa - 1);
    if (c.cmdline.size() > longest)
        return fail(fmt::format("{}: the command line has {} characters, this kernel takes at most {}",
                                c.kernel, c.cmdline.size(), longest));
    if (!memory.write(cmdline_gpa, c.cmdline.c_str(), c.cmdline.size() + 1))
        return fail("the guest's memory is too small for a command line");
    return {};
}

/// Gives the kernel 32 random bytes to start its generator with, so that it need not wait for
/// interrupts to gather them (struct setup_data, type SETUP_RNG_SEED).
bool write_rng_seed(memory::GuestMemory& memory) {
    struct {
        u64 next = 0;
        u32 type = setup_rng_seed, length = 32;
        std::array<u8, 32> seed{};
    } node;
    static_assert(sizeof node == 48);
    return ::getrandom(node.seed.data(), node.seed.size(), 0) == static_cast<ssize_t>(node.seed.size()) &&
           memory.write_value(setup_data_gpa, node);
}

/// Where a bzImage goes: its preferred address if that is RAM, else, if it can be moved, the
/// lowest that is.
std::optional<Gpa> choose_load_address(const BzImage& image, u64 ram_end) {
    const auto fits = [&](u64 at) {
        return at >= kernel_floor && at <= ram_end && image.init_size <= ram_end - at;
    };
    if (fits(image.pref_address)) return image.pref_address;
    if (!image.relocatable) return std::nullopt;
    const u64 lowest = base::align_up(kernel_floor, std::max<u64>(image.alignment, page_size));
    return fits(lowest) ? std::optional(lowest) : std::nullopt;
}

Result<x86::VcpuState> load_bzimage(memory::GuestMemory& memory, const BootConfig& c,
                                    std::span<const u8> file) {
    const auto image = parse_bzimage(file, c.kernel);
    if (!image) return std::unexpected(image.error());
    const u64 ram_end = low_ram_end(memory);
    const auto gpa = choose_load_address(*image, ram_end);
    if (!gpa) return too_little_memory(c, memory, kernel_floor + image->init_size);
    if (!memory.write(*gpa, image->payload.data(), image->payload.size()))
        return too_little_memory(c, memory, *gpa + image->init_size);

    if (auto r = load_cmdline(memory, c, image->cmdline_size); !r) return std::unexpected(r.error());
    const u64 initrd_ceiling = std::min(ram_end, image->initrd_addr_max + 1);
    const auto initrd = load_initrd(memory, c, *gpa + image->init_size, initrd_ceiling);
    if (!initrd) return std::unexpected(initrd.error());

    std::array<u8, page_size> zero_page{};
    const auto put = [&](unsigned at, auto v) { std::memcpy(zero_page.data() + at, &v, sizeof v); };
    std::ranges::copy(image->header, zero_page.begin() + h::start);
    put(h::type_of_loader, loader_unknown);
    put(h::cmd_line_ptr, static_cast<u32>(cmdline_gpa));
    put(h::ramdisk_image, static_cast<u32>(initrd->gpa));
    put(h::ramdisk_size, static_cast<u32>(initrd->size));
    put(h::setup_data, write_rng_seed(memory) ? u64{setup_data_gpa} : u64{0});
    put(params::acpi_rsdp_addr, u64{c.acpi_rsdp});
    const auto map = make_memory_map(memory);
    unsigned entries = 0;
    for (const MapEntry& e : map) {
        if (entries == params::e820_max) break;
        const unsigned at = params::e820_table + 20 * entries++;
        put(at, e.base);
        put(at + 8, e.size);
        put(at + 16, static_cast<u32>(e.type));
    }
    put(params::e820_entries, static_cast<u8>(entries));
    auto state = image->entry64 ? enter_long_mode(memory, *gpa + 0x200) : enter_protected_mode(memory, *gpa);
    if (!state || !memory.write_value(boot_params_gpa, zero_page))
        return fail("the guest's memory is too small to boot Linux");
    state->gpr[x86::rsi] = boot_params_gpa;
    return *state;
}

/// hvm_start_info and what hangs on it (Xen: include/public/arch-x86/hvm/start_info.h).
struct PvhInfo {
    u32 magic = 0x336ec578, version = 1, flags = 0, module_count = 0;
    u64 modules = 0, cmdline = cmdline_gpa, rsdp = 0, map = 0;
    u32 map_entries = 0, reserved = 0;
};
struct PvhModule {
    u64 gpa = 0, size = 0, cmdline = 0, reserved = 0;
};
struct PvhMapEntry {
    u64 base = 0, size = 0;
    u32 type = 0, reserved = 0;
};

Result<x86::VcpuState> load_elf(memory::GuestMemory& memory, const BootConfig& c, std::span<const u8> file) {
    const auto image = parse_elf(file, c.kernel);
    if (!image) return std::unexpected(image.error());
    if (!image->pvh_entry)
        return fail(c.kernel +
                    ": an ELF file with neither a multiboot header nor a PVH entry point (CONFIG_PVH); "
                    "use the bzImage of a Linux, or --load ADDR for the bytes as they are");
    const u64 ram_end = low_ram_end(memory);
    for (const ElfImage::Segment& s : image->segments) {
        if (s.gpa < kernel_floor)
            return fail(
                fmt::format("{}: loads at {:#x}, below 1 MB where start-up structures are", c.kernel, s.gpa));
        if (s.gpa > ram_end || s.size > ram_end - s.gpa) return too_little_memory(c, memory, image->end);
        u8* to = memory.host(s.gpa, s.size);
        if (!to) return too_little_memory(c, memory, image->end);
        std::ranges::copy(s.bytes, to);
        std::fill(to + s.bytes.size(), to + s.size, u8{0});
        memory.written(s.gpa, s.size);
    }
    if (auto r = load_cmdline(memory, c, pvh_cmdline_max); !r) return std::unexpected(r.error());
    const auto initrd = load_initrd(memory, c, image->end, ram_end);
    if (!initrd) return std::unexpected(initrd.error());

    std::array<u8, page_size> page{};
    unsigned next = sizeof(PvhInfo);
    const auto put = [&](unsigned at, const auto& v) { std::memcpy(page.data() + at, &v, sizeof v); };
    PvhInfo info{.rsdp = c.acpi_rsdp};
    if (initrd->size) {
        info.module_count = 1;
        info.modules = pvh_info_gpa + next;
        put(next, PvhModule{.gpa = initrd->gpa, .size = initrd->size});
        next += sizeof(PvhModule);
    }
    info.map = pvh_info_gpa + next;
    for (const MapEntry& e : make_memory_map(memory)) {
        if (next + sizeof(PvhMapEntry) > page.size()) break;
        put(next, PvhMapEntry{e.base, e.size, static_cast<u32>(e.type)});
        next += sizeof(PvhMapEntry);
        ++info.map_entries;
    }
    put(0, info);
    auto state = enter_protected_mode(memory, *image->pvh_entry);
    if (!state || !memory.write_value(pvh_info_gpa, page))
        return fail("the guest's memory is too small to boot");
    state->gpr[x86::rbx] = pvh_info_gpa;
    return *state;
}

}  // namespace

Result<x86::VcpuState> load_linux_image(memory::GuestMemory& memory, const BootConfig& config,
                                        std::span<const u8> kernel) {
    if (!config.modules.empty())
        return fail(config.kernel + ": --module is for multiboot kernels; Linux takes one --initrd");
    return looks_like_elf(kernel) ? load_elf(memory, config, kernel) : load_bzimage(memory, config, kernel);
}

}  // namespace triune::boot
