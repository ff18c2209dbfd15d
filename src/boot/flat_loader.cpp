// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "boot/flat_loader.h"

#include <fmt/format.h>

#include "boot/entry_state.h"
#include "boot/layout.h"
#include "boot/placement.h"

namespace triune::boot {

namespace {

constexpr u16 stack_segment = 0x9000;
constexpr u64 real_mode_end = 0x100000;

x86::VcpuState enter_real_mode(Gpa address) {
    constexpr u8 first_disk = 0x80;
    x86::VcpuState s;
    x86::reset_state(s, false);
    const u64 segment = address < 0x10000 ? 0 : address >> 4;
    s.seg[x86::cs].selector = static_cast<u16>(segment);
    s.seg[x86::cs].base = segment << 4;
    s.seg[x86::ss].selector = stack_segment;
    s.seg[x86::ss].base = u64{stack_segment} << 4;
    s.rip = address - (segment << 4);
    s.gpr = {};
    s.gpr[x86::rsp] = ebda_gpa - s.seg[x86::ss].base;
    s.gpr[x86::rdx] = first_disk;
    s.cr0 = x86::cr0::et;
    return s;
}

}  // namespace

Result<x86::VcpuState> load_flat(memory::GuestMemory& memory, const BootConfig& config, const FlatLoad& flat,
                                 std::span<const u8> image) {
    using Mode = FlatLoad::Mode;
    if (image.empty()) return fail(config.kernel + ": the file is empty");
    if (!config.modules.empty() || !config.initrd.empty())
        return fail(config.kernel + ": a flat binary takes no --module and no --initrd");
    if (flat.mode == Mode::real && flat.address >= real_mode_end)
        return fail(
            fmt::format("{}: --load {:#x}: real mode reaches the first 1 MB only; add ,protected or ,long",
                        config.kernel, flat.address));
    Placement places(memory);
    if (flat.mode != Mode::real) places.take(entry_tables(flat.mode == Mode::long64));
    if (!places.is_ram(flat.address, image.size()))
        return fail(fmt::format(
            "{}: --load {:#x}: the image ({:#x} bytes) does not lie in the guest's RAM below 3 GB "
            "(0 to {:#x}, 0x100000 to {:#x})",
            config.kernel, flat.address, image.size(), ebda_gpa, low_ram_end(memory)));
    if (!places.is_free(flat.address, image.size()))
        return fail(
            fmt::format("{}: --load {:#x}: the image covers the descriptor or page tables that it is entered "
                        "with (below {:#x}); load it elsewhere, or in real mode",
                        config.kernel, flat.address, setup_data_gpa));
    if (!memory.write(flat.address, image.data(), image.size()))
        return fail(config.kernel + ": does not fit into the guest's memory");
    if (flat.mode == Mode::real) return enter_real_mode(flat.address);
    auto state = flat.mode == Mode::long64 ? enter_long_mode(memory, flat.address)
                                           : enter_protected_mode(memory, flat.address);
    if (!state) return fail("the guest's memory is too small");
    state->gpr[x86::rsp] = ebda_gpa;
    return *state;
}

}  // namespace triune::boot
