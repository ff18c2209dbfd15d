// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "machine/firmware.h"

#include <fmt/format.h>

#include <algorithm>

#include "boot/file.h"
#include "boot/layout.h"
#include "memory/slot_switch.h"

namespace triune::machine {

namespace {

constexpr Gpa vga_gpa = 0xa0000, area_gpa = 0xc0000, area_end = 0x100000, four_gb = u64{1} << 32;
constexpr u64 low_rom = 128 << 10;

device::PamSegment segment_at_reset(unsigned index) {
    return device::HostBridge([](unsigned, const device::PamSegment&) {}).segment(index);
}

unsigned segment_of(u64 offset) {
    return std::min<unsigned>(static_cast<unsigned>(offset >> 14), device::pam_segments - 1);
}

}  // namespace

std::expected<std::vector<u8>, VmError> read_firmware(const std::string& path) {
    const auto refuse = [](std::string message) {
        return std::unexpected(VmError{std::move(message), true});
    };
    auto file = boot::open_input(path);
    if (!file) return refuse(file.error().message);
    if (file->size < smallest_firmware || file->size > largest_firmware ||
        file->size % smallest_firmware != 0)
        return refuse(fmt::format("{}: {} bytes are no firmware: a ROM has 64 KB to 16 MB, in whole 64 KB",
                                  path, file->size));
    std::vector<u8> bytes(file->size);
    if (auto r = boot::read_all(*file, bytes.data()); !r) return refuse(r.error().message);
    return bytes;
}

std::expected<std::unique_ptr<memory::GuestMemory>, VmError> make_firmware_memory(
    u64 ram_bytes, const std::vector<u8>& rom) {
    auto memory = memory::GuestMemory::create(ram_bytes + rom.size());
    if (!memory) return std::unexpected(VmError{memory.error().message});
    const u64 low = std::min(ram_bytes, boot::low_ram_limit);
    Result<void> r = (*memory)->add_slot(area_end, low - area_end, area_end);
    if (r && ram_bytes > low) r = (*memory)->add_slot(boot::high_ram_base, ram_bytes - low, low);
    if (r) r = (*memory)->add_slot(0, vga_gpa, 0);
    if (r) r = (*memory)->add_slot(four_gb - rom.size(), rom.size(), ram_bytes, true);
    for (unsigned i = 0; r && i < device::pam_segments; ++i) {
        const device::PamSegment s = segment_at_reset(i);
        r = (*memory)->add_slot(s.gpa, s.size, s.gpa);
    }
    if (!r) return std::unexpected(VmError{r.error().message});
    std::ranges::copy(rom, (*memory)->host(four_gb - rom.size(), rom.size()));
    return std::move(*memory);
}

ShadowRam::ShadowRam(memory::GuestMemory& memory, u64 ram_bytes, u64 rom_bytes, bus::AddressMap& mmio)
    : memory_(memory), mmio_(mmio), base_(memory.host(0, 1)), ram_bytes_(ram_bytes), rom_bytes_(rom_bytes) {
    for (unsigned i = 0; i < device::pam_segments; ++i) show(segment_at_reset(i));
    mmio_.add(area_gpa, area_end - area_gpa, *this);
}

ShadowRam::~ShadowRam() { mmio_.remove(area_gpa, *this); }

void ShadowRam::set(Processors& processors, const device::PamSegment& segment) {
    processors.pause([this, &processors, segment] {
        // Called also when the run has ended: then vCPUs may still be on their way out.
        if (!processors.with_vcpu(0, [](hypervisor::Vcpu&) {})) return;
        show(segment);
        // Their TLBs point to what the segment showed.
        for (unsigned i = 0; i < processors.count(); ++i)
            processors.with_vcpu(i, [](hypervisor::Vcpu& v) { v.set_state(v.state()); });
        processors.resume();
    });
}

void ShadowRam::show(const device::PamSegment& segment) {
    const u64 seen = std::min(rom_bytes_, low_rom);
    memory::SlotView view;  // nothing, unless
    if (segment.read_ram) {
        view = {segment.size, base_ + segment.gpa, segment.gpa, !segment.write_ram};
    } else if (segment.gpa >= area_end - seen) {
        const u64 offset = ram_bytes_ + rom_bytes_ - (area_end - segment.gpa);
        view = {segment.size, base_ + offset, offset, true};
    }
    memory::switch_slot(memory_, segment.gpa, segment.size, view);
    writes_hidden_ram_[segment_of(segment.gpa - area_gpa)] = segment.write_ram && !segment.read_ram;
}

// How firmware copies itself: reads come from the ROM, writes go to the RAM behind.
void ShadowRam::write(u64 offset, u64 value, unsigned size) {
    for (unsigned i = 0; i < size; ++i, ++offset)
        if (offset < area_end - area_gpa && writes_hidden_ram_[segment_of(offset)])
            base_[area_gpa + offset] = static_cast<u8>(value >> (8 * i));
}

}  // namespace triune::machine
