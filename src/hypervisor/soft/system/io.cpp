// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/mmu/breakpoints.h"
#include "hypervisor/soft/system/detail.h"

/// Port I/O (Intel SDM 1 19.5).
namespace triune::hypervisor::soft::system {
namespace {

/// I/O breakpoints: with CR4.DE, R/W 10 (Intel SDM 3B 18.2.4).
void watch_port(cpu::VcpuContext& vcpu, u16 port, unsigned size) {
    const auto& st = vcpu.state;
    if (!(st.dr[7] & x86::dr7::enabled) || !(st.cr4 & x86::cr4::de)) [[likely]]
        return;
    for (unsigned n = 0; n < 4; ++n) {
        const mmu::Breakpoint b = mmu::breakpoint(st, n);
        if (b.enabled && b.kind == mmu::Breakpoint::io && b.overlaps(port, size)) vcpu.debug_hits |= 1u << n;
    }
}

}  // namespace

Guest<void> System::check_io(u16 port, unsigned size) {
    const auto& st = vcpu_.state;
    if (!st.protected_mode()) return {};
    if (!st.v8086() && st.cpl() <= ((st.rflags >> 12) & 3)) [[likely]]
        return {};
    // The bitmap exists in 32- and 64-bit TSSs only.
    if (st.tr.unusable() || !(st.tr.type() & 8) || st.tr.limit < 0x67) return raise(Fault::gp(0));
    SYS_TRY(map, read_system(*this, st.tr.base, 0x66, 2));
    // Two bytes are read even when one would do, so the second must lie in the segment too.
    const u64 byte = *map + port / 8;
    if (byte + 1 > st.tr.limit) return raise(Fault::gp(0));
    SYS_TRY(bits, read_system(*this, st.tr.base, byte, 2));
    if ((*bits >> (port & 7)) & base::low_mask(size)) return raise(Fault::gp(0));
    return {};
}

Guest<u32> System::in(u16 port, unsigned size) {
    SYS_CHECK(check_io(port, size));
    watch_port(vcpu_, port, size);
    vcpu_.counters.add(observe::Counter::port_io);
    return static_cast<u32>(vcpu_.io->port_read(port, size) & base::low_mask(size * 8));
}

Guest<void> System::out(u16 port, u32 value, unsigned size) {
    SYS_CHECK(check_io(port, size));
    watch_port(vcpu_, port, size);
    vcpu_.counters.add(observe::Counter::port_io);
    vcpu_.io->port_write(port, static_cast<u32>(value & base::low_mask(size * 8)), size);
    return {};
}

}  // namespace triune::hypervisor::soft::system
