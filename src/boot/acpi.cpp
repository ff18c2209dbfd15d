// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "boot/acpi.h"

#include <algorithm>
#include <cassert>
#include <cstring>

#include "base/bits.h"
#include "boot/acpi_table.h"
#include "bus/pc_ports.h"

namespace triune::boot {

namespace {

namespace pc = bus::pc;

constexpr std::string_view oem_id = "TRIUNE", oem_table_id = "TRIUNEPC";
constexpr u32 local_apic_gpa = 0xfee0'0000, io_apic_gpa = 0xfec0'0000;

/// Firmware ACPI Control Structure: nothing but its header, no checksum (ACPI 6.4, 5.2.10).
std::vector<u8> make_facs() {
    std::vector<u8> t(64);
    std::memcpy(t.data(), "FACS", 4);
    t[4] = 64;
    t[32] = 2;  // version
    return t;
}

/// ACPI 6.4, 5.2.9. There is no SMI command: the machine is in ACPI mode from the start.
std::vector<u8> make_fadt(Gpa facs, Gpa dsdt, u16 pm_ports) {
    constexpr u32 wbinvd = 1 << 0, c1_on_all = 1 << 2, no_sleep_button = 1 << 5, rtc_not_fixed = 1 << 6,
                  timer_32_bits = 1 << 8, reset_supported = 1 << 10;
    constexpr u16 legacy_devices = 1 << 0, no_vga = 1 << 2;  // and no 8042 (bit 1), but a CMOS RTC (bit 5)
    constexpr u16 no_c2 = 101, no_c3 = 1001;                 // latencies that say "not supported"
    AcpiTable t("FACP", 6);
    t.put(facs, 4);
    t.put(dsdt, 4);
    t.put(0, 1);  // reserved
    t.put(4, 1);  // preferred profile: enterprise server
    t.put(pc::sci_irq, 2);
    t.put(0, 4);  // SMI_CMD
    t.put(0, 4);  // ACPI_ENABLE, ACPI_DISABLE, S4BIOS_REQ, PSTATE_CNT
    t.put(pm_ports + pc::pm1_event_offset, 4);
    t.put(0, 4);  // PM1b event
    t.put(pm_ports + pc::pm1_control_offset, 4);
    t.put(0, 4);  // PM1b control
    t.put(0, 4);  // PM2 control
    t.put(pm_ports + pc::pm_timer_offset, 4);
    t.put(0, 4);  // GPE0
    t.put(0, 4);  // GPE1
    t.put(4, 1);  // PM1 event length
    t.put(2, 1);  // PM1 control length
    t.put(0, 1);  // PM2 control length
    t.put(4, 1);  // PM timer length
    t.put(0, 4);  // GPE0 and GPE1 lengths, GPE1 base, CST_CNT
    t.put(no_c2, 2);
    t.put(no_c3, 2);
    t.put(0, 4);  // flush size and stride: WBINVD works
    t.put(0, 2);  // duty offset and width
    t.put(0, 2);  // day and month alarms: none
    t.put(pc::cmos_century, 1);
    t.put(legacy_devices | no_vga, 2);
    t.put(0, 1);  // reserved
    t.put(wbinvd | c1_on_all | no_sleep_button | rtc_not_fixed | timer_32_bits | reset_supported, 4);
    t.put_io_address(pc::reset_port, 8);
    t.put(pc::reset_value, 1);
    t.put(0, 2);  // ARM boot flags
    t.put(3, 1);  // FADT 6.3
    t.put(0, 8);  // X_FIRMWARE_CTRL: the 32-bit field is used, never both
    t.put(dsdt, 8);
    t.put_io_address(static_cast<u16>(pm_ports + pc::pm1_event_offset), 32);
    t.put_io_address(0, 0);
    t.put_io_address(static_cast<u16>(pm_ports + pc::pm1_control_offset), 16);
    t.put_io_address(0, 0);
    t.put_io_address(0, 0);
    t.put_io_address(static_cast<u16>(pm_ports + pc::pm_timer_offset), 32);
    t.put_io_address(0, 0);
    t.put_io_address(0, 0);
    t.put_io_address(0, 0);  // sleep control
    t.put_io_address(0, 0);  // sleep status
    t.put(0, 8);             // hypervisor vendor identity
    return t.finish();
}

/// ACPI 6.4, 5.2.12.
std::vector<u8> make_madt(const AcpiConfig& config) {
    constexpr u32 pcat_compatible = 1, enabled = 1;
    constexpr u16 active_high_edge = 0x5, active_high_level = 0xd;
    AcpiTable t("APIC", 5);
    t.put(local_apic_gpa, 4);
    t.put(pcat_compatible, 4);
    for (unsigned id = 0; id < config.cpus; ++id) {
        if (id < 255) {
            t.put(0 | 8 << 8, 2);
            t.put(id, 1);  // processor UID
            t.put(id, 1);
            t.put(enabled, 4);
        } else {
            t.put(9 | 16 << 8, 2);
            t.put(0, 2);
            t.put(id, 4);
            t.put(enabled, 4);
            t.put(id, 4);
        }
    }
    t.put(1 | 12 << 8, 2);  // IOAPIC 0, GSI from 0
    t.put(0, 2);
    t.put(io_apic_gpa, 4);
    t.put(0, 4);
    const auto override_irq = [&](unsigned irq, unsigned gsi, u16 flags) {
        t.put(2 | 10 << 8, 2);
        t.put(0, 1);  // ISA
        t.put(irq, 1);
        t.put(gsi, 4);
        t.put(flags, 2);
    };
    override_irq(0, 2, active_high_edge);
    override_irq(pc::sci_irq, pc::sci_irq, active_high_level);
    t.put(4 | 6 << 8, 2);  // NMI on LINT1 of all processors, as the bus says
    t.put(0xff, 1);
    t.put(0, 2);
    t.put(1, 1);
    if (config.cpus > 255) {
        t.put(10 | 12 << 8, 2);
        t.put(0, 2);
        t.put(0xffff'ffff, 4);
        t.put(1, 1);
        t.put(0, 3);
    }
    return t.finish();
}

/// ACPI 6.4, 5.2.5.3.
std::vector<u8> make_rsdp(Gpa xsdt) {
    std::vector<u8> t(36);
    std::memcpy(t.data(), "RSD PTR ", 8);
    std::memcpy(t.data() + 9, oem_id.data(), 6);
    t[15] = 2;  // revision; no RSDT
    t[20] = 36;
    for (unsigned i = 0; i < 8; ++i) t[24 + i] = static_cast<u8>(xsdt >> (8 * i));
    t[8] = acpi_checksum(std::span(t).first(20));
    t[32] = acpi_checksum(t);
    return t;
}

}  // namespace

u8 acpi_checksum(std::span<const u8> bytes) {
    u8 sum = 0;
    for (const u8 b : bytes) sum = static_cast<u8>(sum + b);
    return static_cast<u8>(-sum);
}

AcpiTable::AcpiTable(std::string_view signature, u8 revision) {
    bytes_.assign(signature.begin(), signature.end());
    put(0, 4);  // length
    put(revision, 1);
    put(0, 1);  // checksum
    append({reinterpret_cast<const u8*>(oem_id.data()), 6});
    append({reinterpret_cast<const u8*>(oem_table_id.data()), 8});
    put(1, 4);  // OEM revision
    append({reinterpret_cast<const u8*>("TRI "), 4});
    put(1, 4);
}

void AcpiTable::put(u64 value, unsigned size) {
    for (unsigned i = 0; i < size; ++i) bytes_.push_back(static_cast<u8>(value >> (8 * i)));
}

void AcpiTable::put_io_address(u16 port, unsigned bits) {
    const u8 access = bits == 8 ? 1 : bits == 16 ? 2 : bits == 32 ? 3 : 0;
    put(port ? 1 : 0, 1);  // I/O space
    put(bits, 1);
    put(0, 1);
    put(access, 1);
    put(port, 8);
}

std::vector<u8> AcpiTable::finish() {
    for (unsigned i = 0; i < 4; ++i) bytes_[4 + i] = static_cast<u8>(bytes_.size() >> (8 * i));
    bytes_[9] = 0;
    bytes_[9] = acpi_checksum(bytes_);
    return std::move(bytes_);
}

namespace {

/// All tables but the RSDP as they stand at `base`, behind 64 bytes of room for that.
struct Placed {
    std::vector<u8> bytes;
    u64 facs = 0, dsdt = 0, fadt = 0, madt = 0, xsdt = 0;  ///< offsets
};

constexpr u64 rsdp_room = 64;

Result<Placed> place_tables(const AcpiConfig& config, Gpa base) {
    constexpr unsigned most_cpus = 1024;
    if (config.cpus == 0 || config.cpus > most_cpus) return fail("ACPI tables describe 1 to 1024 processors");
    Placed p;
    p.bytes.resize(rsdp_room);
    const auto place = [&](const std::vector<u8>& table) {
        const u64 offset = p.bytes.size();
        p.bytes.insert(p.bytes.end(), table.begin(), table.end());
        p.bytes.resize(base::align_up(p.bytes.size(), 64));  // FACS needs 64, the others do not mind
        return offset;
    };
    p.facs = place(make_facs());
    p.dsdt = place(make_dsdt(config));
    p.fadt = place(make_fadt(base + p.facs, base + p.dsdt, config.pm_ports));
    p.madt = place(make_madt(config));
    AcpiTable xsdt("XSDT", 1);
    xsdt.put(base + p.fadt, 8);
    xsdt.put(base + p.madt, 8);
    p.xsdt = place(xsdt.finish());
    assert(p.bytes.size() <= bios_gpa - acpi_gpa);
    return p;
}

/// Commands of the table loader (QEMU hw/acpi/bios-linker-loader.c): 128 bytes each.
class LoaderScript {
public:
    void allocate(std::string_view file, u32 alignment, u8 zone) {
        begin(1);
        name(file);
        put(alignment, 4);
        put(zone, 1);
    }
    /// Adds the address of `to` to the number of `size` bytes at `offset` of `file`.
    void add_pointer(std::string_view file, std::string_view to, u64 offset, u8 size) {
        begin(2);
        name(file);
        name(to);
        put(offset, 4);
        put(size, 1);
    }
    /// Makes the sum of [start, start+length) zero by the byte at `offset`.
    void add_checksum(std::string_view file, u64 offset, u64 start, u64 length) {
        begin(3);
        name(file);
        put(offset, 4);
        put(start, 4);
        put(length, 4);
    }
    std::vector<u8> finish() {
        bytes_.resize(base::align_up(bytes_.size(), command_size));
        return std::move(bytes_);
    }

private:
    static constexpr u64 command_size = 128, name_size = 56;
    void begin(u32 command) {
        bytes_.resize(base::align_up(bytes_.size(), command_size));
        put(command, 4);
    }
    void name(std::string_view file) {
        bytes_.insert(bytes_.end(), file.begin(), file.end());
        bytes_.resize(bytes_.size() + name_size - file.size());
    }
    void put(u64 v, unsigned size) {
        for (unsigned i = 0; i < size; ++i) bytes_.push_back(static_cast<u8>(v >> (8 * i)));
    }
    std::vector<u8> bytes_;
};

}  // namespace

Result<std::vector<u8>> make_acpi(const AcpiConfig& config) {
    auto placed = place_tables(config, acpi_gpa);
    if (!placed) return std::unexpected(placed.error());
    const auto rsdp = make_rsdp(acpi_gpa + placed->xsdt);
    std::ranges::copy(rsdp, placed->bytes.begin());
    return std::move(placed->bytes);
}

Result<AcpiFiles> make_acpi_files(const AcpiConfig& config) {
    constexpr std::string_view tables = acpi_tables_file, rsdp = acpi_rsdp_file;
    constexpr u8 high_memory = 1, f_segment = 2;
    // Where tables hold addresses of others (ACPI 6.4, 5.2.9, 5.2.8, 5.2.5.3).
    constexpr u64 fadt_facs = 36, fadt_dsdt = 40, fadt_x_dsdt = 140, xsdt_entries = 36, rsdp_xsdt = 24;
    constexpr u64 length_at = 4, checksum_at = 9, rsdp_checksum = 8, rsdp_extended_checksum = 32;
    auto placed = place_tables(config, 0);
    if (!placed) return std::unexpected(placed.error());
    LoaderScript script;
    script.allocate(tables, 64, high_memory);
    script.allocate(rsdp, 16, f_segment);
    script.add_pointer(tables, tables, placed->fadt + fadt_facs, 4);
    script.add_pointer(tables, tables, placed->fadt + fadt_dsdt, 4);
    script.add_pointer(tables, tables, placed->fadt + fadt_x_dsdt, 8);
    script.add_pointer(tables, tables, placed->xsdt + xsdt_entries, 8);
    script.add_pointer(tables, tables, placed->xsdt + xsdt_entries + 8, 8);
    for (const u64 table : {placed->fadt, placed->xsdt}) {
        u32 length;
        std::memcpy(&length, &placed->bytes[table + length_at], sizeof length);
        script.add_checksum(tables, table + checksum_at, table, length);
    }
    AcpiFiles files{.tables = std::move(placed->bytes), .rsdp = make_rsdp(placed->xsdt)};
    script.add_pointer(rsdp, tables, rsdp_xsdt, 8);
    script.add_checksum(rsdp, rsdp_checksum, 0, 20);
    script.add_checksum(rsdp, rsdp_extended_checksum, 0, files.rsdp.size());
    files.loader = script.finish();
    return files;
}

Result<Gpa> install_acpi(memory::GuestMemory& memory, const AcpiConfig& config) {
    const auto tables = make_acpi(config);
    if (!tables) return std::unexpected(tables.error());
    if (!memory.write(acpi_gpa, tables->data(), tables->size()))
        return fail("the guest's memory is too small for ACPI tables");
    return acpi_gpa;
}

}  // namespace triune::boot
