// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "boot/elf_image.h"

#include <elf.h>
#include <fmt/format.h>

#include <algorithm>

#include "base/bits.h"
#include "boot/bytes.h"

namespace triune::boot {

namespace {

constexpr u32 note_phys32_entry = 18;
constexpr u64 max_segments = 64;  // a vmlinux has five

/// The PVH entry among the notes of [bytes], if there is one.
std::optional<u64> find_pvh_entry(std::span<const u8> bytes) {
    u64 at = 0;
    while (const auto note = load<Elf32_Nhdr>(bytes, at)) {  // the same layout in ELF64
        const u64 name_at = at + sizeof *note;
        const u64 desc_at = name_at + base::align_up(note->n_namesz, 4);
        const auto name = part(bytes, name_at, note->n_namesz);
        const auto desc = part(bytes, desc_at, note->n_descsz);
        if (!name || !desc) return std::nullopt;
        if (note->n_type == note_phys32_entry && name->size() == 4 &&
            std::memcmp(name->data(), "Xen", 4) == 0) {
            if (desc->size() == 4) return load<u32>(*desc, 0);
            if (desc->size() == 8) return load<u64>(*desc, 0);
        }
        at = desc_at + base::align_up(note->n_descsz, 4);
    }
    return std::nullopt;
}

/// Section headers that lie wholly in the file; they are of use to debuggers only, so damaged ones
/// are no error.
template <class Shdr, class Ehdr>
std::optional<ElfImage::Sections> find_sections(std::span<const u8> file, const Ehdr& header) {
    if (header.e_shnum == 0 || header.e_shentsize != sizeof(Shdr) || header.e_shstrndx >= header.e_shnum)
        return {};
    const auto table = part(file, header.e_shoff, u64{header.e_shnum} * sizeof(Shdr));
    if (!table) return {};
    return ElfImage::Sections{.table = *table,
                              .count = header.e_shnum,
                              .entry_size = sizeof(Shdr),
                              .names = header.e_shstrndx,
                              .elf64 = sizeof(Shdr) == sizeof(Elf64_Shdr)};
}

template <class Ehdr, class Phdr, class Shdr>
Result<ElfImage> parse(std::span<const u8> file, const std::string& name) {
    const auto header = load<Ehdr>(file, 0);
    if (!header) return fail(name + ": truncated (ends within the ELF header)");
    if (header->e_type != ET_EXEC && header->e_type != ET_DYN)
        return fail(name + ": an ELF file, but not an executable");
    if (header->e_machine != EM_X86_64 && header->e_machine != EM_386)
        return fail(
            fmt::format("{}: an ELF file for another processor (machine {})", name, header->e_machine));
    if (header->e_phentsize != sizeof(Phdr) || header->e_phnum == 0)
        return fail(name + ": an ELF file without program headers");
    if (header->e_phnum > max_segments)
        return fail(fmt::format("{}: {} program headers (at most {} make sense)", name, header->e_phnum,
                                max_segments));

    ElfImage image;
    std::optional<u64> virtual_entry;
    for (unsigned i = 0; i < header->e_phnum; ++i) {
        // e_phoff may be anything; an offset that wraps is beyond the file as well.
        if (header->e_phoff > file.size())
            return fail(name + ": truncated (program headers lie beyond the end)");
        const auto ph = load<Phdr>(file, header->e_phoff + u64{i} * sizeof(Phdr));
        if (!ph) return fail(name + ": truncated (program headers lie beyond the end)");
        if (ph->p_type != PT_LOAD && ph->p_type != PT_NOTE) continue;
        const auto bytes = part(file, ph->p_offset, ph->p_filesz);
        if (!bytes) return fail(fmt::format("{}: truncated (segment {} lies beyond the end)", name, i));
        if (ph->p_type == PT_NOTE) {
            if (!image.pvh_entry) image.pvh_entry = find_pvh_entry(*bytes);
            continue;
        }
        if (ph->p_memsz == 0) continue;
        const u64 gpa = ph->p_paddr;
        if (ph->p_memsz < ph->p_filesz || gpa + ph->p_memsz < gpa)
            return fail(fmt::format("{}: segment {} has an impossible size", name, i));
        image.segments.push_back({*bytes, gpa, ph->p_memsz});
        image.end = std::max<u64>(image.end, gpa + ph->p_memsz);
        if (!virtual_entry && header->e_entry >= ph->p_vaddr && header->e_entry - ph->p_vaddr < ph->p_memsz)
            virtual_entry = gpa + (header->e_entry - ph->p_vaddr);
    }
    if (image.segments.empty()) return fail(name + ": an ELF file with nothing to load");
    const auto loaded = [&](Gpa gpa) {
        return std::ranges::any_of(
            image.segments, [&](const ElfImage::Segment& s) { return gpa >= s.gpa && gpa - s.gpa < s.size; });
    };
    if (image.pvh_entry && !loaded(*image.pvh_entry))
        return fail(fmt::format("{}: the PVH entry point {:#x} lies in no segment", name, *image.pvh_entry));
    image.entry = virtual_entry;
    if (!image.entry && loaded(header->e_entry)) image.entry = header->e_entry;
    image.sections = find_sections<Shdr>(file, *header);
    return image;
}

}  // namespace

bool looks_like_elf(std::span<const u8> file) {
    return file.size() >= SELFMAG && std::memcmp(file.data(), ELFMAG, SELFMAG) == 0;
}

Result<ElfImage> parse_elf(std::span<const u8> file, const std::string& name) {
    if (!looks_like_elf(file)) return fail(name + ": not an ELF file");
    if (file.size() < EI_NIDENT) return fail(name + ": truncated (ends within the ELF header)");
    if (file[EI_DATA] != ELFDATA2LSB) return fail(name + ": a big-endian ELF file");
    switch (file[EI_CLASS]) {
        case ELFCLASS64: return parse<Elf64_Ehdr, Elf64_Phdr, Elf64_Shdr>(file, name);
        case ELFCLASS32: return parse<Elf32_Ehdr, Elf32_Phdr, Elf32_Shdr>(file, name);
        default: return fail(name + ": an ELF file of unknown class");
    }
}

}  // namespace triune::boot
