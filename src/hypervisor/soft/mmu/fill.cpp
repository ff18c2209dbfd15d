// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/mmu/breakpoints.h"
#include "hypervisor/soft/mmu/mmu.h"
#include "hypervisor/soft/mmu/walk.h"

namespace triune::hypervisor::soft::mmu {

bool Mmu::page_watched(Gva gva) const {
    for (unsigned n = 0; n < 4; ++n) {
        const Breakpoint b = breakpoint(vcpu_.state, n);
        if (b.enabled && b.kind != Breakpoint::execute && b.overlaps(gva & ~page_mask, page_size))
            return true;
    }
    return false;
}

// Called by translated code while the guest's vector state is in the host's registers: this file,
// walk.cpp and memory/populate.cpp are built without vector registers and call nothing else.
std::expected<Translation, PageFault> Mmu::fill(Gva gva, Access access, TlbMode mode) {
    const auto mapping = walk(vcpu_, gva, access, mode);
    if (!mapping) return std::unexpected(mapping.error());
    Translation t;
    t.gpa = mapping->gpa;
    t.page_bytes = mapping->page_bytes;
    t.global = mapping->global;
    const memory::Slot* slot = vcpu_.memory->slot_of(t.gpa);
    if (!slot) return t;
    t.host = slot->host + (t.gpa - slot->gpa);
    vcpu_.memory->touch(*slot, t.gpa);
    auto& flags = vcpu_.memory->flags_at(slot->offset + (t.gpa - slot->gpa));
    u8 page = flags.load(std::memory_order_acquire);
    if ((page & memory::page_clean) && access == Access::write && !slot->readonly) [[unlikely]] {
        flags.fetch_and(static_cast<u8>(~memory::page_clean), std::memory_order_seq_cst);
        page &= static_cast<u8>(~memory::page_clean);
    }
    t.writable =
        mapping->write_granted && !slot->readonly && !(page & (memory::page_has_code | memory::page_clean));
    if (access == Access::execute) return t;
    cpu::PageHook* const hook = vcpu_.page_hook;
    if (hook) [[unlikely]]
        t.host = hook->page(t.gpa & ~page_mask, t.host - (t.gpa & page_mask), access == Access::write) +
                 (t.gpa & page_mask);
    if (vcpu_.state.dr[7] & x86::dr7::enabled && page_watched(gva)) [[unlikely]]
        return t;

    const unsigned i = Tlb::index(gva);
    TlbEntry& e = entry(gva, mode);
    const Gva page_at = gva & ~page_mask;
    e.read_tag = page_at;
    e.write_tag = t.writable && (!hook || access == Access::write) ? page_at : Tlb::invalid_tag(i);
    e.host = reinterpret_cast<u64>(t.host) & ~page_mask;
    e.gpa = t.gpa & ~page_mask;
    u64& word = tlb_.not_global[static_cast<unsigned>(mode)][i / 64];
    const u64 mask = u64{1} << (i % 64);
    word = mapping->global ? word & ~mask : word | mask;
    tlb_.note_page_size(mode, i, gva, t.page_bytes > page_size);
    tlb_.note_key(mode, i, mapping->key);
    if (hook) [[unlikely]]
        hook->filled(static_cast<unsigned>(mode), i);
    return t;
}

}  // namespace triune::hypervisor::soft::mmu
