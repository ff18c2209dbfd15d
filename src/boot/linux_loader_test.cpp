// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include <elf.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "boot/bytes.h"
#include "boot/bzimage.h"
#include "boot/elf_image.h"
#include "boot/kernel_loader.h"
#include "boot/layout.h"

namespace triune::boot {
namespace {

namespace fs = std::filesystem;
using Bytes = std::vector<u8>;

template <class T>
void put(Bytes& to, u64 at, T v) {
    ASSERT_LE(at + sizeof v, to.size());
    std::memcpy(to.data() + at, &v, sizeof v);
}

/// A well-formed 2.15 bzImage without a real kernel: 4 setup sectors, 8 KB of payload.
Bytes synthetic_bzimage() {
    Bytes f(5 * 512 + 0x2000);
    f[0x1f1] = 4;
    put<u32>(f, 0x1f4, 0x2000 / 16);
    put<u16>(f, 0x1fe, 0xaa55);
    put<u16>(f, 0x200, 0x6aeb);
    put<u32>(f, 0x202, 0x53726448);
    put<u16>(f, 0x206, 0x020f);
    f[0x211] = 1;
    put<u32>(f, 0x22c, 0x7fffffff);
    put<u32>(f, 0x230, 0x200000);
    f[0x234] = 1;
    put<u16>(f, 0x236, 1);
    put<u32>(f, 0x238, 2047);
    put<u64>(f, 0x258, 0x1000000);
    put<u32>(f, 0x260, 0x300000);
    for (u64 i = 5 * 512; i < f.size(); ++i) f[i] = static_cast<u8>(i * 7);
    return f;
}

/// A vmlinux with a PVH note, one segment of 0x1000 bytes in the file and 0x3000 in memory.
Bytes synthetic_elf() {
    Bytes f(0x2000);
    Elf64_Ehdr e{};
    std::memcpy(e.e_ident, ELFMAG, SELFMAG);
    e.e_ident[EI_CLASS] = ELFCLASS64;
    e.e_ident[EI_DATA] = ELFDATA2LSB;
    e.e_type = ET_EXEC;
    e.e_machine = EM_X86_64;
    e.e_phoff = 64;
    e.e_phentsize = sizeof(Elf64_Phdr);
    e.e_phnum = 2;
    put(f, 0, e);
    Elf64_Phdr load{
        .p_type = PT_LOAD, .p_offset = 0x1000, .p_paddr = 0x1000000, .p_filesz = 0x1000, .p_memsz = 0x3000};
    Elf64_Phdr note{.p_type = PT_NOTE, .p_offset = 0x200, .p_filesz = 44};
    put(f, 64, load);
    put(f, 64 + sizeof load, note);
    // Another vendor's note first.
    put(f, 0x200, Elf64_Nhdr{.n_namesz = 4, .n_descsz = 4, .n_type = 1});
    std::memcpy(&f[0x20c], "GNU", 4);
    put(f, 0x214, Elf64_Nhdr{.n_namesz = 4, .n_descsz = 8, .n_type = 18});
    std::memcpy(&f[0x220], "Xen", 4);
    put<u64>(f, 0x224, 0x1000040);
    for (u64 i = 0x1000; i < f.size(); ++i) f[i] = 0x90;
    return f;
}

struct LoaderTest : testing::Test {
    LoaderTest() {
        dir = (fs::temp_directory_path() / "triune-boot-XXXXXX").string();
        EXPECT_TRUE(::mkdtemp(dir.data()));
        make_memory(64);
    }
    ~LoaderTest() override { fs::remove_all(dir); }
    void make_memory(u64 megabytes) {
        memory = memory::GuestMemory::create(megabytes << 20).value();
        EXPECT_TRUE(place_ram(*memory));
    }
    std::string file(const std::string& name, const Bytes& bytes) {
        std::ofstream(dir + "/" + name, std::ios::binary)
            .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
        return dir + "/" + name;
    }
    std::string error(const BootConfig& c) {
        const auto r = load_kernel(*memory, c);
        return r ? "(success)" : r.error().message;
    }
    template <class T>
    T get(Gpa gpa) {
        T v{};
        EXPECT_TRUE(memory->read_value(gpa, v));
        return v;
    }
    std::string dir;
    std::unique_ptr<memory::GuestMemory> memory;
};

#define EXPECT_CONTAINS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

TEST_F(LoaderTest, BzImageBoots64Bit) {
    const Bytes image = synthetic_bzimage();
    const Bytes initrd(5000, 0xab);
    const auto s = load_kernel(*memory, {.kernel = file("vmlinuz", image),
                                         .initrd = file("initrd", initrd),
                                         .cmdline = "console=ttyS0",
                                         .acpi_rsdp = 0xe0000});
    ASSERT_TRUE(s) << s.error().message;
    EXPECT_EQ(s->rip, 0x1000200u);
    EXPECT_EQ(s->gpr[x86::rsi], boot_params_gpa);
    EXPECT_TRUE(s->code64());
    EXPECT_TRUE(s->cr0 & x86::cr0::pg);
    EXPECT_FALSE(s->rflags & x86::flag::if_);
    EXPECT_EQ(s->seg[x86::cs].selector, 0x10);
    EXPECT_EQ(s->seg[x86::ss].selector, 0x18);

    Bytes loaded(image.size() - 5 * 512);
    ASSERT_TRUE(memory->read(0x1000000, loaded.data(), loaded.size()));
    EXPECT_TRUE(std::equal(loaded.begin(), loaded.end(), image.begin() + 5 * 512));

    const Gpa bp = boot_params_gpa;
    EXPECT_EQ(get<u32>(bp + 0x202), 0x53726448u);
    EXPECT_EQ(get<u8>(bp + 0x210), 0xff);
    EXPECT_EQ(get<u64>(bp + 0x70), 0xe0000u);
    EXPECT_EQ(get<u32>(bp + 0x228), cmdline_gpa);
    char cmdline[14];
    ASSERT_TRUE(memory->read(cmdline_gpa, cmdline, sizeof cmdline));
    EXPECT_STREQ(cmdline, "console=ttyS0");
    const u32 at = get<u32>(bp + 0x218);
    EXPECT_EQ(get<u32>(bp + 0x21c), 5000u);
    EXPECT_EQ(at, (64u << 20) - 0x2000);
    EXPECT_EQ(get<u8>(at), 0xab);
    EXPECT_EQ(get<u8>(at + 4999), 0xab);
    const u64 seed = get<u64>(bp + 0x250);
    EXPECT_EQ(get<u32>(seed + 8), 9u);
    EXPECT_NE(get<u64>(seed + 16), 0u);
    EXPECT_EQ(get<u8>(bp + 0x1ef), 0) << "sentinel";

    // The map in the zero page.
    ASSERT_GE(get<u8>(bp + 0x1e8), 4);
    EXPECT_EQ(get<u64>(bp + 0x2d0), 0u);
    EXPECT_EQ(get<u64>(bp + 0x2d8), 0x9fc00u);
    EXPECT_EQ(get<u32>(bp + 0x2e0), 1u);

    // Page tables and GDT say what the state says.
    EXPECT_EQ(get<u64>(s->cr3) & ~0xfffull, page_tables_gpa + 0x1000);
    const u64 pd = get<u64>((get<u64>(s->cr3) & ~0xfffull) + 8 * 3) & ~0xfffull;
    EXPECT_EQ(get<u64>(pd + 8 * 511), 0xffe00083u);
    EXPECT_EQ(get<u64>(s->gdtr.base + 0x10), 0x00af9b000000ffffu);
    EXPECT_EQ(get<u64>(s->gdtr.base + 0x18), 0x00cf93000000ffffu);
}

TEST_F(LoaderTest, LoadingAgainAfterAResetWorksOnDirtyMemory) {
    const BootConfig c{.kernel = file("vmlinux", synthetic_elf())};
    ASSERT_TRUE(load_kernel(*memory, c));
    const Bytes junk(0x3000, 0xcc);
    ASSERT_TRUE(memory->write(0x1000000, junk.data(), junk.size()));
    ASSERT_TRUE(load_kernel(*memory, c));
    EXPECT_EQ(get<u8>(0x1000fff), 0x90);
    EXPECT_EQ(get<u8>(0x1001000), 0);
    EXPECT_EQ(get<u8>(0x1002fff), 0);
}

TEST_F(LoaderTest, KernelWithout64BitEntryStartsIn32BitMode) {
    Bytes image = synthetic_bzimage();
    put<u16>(image, 0x236, 0);
    const auto s = load_kernel(*memory, {.kernel = file("vmlinuz", image)});
    ASSERT_TRUE(s);
    EXPECT_EQ(s->rip, 0x1000000u);
    EXPECT_FALSE(s->efer);
    EXPECT_EQ(s->cr0 & (x86::cr0::pe | x86::cr0::pg), x86::cr0::pe);
    EXPECT_TRUE(s->seg[x86::cs].db());
}

TEST_F(LoaderTest, RelocatesWhenThePreferredPlaceIsNoRam) {
    Bytes image = synthetic_bzimage();
    put<u64>(image, 0x258, 0x3f00000);  // + 3 MB of init_size is beyond 64 MB
    auto s = load_kernel(*memory, {.kernel = file("vmlinuz", image)});
    ASSERT_TRUE(s);
    EXPECT_EQ(s->rip, 0x200200u);
    image[0x234] = 0;
    EXPECT_CONTAINS(error({.kernel = file("vmlinuz", image)}), "does not fit into 64 MB");
    put<u64>(image, 0x258, ~u64{0} - 0x1000);
    EXPECT_CONTAINS(error({.kernel = file("vmlinuz", image)}), "does not fit");
}

TEST_F(LoaderTest, PvhElfBoots) {
    const auto s = load_kernel(*memory, {.kernel = file("vmlinux", synthetic_elf()),
                                         .initrd = file("initrd", Bytes(100, 1)),
                                         .cmdline = "quiet",
                                         .acpi_rsdp = 0xe0000});
    ASSERT_TRUE(s) << s.error().message;
    EXPECT_EQ(s->rip, 0x1000040u);
    EXPECT_EQ(s->efer, 0u);
    const Gpa info = s->gpr[x86::rbx];
    EXPECT_EQ(get<u32>(info), 0x336ec578u);
    EXPECT_EQ(get<u32>(info + 4), 1u);
    EXPECT_EQ(get<u32>(info + 12), 1u);
    const Gpa module = get<u64>(info + 16);
    EXPECT_EQ(get<u8>(get<u64>(module)), 1);
    EXPECT_EQ(get<u64>(module + 8), 100u);
    EXPECT_EQ(get<u64>(info + 24), cmdline_gpa);
    EXPECT_EQ(get<u64>(info + 32), 0xe0000u);
    const Gpa map = get<u64>(info + 40);
    EXPECT_EQ(get<u32>(info + 48), make_memory_map(*memory).size());
    EXPECT_EQ(get<u64>(map + 8), 0x9fc00u);
}

TEST_F(LoaderTest, ErrorsAreOneClearLine) {
    const std::string missing = error({.kernel = dir + "/none"});
    EXPECT_CONTAINS(missing, "none: No such file");
    EXPECT_CONTAINS(error({.kernel = dir}), "not a regular file");
    EXPECT_CONTAINS(error({.kernel = file("k", {})}), "not a Linux kernel (no HdrS magic at 0x202)");
    EXPECT_CONTAINS(error({.kernel = file("k", Bytes(4096, 'x'))}),
                    "/k: not a Linux kernel (no HdrS magic at 0x202)");
    EXPECT_CONTAINS(error({.kernel = file("k", Bytes(65 << 20))}), "do not fit into the guest's memory");

    Bytes image = synthetic_bzimage();
    Bytes cut(image.begin(), image.begin() + 0x250);
    EXPECT_CONTAINS(error({.kernel = file("k", cut)}), "truncated");
    cut.assign(image.begin(), image.begin() + 5 * 512);
    EXPECT_CONTAINS(error({.kernel = file("k", cut)}), "truncated (the kernel begins at 0xa00");
    cut.assign(image.begin(), image.end() - 16);
    EXPECT_CONTAINS(error({.kernel = file("k", cut)}),
                    "truncated (its kernel has 0x2000 bytes, 0x1ff0 are there)");
    cut.assign(image.begin(), image.end() - 15);  // the last paragraph is begun
    EXPECT_EQ(error({.kernel = file("k", cut)}), "(success)");
    put<u16>(image, 0x206, 0x0204);
    EXPECT_CONTAINS(error({.kernel = file("k", image)}), "boot protocol 2.04 is too old");

    const std::string good = file("good", synthetic_bzimage());
    EXPECT_CONTAINS(error({.kernel = good, .cmdline = std::string(2048, 'a')}), "2048 characters");
    EXPECT_EQ(error({.kernel = good, .cmdline = std::string(2047, 'a')}), "(success)");
    EXPECT_CONTAINS(error({.kernel = good, .initrd = dir + "/none"}), "none: No such file");
    EXPECT_CONTAINS(error({.kernel = good, .initrd = file("i", {})}), "empty");
    EXPECT_CONTAINS(error({.kernel = good, .initrd = file("i", Bytes(60 << 20))}), "does not fit between");
    make_memory(1);
    EXPECT_CONTAINS(error({.kernel = good}), "does not fit into 1 MB");
}

TEST_F(LoaderTest, InitrdRespectsTheKernelsLimit) {
    Bytes image = synthetic_bzimage();
    put<u32>(image, 0x22c, 0x1ffffff);
    const auto i = file("i", Bytes(0x1800, 7));
    ASSERT_TRUE(load_kernel(*memory, {.kernel = file("k", image), .initrd = i}));
    EXPECT_EQ(get<u32>(boot_params_gpa + 0x218), 0x1ffe000u);
    put<u32>(image, 0x22c, 0x100);  // nonsense
    EXPECT_CONTAINS(error({.kernel = file("k", image), .initrd = i}), "does not fit between");
}

TEST_F(LoaderTest, HostileElfHeaders) {
    const auto with = [&](auto change) {
        Bytes f = synthetic_elf();
        change(f);
        return error({.kernel = file("k", f)});
    };
    constexpr u64 ph = 64;
    EXPECT_CONTAINS(with([](Bytes& f) { put<u64>(f, 32, ~u64{0} - 8); }), "beyond the end");
    EXPECT_CONTAINS(with([](Bytes& f) { put<u16>(f, 56, 0xffff); }), "program headers");
    EXPECT_CONTAINS(with([](Bytes& f) { put<u16>(f, 54, 1); }), "without program headers");
    EXPECT_CONTAINS(with([](Bytes& f) { put<u64>(f, ph + 8, ~u64{0}); }), "beyond the end");
    EXPECT_CONTAINS(with([](Bytes& f) { put<u64>(f, ph + 32, ~u64{0}); }), "beyond the end");
    EXPECT_CONTAINS(with([](Bytes& f) { put<u64>(f, ph + 40, 1); }), "impossible size");
    EXPECT_CONTAINS(with([](Bytes& f) { put<u64>(f, ph + 40, ~u64{0}); }), "impossible size");
    EXPECT_CONTAINS(with([](Bytes& f) {
                        put<u64>(f, ph + 24, 0xfff000);
                        put<u64>(f, ph + 40, 0x10000000);
                    }),
                    "does not fit into 64 MB");
    EXPECT_CONTAINS(with([](Bytes& f) { put<u64>(f, ph + 24, 0x7000); }), "lies in no segment");
    EXPECT_CONTAINS(with([](Bytes& f) {
                        put<u64>(f, ph + 24, 0x7000);
                        put<u64>(f, 0x224, 0x7000);
                    }),
                    "below 1 MB");
    EXPECT_CONTAINS(with([](Bytes& f) { put<u32>(f, 0x214 + 8, 17); }), "nor a PVH entry");
    EXPECT_CONTAINS(with([](Bytes& f) { put<u32>(f, 0x214, 0xffffffff); }), "nor a PVH entry");
    EXPECT_CONTAINS(with([](Bytes& f) { put<u16>(f, 18, EM_AARCH64); }), "another processor");
    EXPECT_CONTAINS(with([](Bytes& f) { f.resize(20); }), "truncated");
    EXPECT_CONTAINS(with([](Bytes& f) { f.resize(4); }), "truncated");
}

/// Every header byte may be anything: the parsers must answer, and what they accept must load or
/// fail cleanly.
TEST_F(LoaderTest, EveryCorruptHeaderByteIsSurvived) {
    for (const Bytes& good : {synthetic_bzimage(), synthetic_elf()}) {
        const u64 end = looks_like_elf(good) ? 0x230 : 0x290;
        for (u64 at = 0; at < end; ++at)
            for (const u8 v : {0x00, 0x01, 0x7f, 0x80, 0xff}) {
                Bytes f = good;
                if (f[at] == v) continue;
                f[at] = v;
                if (looks_like_elf(f)) {
                    const auto r = parse_elf(f, "k");
                    EXPECT_TRUE(!r || !r->segments.empty());
                } else if (const auto r = parse_bzimage(f, "k")) {
                    EXPECT_LE(r->payload.size(), r->init_size);
                    EXPECT_LE(r->header.size(), 0x290u - 0x1f1u);
                }
            }
        for (u64 size = 0; size < good.size(); size += 37) {
            const Bytes f(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(size));
            (void)parse_elf(f, "k");
            (void)parse_bzimage(f, "k");
        }
    }
}

TEST(Layout, MemoryMapOfSmallAndLargeGuests) {
    using enum MapEntry::Type;
    auto small = memory::GuestMemory::create(64 << 20).value();
    ASSERT_TRUE(place_ram(*small));
    EXPECT_EQ(make_memory_map(*small), (std::vector<MapEntry>{{0, 0x9fc00, ram},
                                                              {0x9fc00, 0x400, reserved},
                                                              {0xe0000, 0x20000, reserved},
                                                              {0x100000, 0x3f00000, ram}}));
    EXPECT_EQ(low_ram_end(*small), 64u << 20);

    auto large = memory::GuestMemory::create(u64{5} << 30).value();
    ASSERT_TRUE(place_ram(*large));
    const auto map = make_memory_map(*large);
    ASSERT_EQ(map.size(), 5u);
    EXPECT_EQ(map[3], (MapEntry{0x100000, 0xbff00000, ram}));
    EXPECT_EQ(map[4], (MapEntry{u64{1} << 32, u64{2} << 30, ram}));
    EXPECT_EQ(low_ram_end(*large), 0xc0000000u);
}

/// TRIUNE_TEST_KERNEL may name a real bzImage to load.
TEST_F(LoaderTest, RealKernel) {
    const char* path = std::getenv("TRIUNE_TEST_KERNEL");
    if (!path) GTEST_SKIP() << "set TRIUNE_TEST_KERNEL to the path of a bzImage";
    make_memory(256);
    const auto s = load_kernel(*memory, {.kernel = path});
    ASSERT_TRUE(s) << s.error().message;
    EXPECT_TRUE(s->code64());
    EXPECT_EQ(s->rip % 0x200000, 0x200u);
}

}  // namespace
}  // namespace triune::boot
