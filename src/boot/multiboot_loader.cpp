// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "boot/multiboot_loader.h"

#include <elf.h>
#include <fmt/format.h>

#include <algorithm>

#include "base/bits.h"
#include "boot/bios_state.h"
#include "boot/bytes.h"
#include "boot/elf_image.h"
#include "boot/entry_state.h"
#include "boot/file.h"
#include "boot/multiboot_info.h"
#include "boot/placement.h"

namespace triune::boot {

namespace {

/// The information structures go into conventional memory, above what real-mode code tends to use.
constexpr Gpa info_floor = 0x10000;
constexpr u64 rsdp_size = 36;

/// One kernel on its way into memory.
class Loader {
public:
    Loader(memory::GuestMemory& memory, const BootConfig& config, const MultibootHeader& header,
           std::span<const u8> file)
        : memory_(memory),
          config_(config),
          header_(header),
          file_(file),
          places_(memory),
          ram_end_(low_ram_end(memory)) {}

    Result<x86::VcpuState> run();

private:
    Result<void> find_image();
    Result<void> relocate();
    Result<void> load_image();
    Result<void> load_sections();
    Result<void> load_module(const ModuleFile& module);
    Result<Gpa> write_info();

    std::optional<Gpa> place_above_image(u64 size, u64 alignment);
    template <class Shdr>
    Result<void> point_sections_at_memory(MultibootFacts::Sections& sections);

    memory::GuestMemory& memory_;
    const BootConfig& config_;
    const MultibootHeader& header_;
    std::span<const u8> file_;
    Placement places_;
    const u64 ram_end_;

