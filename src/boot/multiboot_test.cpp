// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include <elf.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "boot/bytes.h"
#include "boot/kernel_loader.h"
#include "boot/layout.h"
#include "boot/multiboot_header.h"

namespace triune::boot {
namespace {

namespace fs = std::filesystem;
using Bytes = std::vector<u8>;

template <class T>
void put(Bytes& to, u64 at, T v) {
    ASSERT_LE(at + sizeof v, to.size());
    std::memcpy(to.data() + at, &v, sizeof v);
}

constexpr u64 header_at = 0x100;

/// A 32-bit ELF kernel, virtual at 0xc0100000 and physical at 1 MB, with a section beyond its segment.
Bytes elf32() {
    Bytes f(0x2000);
    Elf32_Ehdr e{};
    std::memcpy(e.e_ident, ELFMAG, SELFMAG);
    e.e_ident[EI_CLASS] = ELFCLASS32;
    e.e_ident[EI_DATA] = ELFDATA2LSB;
    e.e_type = ET_EXEC;
    e.e_machine = EM_386;
    e.e_entry = 0xc0100020;
    e.e_phoff = sizeof e;
    e.e_phentsize = sizeof(Elf32_Phdr);
    e.e_phnum = 1;
    e.e_shoff = 0x1f00;
    e.e_shentsize = sizeof(Elf32_Shdr);
    e.e_shnum = 3;
    put(f, 0, e);
    put(f, sizeof e,
        Elf32_Phdr{.p_type = PT_LOAD,
                   .p_offset = 0x1000,
                   .p_vaddr = 0xc0100000,
                   .p_paddr = 0x100000,
                   .p_filesz = 0x800,
                   .p_memsz = 0x3000});
    put(f, 0x1f00 + 40,
        Elf32_Shdr{.sh_type = SHT_PROGBITS,
                   .sh_flags = SHF_ALLOC,
                   .sh_addr = 0xc0100000,
                   .sh_offset = 0x1000,
                   .sh_size = 0x800});
    put(f, 0x1f00 + 80, Elf32_Shdr{.sh_type = SHT_SYMTAB, .sh_offset = 0x1800, .sh_size = 0x100});
    for (u64 i = 0x1000; i < 0x1800; ++i) f[i] = 0x90;
    for (u64 i = 0x1800; i < 0x1900; ++i) f[i] = 0x55;
    return f;
}

void add_header1(Bytes& f, u32 flags) {
    put<u32>(f, header_at, 0x1badb002);
    put<u32>(f, header_at + 4, flags);
    put<u32>(f, header_at + 8, 0 - (0x1badb002 + flags));
}

Bytes kernel1(u32 flags = 3) {
    Bytes f = elf32();
    add_header1(f, flags);
    return f;
}

/// Version 2 with the given tags (words, each tag padded to 8 bytes) and an end tag.
Bytes kernel2(const std::vector<u32>& tags, bool with_end = true) {
    Bytes f = elf32();
    const u32 length = static_cast<u32>(16 + 4 * tags.size() + (with_end ? 8 : 0));
    put<u32>(f, header_at, 0xe85250d6);
    put<u32>(f, header_at + 8, length);
    put<u32>(f, header_at + 12, 0 - (0xe85250d6 + length));
    for (u64 i = 0; i < tags.size(); ++i) put<u32>(f, header_at + 16 + 4 * i, tags[i]);
    if (with_end) put<u32>(f, header_at + 20 + 4 * tags.size(), 8);
    return f;
}

/// A flat file with a version 1 header that gives all addresses.
Bytes kludge(u32 header, u32 load, u32 load_end, u32 bss_end, u32 entry) {
    Bytes f(0x1000, 0xcc);
    add_header1(f, 0x10000);
    const u32 fields[] = {header, load, load_end, bss_end, entry};
    for (unsigned i = 0; i < 5; ++i) put<u32>(f, header_at + 12 + 4 * i, fields[i]);
    return f;
}

struct MultibootTest : testing::Test {
    MultibootTest() {
        dir = (fs::temp_directory_path() / "triune-boot-XXXXXX").string();
        EXPECT_TRUE(::mkdtemp(dir.data()));
        memory = memory::GuestMemory::create(64 << 20).value();
        EXPECT_TRUE(place_ram(*memory));
    }
    ~MultibootTest() override { fs::remove_all(dir); }
    std::string file(const std::string& name, u64 size, char fill) {
        std::ofstream(dir + "/" + name, std::ios::binary) << std::string(size, fill);
        return dir + "/" + name;
    }
    Result<x86::VcpuState> load(const Bytes& kernel, BootConfig c = {}) {
        c.kernel = "kernel";
        return load_kernel_image(*memory, c, kernel);
    }
    std::string error(const Bytes& kernel, BootConfig c = {}) {
        const auto r = load(kernel, std::move(c));
        return r ? "(success)" : r.error().message;
    }
    template <class T>
    T get(Gpa gpa) {
        T v{};
        EXPECT_TRUE(memory->read_value(gpa, v));
        return v;
    }
    std::string text(Gpa gpa) {
        std::string s;
        for (char c; (c = get<char>(gpa)) != 0; ++gpa) s += c;
        return s;
    }
    /// The tag of version 2's information of this type, 0 if there is none.
    Gpa tag(Gpa info, u32 type) {
        const Gpa end = info + get<u32>(info);
        for (Gpa at = info + 8; at < end; at += (get<u32>(at + 4) + 7) & ~7u)
            if (get<u32>(at) == type) return at;
        return 0;
    }
    std::string dir;
    std::unique_ptr<memory::GuestMemory> memory;
};

#define EXPECT_CONTAINS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

TEST_F(MultibootTest, Version1) {
    const auto s = load(kernel1(), {.cmdline = "a b",
                                    .modules = {{file("m1", 5000, 'x'), "first"}, {file("m2", 1, 'y'), ""}}});
    ASSERT_TRUE(s) << s.error().message;
    EXPECT_EQ(s->gpr[x86::rax], 0x2badb002u);
    EXPECT_EQ(s->rip, 0x100020u) << "a virtual entry point becomes physical";
    EXPECT_EQ(s->cr0 & (x86::cr0::pe | x86::cr0::pg), x86::cr0::pe);
    EXPECT_FALSE(s->rflags & x86::flag::if_);
    EXPECT_EQ(get<u8>(0x100000), 0x90);
    EXPECT_EQ(get<u8>(0x100800), 0) << "zeroed behind what the file holds";
    const Gpa info = s->gpr[x86::rbx];
    EXPECT_EQ(get<u32>(info), 0x26du);
    EXPECT_EQ(get<u32>(info + 4), 639u);
    EXPECT_EQ(get<u32>(info + 8), 63u << 10);
    EXPECT_EQ(text(get<u32>(info + 16)), "kernel a b");
    EXPECT_EQ(text(get<u32>(info + 64)), "Triune");
    ASSERT_EQ(get<u32>(info + 20), 2u);
    const Gpa mods = get<u32>(info + 24);
    const Gpa first = get<u32>(mods), second = get<u32>(mods + 16);
    EXPECT_EQ(first % page_size, 0u);
    EXPECT_GE(first, 0x103000u) << "not in the kernel's zeroed part";
    EXPECT_EQ(get<u32>(mods + 4) - first, 5000u);
    EXPECT_EQ(get<char>(first + 4999), 'x');
    EXPECT_EQ(text(get<u32>(mods + 8)), "first");
    EXPECT_GE(second, first + 5000);
    EXPECT_EQ(get<char>(second), 'y');
    EXPECT_EQ(text(get<u32>(mods + 24)), dir + "/m2");
    // The memory map ends where its length says.
    u64 ram = 0, at = get<u32>(info + 48);
    const u64 end = at + get<u32>(info + 44);
    for (; at < end; at += get<u32>(at) + 4)
        if (get<u32>(at + 20) == 1) ram += get<u64>(at + 12);
    EXPECT_EQ(at, end);
    EXPECT_EQ(ram, (u64{63} << 20) + ebda_gpa);
    // The symbol table was loaded, the section in the segment was left where it is.
    EXPECT_EQ(get<u32>(info + 28), 3u);
    const Gpa sections = get<u32>(info + 36);
    EXPECT_EQ(get<u32>(sections + 40 + 12), 0xc0100000u);
    EXPECT_EQ(get<u8>(get<u32>(sections + 80 + 12) + 0xff), 0x55);
}

TEST_F(MultibootTest, InitrdIsTheFirstModule) {
    const auto s = load(kernel1(), {.initrd = file("i", 10, 'i'), .modules = {{file("m", 10, 'm'), ""}}});
    ASSERT_TRUE(s);
    const Gpa info = s->gpr[x86::rbx];
    ASSERT_EQ(get<u32>(info + 20), 2u);
    EXPECT_EQ(get<char>(get<u32>(get<u32>(info + 24))), 'i');
}

TEST_F(MultibootTest, AddressFields) {
    // The header, at 0x100 of the file, is loaded to 2 MB + 0x80: the file from 0x80 on goes to 2 MB.
    const auto s = load(kludge(0x200080, 0x200000, 0x200200, 0x201000, 0x200004));
    ASSERT_TRUE(s) << s.error().message;
    EXPECT_EQ(s->rip, 0x200004u);
    EXPECT_EQ(get<u32>(0x200080), 0x1badb002u);
    EXPECT_EQ(get<u8>(0x2001ff), 0xcc);
    EXPECT_EQ(get<u8>(0x200200), 0);
    ASSERT_TRUE(load(kludge(0x200100, 0x200000, 0, 0, 0x200000))) << "no ends: the whole file";
    EXPECT_EQ(get<u8>(0x200fff), 0xcc);
}

TEST_F(MultibootTest, BadAddressFields) {
    EXPECT_CONTAINS(error(kludge(0x1fffff, 0x200000, 0, 0, 0x200000)), "does not agree");
    EXPECT_CONTAINS(error(kludge(0x200101, 0x200000, 0, 0, 0x200000)), "does not agree");
    EXPECT_CONTAINS(error(kludge(0x200100, 0x200000, 0x201001, 0, 0x200000)), "truncated");
    EXPECT_CONTAINS(error(kludge(0x200100, 0x200000, 0x100000, 0, 0x200000)), "before load_addr");
    EXPECT_CONTAINS(error(kludge(0x200100, 0x200000, 0x200800, 0x200700, 0x200000)), "bss_end_addr");
    EXPECT_CONTAINS(error(kludge(0x200100, 0x200000, 0, 0, 0x201000)), "entry point");
    EXPECT_CONTAINS(error(kludge(0xfff00100, 0xfff00000, 0, 0, 0xfff00000)), "not RAM");
    EXPECT_CONTAINS(error(kludge(0xe0100, 0xe0000, 0, 0, 0xe0000)), "not RAM");
    EXPECT_CONTAINS(error(kludge(0x500, 0x400, 0, 0, 0x400)), "descriptor table");
    EXPECT_CONTAINS(error(kludge(0x200100, 0x200000, 0, 0xffffffff, 0x200000)), "not RAM");
}

TEST_F(MultibootTest, WhatVersion1CannotHonour) {
    EXPECT_CONTAINS(error(kernel1(4)), "no display");
    EXPECT_CONTAINS(error(kernel1(0x100)), "no loader knows");
    EXPECT_TRUE(load(kernel1(0x20000))) << "bits above 15 are hints";
    Bytes wrong_sum = kernel1();
    wrong_sum[header_at + 8] ^= 1;
    EXPECT_CONTAINS(error(wrong_sum), "neither a multiboot header nor");
    Bytes text(8192, 'x');
    put<u32>(text, 0, 0x1badb002);
    EXPECT_CONTAINS(error(text), "damaged");
    add_header1(text, 3);
    EXPECT_CONTAINS(error(text), "not ELF");
    Bytes cut = kludge(0x200100, 0x200000, 0, 0, 0x200000);
    cut.resize(header_at + 14);
    EXPECT_CONTAINS(error(cut), "truncated");
}

TEST_F(MultibootTest, ModulesThatCannotBeHad) {
    EXPECT_CONTAINS(error(kernel1(), {.modules = {{dir + "/absent", ""}}}), "absent");
    EXPECT_CONTAINS(error(kernel1(), {.modules = {{dir, ""}}}), "not a regular file");
    const std::string huge = file("huge", 1, 0);
    fs::resize_file(huge, u64{100} << 20);
    EXPECT_CONTAINS(error(kernel1(), {.modules = {{huge, ""}}}), "does not fit");
}

TEST_F(MultibootTest, Version2) {
    ASSERT_TRUE(memory->write(0xe0000, "RSD PTR ................................", 36));
    // Wants command line, modules, map, RSDP; an unknown tag that is optional.
    const Bytes kernel = kernel2({1, 24, 1, 3, 6, 15, 77 | 1 << 16, 8});
    const auto s =
        load(kernel, {.cmdline = "c", .modules = {{file("m", 3, 'z'), "told"}}, .acpi_rsdp = 0xe0000});
    ASSERT_TRUE(s) << s.error().message;
    EXPECT_EQ(s->gpr[x86::rax], 0x36d76289u);
    const Gpa info = s->gpr[x86::rbx];
    EXPECT_EQ(info % 8, 0u);
    EXPECT_EQ(text(tag(info, 1) + 8), "kernel c");
    EXPECT_EQ(text(tag(info, 2) + 8), "Triune");
    EXPECT_EQ(get<char>(get<u32>(tag(info, 3) + 8)), 'z');
    EXPECT_EQ(text(tag(info, 3) + 16), "told");
    EXPECT_EQ(get<u32>(tag(info, 4) + 12), 63u << 10);
    EXPECT_EQ(get<u32>(tag(info, 6) + 8), 24u);
    EXPECT_EQ(get<u32>(tag(info, 9) + 8), 3u);
    EXPECT_EQ(get<u32>(tag(info, 14) + 4), 28u);
    EXPECT_EQ(get<u32>(tag(info, 15) + 4), 44u);
    EXPECT_EQ(tag(info, 21), 0u);
    const Gpa end = tag(info, 0);
    EXPECT_EQ(end + 8, info + get<u32>(info));
}

TEST_F(MultibootTest, Version2EntryAndAddresses) {
    // Address tag: header at 2 MB + 0x100, file from its start; entry tag.
    const auto s = load(kernel2({2, 24, 0x200100, 0xffffffff, 0x201000, 0, 3, 12, 0x200010, 0}));
    ASSERT_TRUE(s) << s.error().message;
    EXPECT_EQ(s->rip, 0x200010u);
    EXPECT_EQ(get<u32>(0x200100), 0xe85250d6u);
}

TEST_F(MultibootTest, RelocatableImages) {
    const auto relocate = [&](u32 lowest, u32 highest, u32 alignment, u32 preference) {
        return kernel2({10, 24, lowest, highest, alignment, preference});
    };
    auto s = load(relocate(0x800000, 0x1ffffff, 0x200000, 1));
    ASSERT_TRUE(s) << s.error().message;
    EXPECT_EQ(s->rip, 0x800020u);
    EXPECT_EQ(get<u8>(0x800000), 0x90);
    EXPECT_EQ(get<u32>(tag(s->gpr[x86::rbx], 21) + 8), 0x800000u);
    s = load(relocate(0x800000, 0x1ffffff, 0x200000, 2));
    ASSERT_TRUE(s);
    EXPECT_EQ(s->rip, 0x1e00020u) << "the highest aligned place at which it ends in time";
    EXPECT_CONTAINS(error(relocate(0x800000, 0x801000, 0x1000, 0)), "do not fit");
    EXPECT_CONTAINS(error(relocate(0x8000000, 0xffffffff, 0x1000, 0)), "do not fit");
    EXPECT_CONTAINS(error(relocate(0, 0xffffffff, 3, 0)), "makes no sense");
    EXPECT_CONTAINS(error(relocate(2, 1, 1, 0)), "makes no sense");
}

TEST_F(MultibootTest, WhatVersion2CannotHonour) {
    EXPECT_CONTAINS(error(kernel2({1, 12, 8, 0})), "information of type 8");
    EXPECT_TRUE(load(kernel2({1 | 1 << 16, 12, 8, 0}))) << "optional";
    EXPECT_CONTAINS(error(kernel2({5, 20, 1024, 768, 32, 0})), "framebuffer");
    EXPECT_TRUE(load(kernel2({5 | 1 << 16, 20, 1024, 768, 32, 0})));
    EXPECT_CONTAINS(error(kernel2({4, 12, 1, 0})), "display");
    EXPECT_TRUE(load(kernel2({4, 12, 2, 0}))) << "can use EGA text, but needs nothing";
    EXPECT_CONTAINS(error(kernel2({77, 8})), "tag 77");
    EXPECT_CONTAINS(error(kernel2({6, 7})), "wrong size");
    EXPECT_CONTAINS(error(kernel2({6, 0xffffffff})), "wrong size");
    EXPECT_CONTAINS(error(kernel2({3, 8})), "too short");
    EXPECT_CONTAINS(error(kernel2({}, false)), "no end tag");
    Bytes mips = kernel2({});
    put<u32>(mips, header_at + 4, 4);
    put<u32>(mips, header_at + 12, 0 - (0xe85250d6u + 4 + 24));
    EXPECT_CONTAINS(error(mips), "another processor");
    for (const u32 length : {0u, 15u, 0x8000u, 0xffffffffu}) {
        Bytes f = kernel2({});
        put<u32>(f, header_at + 8, length);
        put<u32>(f, header_at + 12, 0 - (0xe85250d6u + length));
        EXPECT_CONTAINS(error(f), "is impossible");
    }
}

TEST_F(MultibootTest, HeadersAreFoundWhereTheyMayBeOnly) {
    Bytes far(0x10000);
    put<u32>(far, 8188, 0x1badb002);
    put<u32>(far, 8192, 0);
    put<u32>(far, 8196, 0 - 0x1badb002);
    EXPECT_FALSE(*find_multiboot_header(far, "k")) << "not wholly in the first 8 KB";
    Bytes odd = Bytes(0x1000);
    put<u32>(odd, 2, 0x1badb002);
    put<u32>(odd, 10, 0 - 0x1badb002);
    EXPECT_FALSE(*find_multiboot_header(odd, "k"));
    Bytes both = kernel2({});
    put<u32>(both, 0x80, 0x1badb002);
    put<u32>(both, 0x84, 0);
    put<u32>(both, 0x88, 0 - 0x1badb002);
    EXPECT_EQ((*find_multiboot_header(both, "k"))->version, 2u);
}

TEST_F(MultibootTest, EveryCutAndFlippedByteIsAnErrorOrLoads) {
    for (const Bytes& good : {kernel1(), kernel2({1, 24, 1, 3, 6, 15, 10, 24, 0x800000, 0x1ffffff, 4096, 1}),
                              kludge(0x200080, 0x200000, 0x200200, 0x201000, 0x200004)}) {
        for (u64 size = 0; size < good.size(); size += size < 0x200 ? 1 : 97)
            (void)load(Bytes(good.begin(), good.begin() + static_cast<i64>(size)));
        for (u64 at = 0; at < 0x180; ++at)
            for (const u8 flip : {0x01, 0x80, 0xff}) {
                Bytes f = good;
                f[at] ^= flip;
                (void)load(f);
            }
    }
}

using Mode = FlatLoad::Mode;

TEST_F(MultibootTest, FlatBinaries) {
    const Bytes image(512, 0xf4);
    auto s = load(image, {.flat = FlatLoad{0x7c00, Mode::real}});
    ASSERT_TRUE(s) << s.error().message;
    EXPECT_FALSE(s->protected_mode());
    EXPECT_EQ(s->seg[x86::cs].base, 0u);
    EXPECT_EQ(s->rip, 0x7c00u);
    EXPECT_EQ(s->gpr[x86::rdx], 0x80u);
    EXPECT_EQ(s->seg[x86::ss].base + s->gpr[x86::rsp], ebda_gpa);
    EXPECT_EQ(get<u8>(0x7c00 + 511), 0xf4);
    s = load(image, {.flat = FlatLoad{0x8f123, Mode::real}});
    ASSERT_TRUE(s);
    EXPECT_EQ(s->seg[x86::cs].selector, 0x8f12);
    EXPECT_EQ(s->rip, 3u);
    s = load(image, {.flat = FlatLoad{0x100000, Mode::protected32}});
    ASSERT_TRUE(s);
    EXPECT_EQ(s->rip, 0x100000u);
    EXPECT_TRUE(s->seg[x86::cs].db());
    s = load(image, {.flat = FlatLoad{0x200000, Mode::long64}});
    ASSERT_TRUE(s);
    EXPECT_TRUE(s->code64());
    EXPECT_EQ(s->gpr[x86::rsp], ebda_gpa);
}

TEST_F(MultibootTest, FlatBinariesThatDoNotFit) {
    const Bytes image(512, 0xf4);
    EXPECT_CONTAINS(error(image, {.flat = FlatLoad{0x100000, Mode::real}}), "real mode reaches");
    for (const Gpa at :
         {Gpa{0x9fb00}, Gpa{0xa0000}, Gpa{0xf0000}, Gpa{0x3ffff00}, Gpa{0xffffffff}, ~Gpa{0}, Gpa{1} << 40})
        EXPECT_CONTAINS(error(image, {.flat = FlatLoad{at, at < 0x100000 ? Mode::real : Mode::protected32}}),
                        "RAM");
    EXPECT_CONTAINS(error(image, {.flat = FlatLoad{0x400, Mode::protected32}}), "tables");
    EXPECT_CONTAINS(error(image, {.flat = FlatLoad{0xa000, Mode::long64}}), "tables");
    EXPECT_TRUE(load(image, {.flat = FlatLoad{0xa000, Mode::protected32}}));
    EXPECT_CONTAINS(error({}, {.flat = FlatLoad{0x7c00, Mode::real}}), "empty");
    EXPECT_CONTAINS(error(image, {.initrd = "x", .flat = FlatLoad{0x7c00, Mode::real}}), "--initrd");
}

}  // namespace
}  // namespace triune::boot
