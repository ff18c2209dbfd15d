// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "boot/acpi.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <numeric>

#include "boot/acpi_table.h"
#include "boot/aml.h"
#include "boot/bytes.h"

namespace triune::boot {
namespace {

u8 sum(std::span<const u8> bytes) { return std::accumulate(bytes.begin(), bytes.end(), u8{0}); }

/// Walks from the RSDP as a guest does.
struct Tables {
    explicit Tables(const AcpiConfig& config) : all(make_acpi(config).value()) {
        rsdp = std::span(all).first(36);
        xsdt = table(get<u64>(rsdp, 24));
        for (u64 at = 36; at < xsdt.size(); at += 8) add(get<u64>(xsdt, at));
        add(get<u64>(by_name.at("FACP"), 140));
    }
    void add(Gpa gpa) {
        const auto t = table(gpa);
        by_name[std::string(reinterpret_cast<const char*>(t.data()), 4)] = t;
    }
    std::span<const u8> table(Gpa gpa) {
        const auto length = load<u32>(all, gpa - acpi_gpa + 4);
        return part(all, gpa - acpi_gpa, length.value()).value();
    }
    template <class T>
    static T get(std::span<const u8> bytes, u64 at) {
        return load<T>(bytes, at).value();
    }
    std::vector<u8> all;
    std::span<const u8> rsdp, xsdt;
    std::map<std::string, std::span<const u8>> by_name;
};

TEST(Acpi, ChecksumsAndPointers) {
    Tables t({.cpus = 2});
    EXPECT_EQ(std::string(t.rsdp.begin(), t.rsdp.begin() + 8), "RSD PTR ");
    EXPECT_EQ(sum(t.rsdp.first(20)), 0);
    EXPECT_EQ(sum(t.rsdp), 0);
    EXPECT_EQ(std::string(t.xsdt.begin(), t.xsdt.begin() + 4), "XSDT");
    EXPECT_EQ(sum(t.xsdt), 0);
    ASSERT_EQ(t.by_name.size(), 3u);
    for (const auto& [name, bytes] : t.by_name) EXPECT_EQ(sum(bytes), 0) << name;
    const auto fadt = t.by_name.at("FACP");
    EXPECT_EQ(fadt.size(), 276u);
    EXPECT_EQ(Tables::get<u32>(fadt, 40), Tables::get<u64>(fadt, 140)) << "DSDT and X_DSDT";
    const u32 facs = Tables::get<u32>(fadt, 36);
    EXPECT_EQ(facs % 64, 0u);
    EXPECT_EQ(std::memcmp(t.table(facs).data(), "FACS", 4), 0);
    EXPECT_LE(t.all.size(), bios_gpa - acpi_gpa);
}

TEST(Acpi, FadtFieldsLieWhereTheSpecificationSays) {
    Tables t({.cpus = 1});
    const auto fadt = t.by_name.at("FACP");
    EXPECT_EQ(Tables::get<u16>(fadt, 46), 9u);       // SCI_INT
    EXPECT_EQ(Tables::get<u32>(fadt, 56), 0x600u);   // PM1a_EVT_BLK
    EXPECT_EQ(Tables::get<u32>(fadt, 64), 0x604u);   // PM1a_CNT_BLK
    EXPECT_EQ(Tables::get<u32>(fadt, 76), 0x608u);   // PM_TMR_BLK
    EXPECT_EQ(fadt[88], 4);                          // PM1_EVT_LEN
    EXPECT_EQ(fadt[89], 2);                          // PM1_CNT_LEN
    EXPECT_EQ(fadt[91], 4);                          // PM_TMR_LEN
    EXPECT_EQ(fadt[108], 0x32);                      // CENTURY
    EXPECT_EQ(Tables::get<u16>(fadt, 109), 5u);      // IAPC_BOOT_ARCH
    EXPECT_EQ(Tables::get<u32>(fadt, 112), 0x565u);  // flags
    EXPECT_EQ(fadt[116], 1);                         // reset register: I/O space
    EXPECT_EQ(Tables::get<u64>(fadt, 120), 0xcf9u);
    EXPECT_EQ(fadt[128], 6);                             // RESET_VALUE
    EXPECT_EQ(Tables::get<u64>(fadt, 148 + 4), 0x600u);  // X_PM1a_EVT_BLK
    EXPECT_EQ(Tables::get<u64>(fadt, 172 + 4), 0x604u);  // X_PM1a_CNT_BLK
    EXPECT_EQ(Tables::get<u64>(fadt, 208 + 4), 0x608u);  // X_PM_TMR_BLK
}

TEST(Acpi, MadtNamesEveryProcessor) {
    for (const unsigned cpus : {1u, 3u, 300u}) {
        Tables t({.cpus = cpus});
        const auto madt = t.by_name.at("APIC");
        std::map<u8, unsigned> kinds;
        for (u64 at = 44; at < madt.size();) {
            ++kinds[madt[at]];
            ASSERT_GE(madt[at + 1], 2);
            at += madt[at + 1];
            ASSERT_LE(at, madt.size());
        }
        EXPECT_EQ(kinds[0] + kinds[9], cpus);
        EXPECT_EQ(kinds[1], 1u);  // IOAPIC
        EXPECT_EQ(kinds[2], 2u);  // overrides: IRQ 0, SCI
        EXPECT_EQ(kinds[4], 1u);  // LINT1
    }
    EXPECT_FALSE(make_acpi({.cpus = 0}));
    EXPECT_FALSE(make_acpi({.cpus = 5000}));
}

TEST(Acpi, InstallsIntoMemory) {
    auto memory = memory::GuestMemory::create(4 << 20).value();
    EXPECT_FALSE(install_acpi(*memory, {})) << "no RAM yet";
    ASSERT_TRUE(place_ram(*memory));
    const auto rsdp = install_acpi(*memory, {});
    ASSERT_TRUE(rsdp);
    char signature[8];
    ASSERT_TRUE(memory->read(*rsdp, signature, 8));
    EXPECT_EQ(std::string_view(signature, 8), "RSD PTR ");
    EXPECT_EQ(*rsdp % 16, 0u);
}

TEST(Aml, Encodings) {
    using aml::Bytes;
    EXPECT_EQ(aml::path("\\_SB_.PCI0"), (Bytes{'\\', 0x2e, '_', 'S', 'B', '_', 'P', 'C', 'I', '0'}));
    EXPECT_EQ(aml::integer(0), Bytes{0});
    EXPECT_EQ(aml::integer(1), Bytes{1});
    EXPECT_EQ(aml::integer(0x1234), (Bytes{0x0b, 0x34, 0x12}));
    EXPECT_EQ(aml::integer(u64{1} << 40), (Bytes{0x0e, 0, 0, 0, 0, 0, 1, 0, 0}));
    EXPECT_EQ(aml::eisa_id("PNP0A03"), (Bytes{0x0c, 0x41, 0xd0, 0x0a, 0x03}));
    EXPECT_EQ(aml::package({aml::integer(5)}), (Bytes{0x12, 4, 1, 0x0a, 5}));
    // PkgLength of one, two and three bytes (ACPI 6.4, 20.2.4), counting itself.
    EXPECT_EQ(aml::scope("AAAA", Bytes(58))[1], 63);
    const Bytes two = aml::scope("AAAA", Bytes(59));
    EXPECT_EQ((Bytes{two[1], two[2]}), (Bytes{0x41, 0x04}));  // 65
    const Bytes three = aml::scope("AAAA", Bytes(0x1000));
    EXPECT_EQ((Bytes{three[1], three[2], three[3]}), (Bytes{0x87, 0x00, 0x01}));  // 0x1007
}

/// ACPICA's disassembler and compiler are the judges where they are installed.
TEST(Acpi, IaslAcceptsEverything) {
    if (std::system("iasl -v >/dev/null 2>&1") != 0) GTEST_SKIP() << "iasl (acpica-tools) is not installed";
    namespace fs = std::filesystem;
    std::string dir = (fs::temp_directory_path() / "triune-acpi-XXXXXX").string();
    ASSERT_TRUE(::mkdtemp(dir.data()));
    const auto run = [&](const std::string& command) {
        const int status = std::system(("cd " + dir + " && " + command + " >log 2>&1").c_str());
        std::ifstream log(dir + "/log");
        return std::pair(status, std::string(std::istreambuf_iterator<char>(log), {}));
    };
    Tables t({.cpus = 4});
    t.by_name["XSDT"] = t.xsdt;
    for (const auto& [name, bytes] : t.by_name) {
        std::ofstream(dir + "/" + name + ".aml", std::ios::binary)
            .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
        const auto [status, log] = run("iasl -d " + name + ".aml");
        EXPECT_EQ(status, 0) << name << '\n' << log;
        for (const char* bad : {"Error", "Incorrect checksum", "Invalid", "Warning"})
            EXPECT_EQ(log.find(bad), std::string::npos) << name << '\n' << log;
        std::ifstream source_file(dir + "/" + name + ".dsl");
        const std::string source(std::istreambuf_iterator<char>(source_file), {});
        EXPECT_EQ(source.find("Incorrect"), std::string::npos) << source;
        EXPECT_EQ(source.find("Unknown"), std::string::npos) << source;
        if (name != "DSDT") continue;
        for (const char* wanted : {"PNP0A03", "PNP0501", "PNP0B00", "_PRT", "_S5", "DWordMemory"})
            EXPECT_NE(source.find(wanted), std::string::npos) << wanted;
        const auto [compiled, report] = run("iasl -ve DSDT.dsl");
        EXPECT_EQ(compiled, 0) << report;
        EXPECT_NE(report.find(" 0 Errors, 0 Warnings"), std::string::npos) << report;
    }
    fs::remove_all(dir);
}

/// Does what firmware does with the loader's commands, for files at made-up addresses.
TEST(Acpi, FilesForFirmwareLinkUp) {
    AcpiFiles files = make_acpi_files({.cpus = 3}).value();
    const auto file = [&](u64 at) -> std::pair<std::vector<u8>*, u64> {
        const std::string name(reinterpret_cast<const char*>(&files.loader[at]));
        if (name == acpi_tables_file) return {&files.tables, 0x7fe0000};
        EXPECT_EQ(name, acpi_rsdp_file);
        return {&files.rsdp, 0xf5000};
    };
    ASSERT_EQ(files.loader.size() % 128, 0u);
    for (u64 at = 0; at < files.loader.size(); at += 128) {
        const u32 command = load<u32>(files.loader, at).value();
        auto& target = *file(at + 4).first;
        if (command == 2) {
            const u64 base = file(at + 60).second;
            const u32 offset = load<u32>(files.loader, at + 116).value();
            const u8 size = files.loader[at + 120];
            u64 v = 0;
            ASSERT_LE(offset + size, target.size());
            std::memcpy(&v, &target[offset], size);
            v += base;
            std::memcpy(&target[offset], &v, size);
        } else if (command == 3) {
            const u32 offset = load<u32>(files.loader, at + 60).value(),
                      start = load<u32>(files.loader, at + 64).value(),
                      length = load<u32>(files.loader, at + 68).value();
            target[offset] =
                static_cast<u8>(target[offset] + acpi_checksum(std::span(target).subspan(start, length)));
        } else {
            EXPECT_EQ(command, 1u);
        }
    }
    EXPECT_EQ(acpi_checksum(files.rsdp), 0);
    EXPECT_EQ(acpi_checksum(std::span(files.rsdp).first(20)), 0);
    const auto table = [&](u64 gpa) {
        const u64 at = gpa - 0x7fe0000;
        return part(files.tables, at, load<u32>(files.tables, at + 4).value()).value();
    };
    const auto xsdt = table(load<u64>(files.rsdp, 24).value());
    EXPECT_EQ(std::memcmp(xsdt.data(), "XSDT", 4), 0);
    const auto fadt = table(load<u64>(xsdt, 36).value()), madt = table(load<u64>(xsdt, 44).value());
    EXPECT_EQ(std::memcmp(fadt.data(), "FACP", 4), 0);
    EXPECT_EQ(std::memcmp(madt.data(), "APIC", 4), 0);
    EXPECT_EQ(load<u64>(fadt, 140).value(), load<u32>(fadt, 40).value());
    const auto dsdt = table(load<u32>(fadt, 40).value());
    EXPECT_EQ(std::memcmp(dsdt.data(), "DSDT", 4), 0);
    EXPECT_EQ(std::memcmp(table(load<u32>(fadt, 36).value()).data(), "FACS", 4), 0);
    for (const auto& t : {xsdt, fadt, madt, dsdt}) EXPECT_EQ(acpi_checksum(t), 0);
}

}  // namespace
}  // namespace triune::boot