    std::vector<ElfImage::Segment> segments_;
    std::optional<ElfImage::Sections> elf_sections_;
    Gpa entry_ = 0, begin_ = 0, end_ = 0;
    MultibootFacts facts_;
};

Result<void> Loader::find_image() {
    std::optional<Gpa> entry;
    if (const auto& a = header_.addresses) {
        segments_.push_back({file_.subspan(a->file_offset, a->file_size), a->load, a->memory_size});
    } else if (!looks_like_elf(file_)) {
        return fail(config_.kernel + ": the multiboot header gives no addresses, and the file is not ELF");
    } else {
        auto elf = parse_elf(file_, config_.kernel);
        if (!elf) return std::unexpected(elf.error());
        segments_ = std::move(elf->segments);
        elf_sections_ = elf->sections;
        entry = elf->entry;
    }
    if (header_.entry) entry = header_.entry;
    if (!entry || std::ranges::none_of(
                      segments_, [&](const auto& s) { return *entry >= s.gpa && *entry - s.gpa < s.size; }))
        return fail(config_.kernel + ": the entry point lies outside of what is loaded");
    entry_ = *entry;
    begin_ = std::ranges::min(segments_, {}, &ElfImage::Segment::gpa).gpa;
    for (const auto& s : segments_) end_ = std::max(end_, s.gpa + s.size);
    return {};
}

/// Moves a relocatable image as a whole to where its header wants it (Multiboot2 3.1.12).
Result<void> Loader::relocate() {
    if (!header_.relocation) return {};
    const auto& r = *header_.relocation;
    const u64 size = end_ - begin_;
    const u64 floor = std::max<u64>(r.lowest, kernel_floor), ceiling = std::min(u64{r.highest} + 1, ram_end_);
    Gpa to = base::align_up(floor, r.alignment);
    if (r.prefers_highest && ceiling >= size) to = base::align_down(ceiling - size, r.alignment);
    if (to < floor || to > ceiling || size > ceiling - to)
        return fail(fmt::format("{}: relocatable, but its {} KB do not fit between {:#x} and {:#x}",
                                config_.kernel, size >> 10, floor, ceiling));
    for (auto& s : segments_) s.gpa = s.gpa - begin_ + to;
    entry_ = entry_ - begin_ + to;
    end_ = to + size;
    begin_ = to;
    facts_.load_base = static_cast<u32>(to);
    return {};
}

Result<void> Loader::load_image() {
    for (const auto& s : segments_) {
        if (!places_.is_ram(s.gpa, s.size))
            return fail(fmt::format(
                "{}: loads to {:#x}-{:#x}, which is not RAM of this guest (0 to {:#x}, {:#x} to {:#x})",
                config_.kernel, s.gpa, s.gpa + s.size, ebda_gpa, kernel_floor, ram_end_));
        if (!places_.is_free(s.gpa, s.size))
            return fail(fmt::format("{}: loads to {:#x}, over the descriptor table that it is entered with",
                                    config_.kernel, s.gpa));
        u8* const to = memory_.host(s.gpa, s.size);
        if (!to) return fail(config_.kernel + ": does not fit into the guest's memory");
        std::ranges::copy(s.bytes, to);
        std::fill(to + s.bytes.size(), to + s.size, u8{0});
        memory_.written(s.gpa, s.size);
    }
    for (const auto& s : segments_) places_.take(s.gpa, s.size);
    return {};
}

/// The lowest free place behind the image, else anywhere above 1 MB.
std::optional<Gpa> Loader::place_above_image(u64 size, u64 alignment) {
    if (const auto at = places_.place(size, alignment, std::max<u64>(end_, kernel_floor), ram_end_))
        return at;
    return places_.place(size, alignment, kernel_floor, ram_end_);
}

/// Sections that the segments do not hold (symbols, debugging information) are loaded too, and the
/// table says where (Multiboot 0.6.96, 3.3, `syms`).
template <class Shdr>
Result<void> Loader::point_sections_at_memory(MultibootFacts::Sections& sections) {
    for (u64 i = 0; i < sections.count; ++i) {
        Shdr s;
        std::memcpy(&s, &sections.table[i * sizeof s], sizeof s);
        if ((s.sh_flags & SHF_ALLOC) || s.sh_type == SHT_NULL || s.sh_type == SHT_NOBITS || s.sh_size == 0)
            continue;
        const auto bytes = part(file_, s.sh_offset, s.sh_size);
        if (!bytes) continue;  // stays at address 0: not loaded
        const auto at = place_above_image(s.sh_size, 16);
        if (!at || !memory_.write(*at, bytes->data(), bytes->size()))
            return fail(config_.kernel +
                        ": its symbols do not fit into the guest's memory; strip the kernel");
        s.sh_addr = static_cast<decltype(s.sh_addr)>(*at);
        std::memcpy(&sections.table[i * sizeof s], &s, sizeof s);
    }
    return {};
}

Result<void> Loader::load_sections() {
    if (!elf_sections_) return {};
    MultibootFacts::Sections sections;
    sections.table.assign(elf_sections_->table.begin(), elf_sections_->table.end());
    sections.count = elf_sections_->count;
    sections.entry_size = elf_sections_->entry_size;
    sections.names = elf_sections_->names;
    const auto pointed = elf_sections_->elf64 ? point_sections_at_memory<Elf64_Shdr>(sections)
                                              : point_sections_at_memory<Elf32_Shdr>(sections);
    if (!pointed) return pointed;
    const auto at = place_above_image(sections.table.size(), 16);
    if (!at || !memory_.write(*at, sections.table.data(), sections.table.size()))
        return fail(config_.kernel + ": its section headers do not fit into the guest's memory");
    sections.gpa = *at;
    facts_.sections = std::move(sections);
    return {};
}

Result<void> Loader::load_module(const ModuleFile& module) {
    auto file = open_input(module.path);
    if (!file) return std::unexpected(file.error());
    const auto at = file->size > memory_.bytes() ? std::nullopt : place_above_image(file->size, page_size);
    u8* const to = at ? memory_.host(*at, std::max<u64>(file->size, 1)) : nullptr;
    if (!to)
        return fail(fmt::format(
            "{}: the module ({} KB) does not fit into the guest's memory below 3 GB; give the guest "
            "more memory",
            module.path, file->size >> 10));
    if (auto r = read_all(*file, to); !r) return r;
    memory_.written(*at, file->size);
    facts_.modules.push_back({*at, file->size, module.text.empty() ? module.path : module.text});
    return {};
}

Result<Gpa> Loader::write_info() {
    // As QEMU does it: programs find their name in the first word.
    facts_.command_line = config_.kernel + (config_.cmdline.empty() ? "" : " " + config_.cmdline);
    facts_.map = make_memory_map(memory_);
    facts_.lower_kb = static_cast<u32>(ebda_gpa >> 10);
    facts_.upper_kb = static_cast<u32>((ram_end_ - kernel_floor) >> 10);
    if (config_.acpi_rsdp) {
        facts_.rsdp.resize(rsdp_size);
        if (!memory_.read(config_.acpi_rsdp, facts_.rsdp.data(), rsdp_size)) facts_.rsdp.clear();
    }
    const auto make = [&](Gpa gpa) {
        return header_.version == 1 ? make_multiboot1_info(facts_, gpa) : make_multiboot2_info(facts_);
    };
    const u64 size = make(0).size();
    auto at = places_.place(size, 8, info_floor, ebda_gpa);
    if (!at) at = place_above_image(size, 8);
    if (!at) return fail(config_.kernel + ": the multiboot information does not fit into the guest's memory");
    const auto info = make(*at);
    if (!memory_.write(*at, info.data(), info.size())) return fail("the guest's memory is too small");
    return *at;
}

Result<x86::VcpuState> Loader::run() {
    constexpr u32 loader_magic1 = 0x2bad'b002, loader_magic2 = 0x36d7'6289;
    // First: the kernel may be loaded over it.
    if (config_.bios_state && !install_bios_state(memory_)) return fail("the guest's memory is too small");
    places_.take(entry_tables(false));
    if (auto r = find_image(); !r) return std::unexpected(r.error());
    if (auto r = relocate(); !r) return std::unexpected(r.error());
    if (auto r = load_image(); !r) return std::unexpected(r.error());
    if (auto r = load_sections(); !r) return std::unexpected(r.error());
    if (!config_.initrd.empty())
        if (auto r = load_module({config_.initrd, {}}); !r) return std::unexpected(r.error());
    for (const ModuleFile& module : config_.modules)
        if (auto r = load_module(module); !r) return std::unexpected(r.error());
    const auto info = write_info();
    if (!info) return std::unexpected(info.error());
    auto state = enter_protected_mode(memory_, entry_);
    if (!state || (config_.bios_state && !enter_after_bios(memory_, *state)))
        return fail("the guest's memory is too small");
    state->gpr[x86::rax] = header_.version == 1 ? loader_magic1 : loader_magic2;
    state->gpr[x86::rbx] = *info;
    return *state;
}

}  // namespace

Result<x86::VcpuState> load_multiboot(memory::GuestMemory& memory, const BootConfig& config,
                                      const MultibootHeader& header, std::span<const u8> kernel) {
    return Loader(memory, config, header, kernel).run();
}

}  // namespace triune::boot
