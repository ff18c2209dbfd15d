// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/mmu/mmu.h"

#include <algorithm>
#include <cstring>

#include "memory/guest_access.h"

namespace triune::hypervisor::soft::mmu {

using observe::Counter;

Mmu::Mmu(cpu::VcpuContext& vcpu, Tlb& tlb) : vcpu_(vcpu), tlb_(tlb) { tlb_.clear(); }

TlbMode Mmu::mode_for(Privilege privilege) const {
    if (privilege == Privilege::user) return TlbMode::user;
    if (!(vcpu_.state.cr4 & x86::cr4::smap)) return TlbMode::supervisor_ac;
    if (privilege == Privilege::implicit_supervisor) return TlbMode::supervisor;
    return vcpu_.state.rflags & x86::flag::ac ? TlbMode::supervisor_ac : TlbMode::supervisor;
}

std::expected<Translation, PageFault> Mmu::translate(Gva gva, Access access, Privilege privilege) {
    const TlbMode mode = mode_for(privilege);
    if (access == Access::execute) {
        auto mapping = fill(gva, access, mode);
        return mapping;
    }
    const TlbEntry& e = entry(gva, mode);
    const u64 offset = gva ^ (access == Access::write ? e.write_tag : e.read_tag);
    if (offset >= page_size) return fill(gva, access, mode);
    Translation t;
    t.gpa = e.gpa + offset;
    t.host = reinterpret_cast<u8*>(e.host + offset);
    t.writable = (gva ^ e.write_tag) < page_size;
    return t;
}

std::expected<u64, PageFault> Mmu::read(Gva gva, unsigned size, Privilege privilege) {
    const TlbMode mode = mode_for(privilege);
    const TlbEntry& e = entry(gva, mode);
    const u64 offset = gva ^ e.read_tag;
    u64 value = 0;
    if (offset <= page_size - size) {
        const void* host = reinterpret_cast<const void*>(e.host + offset);
        // One host load each, so that aligned guest accesses stay single-copy atomic.
        switch (size) {
            case 1: return memory::load_guest<u8>(host);
            case 2: return memory::load_guest<u16>(host);
            case 4: return memory::load_guest<u32>(host);
            case 8: return memory::load_guest<u64>(host);
            default: break;
        }
    }
    if (auto r = read_slow(gva, reinterpret_cast<u8*>(&value), size, mode); !r)
        return std::unexpected(r.error());
    watch(gva, size, Access::read, privilege);
    return value;
}

std::expected<void, PageFault> Mmu::write(Gva gva, u64 value, unsigned size, Privilege privilege) {
    const TlbMode mode = mode_for(privilege);
    const TlbEntry& e = entry(gva, mode);
    const u64 offset = gva ^ e.write_tag;
    if (offset <= page_size - size) {
        void* host = reinterpret_cast<void*>(e.host + offset);
        switch (size) {
            case 1: memory::store_guest(host, static_cast<u8>(value)); return {};
            case 2: memory::store_guest(host, static_cast<u16>(value)); return {};
            case 4: memory::store_guest(host, static_cast<u32>(value)); return {};
            case 8: memory::store_guest(host, value); return {};
            default: break;
        }
    }
    const auto r = write_slow(gva, reinterpret_cast<const u8*>(&value), size, mode);
    if (r) watch(gva, size, Access::write, privilege);
    return r;
}

std::expected<void, PageFault> Mmu::read_bytes(Gva gva, void* to, unsigned size, Privilege privilege) {
    if (size == 0) return {};
    const auto r = read_slow(gva, static_cast<u8*>(to), size, mode_for(privilege));
    if (r) watch(gva, size, Access::read, privilege);
    return r;
}

std::expected<void, PageFault> Mmu::write_bytes(Gva gva, const void* from, unsigned size,
                                                Privilege privilege) {
    if (size == 0) return {};
    const auto r = write_slow(gva, static_cast<const u8*>(from), size, mode_for(privilege));
    if (r) watch(gva, size, Access::write, privilege);
    return r;
}

namespace {

/// Length of the part of [gva, gva+size) in gva's page.
unsigned first_part(Gva gva, unsigned size) {
    return static_cast<unsigned>(std::min<u64>(size, page_size - (gva & page_mask)));
}

}  // namespace

std::expected<void, PageFault> Mmu::read_slow(Gva gva, u8* to, unsigned size, TlbMode mode) {
    const unsigned first = first_part(gva, size);
    const auto a = fill(gva, Access::read, mode);
    if (!a) return std::unexpected(a.error());
    std::expected<Translation, PageFault> b = Translation{};
    if (first < size) {
        b = fill(gva + first, Access::read, mode);
        if (!b) return std::unexpected(b.error());
    }
    if (a->host) {
        memory::copy_guest(to, a->host, first);
    } else {
        mmio_read(a->gpa, to, first);
    }
    if (first < size) {
        if (b->host) {
            memory::copy_guest(to + first, b->host, size - first);
        } else {
            mmio_read(b->gpa, to + first, size - first);
        }
    }
    return {};
}

std::expected<void, PageFault> Mmu::write_slow(Gva gva, const u8* from, unsigned size, TlbMode mode) {
    const unsigned first = first_part(gva, size);
    const auto a = fill(gva, Access::write, mode);
    if (!a) return std::unexpected(a.error());
    if (first == size) {
        store(*a, from, size);
        return {};
    }
    const auto b = fill(gva + first, Access::write, mode);
    if (!b) return std::unexpected(b.error());
    store(*a, from, first);
    store(*b, from + first, size - first);
    return {};
}

void Mmu::store(const Translation& t, const u8* from, unsigned size) {
    const memory::Slot* slot = t.host ? vcpu_.memory->slot_of(t.gpa) : nullptr;
    if (!slot || slot->readonly) {
        mmio_write(t.gpa, from, size);
        return;
    }
    switch (size) {
        case 1: memory::store_guest(t.host, memory::load_guest<u8>(from)); break;
        case 2: memory::store_guest(t.host, memory::load_guest<u16>(from)); break;
        case 4: memory::store_guest(t.host, memory::load_guest<u32>(from)); break;
        case 8: memory::store_guest(t.host, memory::load_guest<u64>(from)); break;
        default: memory::copy_guest(t.host, from, size);
    }
    vcpu_.memory->notify_code_written(t.gpa, size);
}

void Mmu::mmio_read(Gpa gpa, u8* to, unsigned size) {
    while (size) {
        const unsigned n = size >= 8 ? 8 : size >= 4 ? 4 : size >= 2 ? 2 : 1;
        vcpu_.counters.add(Counter::mmio);
        const u64 v = vcpu_.io->mmio_read(gpa, n);
        std::memcpy(to, &v, n);
        gpa += n, to += n, size -= n;
    }
}

void Mmu::mmio_write(Gpa gpa, const u8* from, unsigned size) {
    while (size) {
        const unsigned n = size >= 8 ? 8 : size >= 4 ? 4 : size >= 2 ? 2 : 1;
        vcpu_.counters.add(Counter::mmio);
        u64 v = 0;
        std::memcpy(&v, from, n);
        vcpu_.io->mmio_write(gpa, v, n);
        gpa += n, from += n, size -= n;
    }
}

std::expected<void, PageFault> Mmu::probe(Gva gva, unsigned size, Access access, Privilege privilege) {
    const TlbMode mode = mode_for(privilege);
    const Gva last = gva + (size ? size - 1 : 0);
    for (Gva page = gva & ~page_mask;; page += page_size) {
        const Gva at = page < gva && gva - page < page_size ? gva : page;
        if (auto t = fill(at, access, mode); !t) return std::unexpected(t.error());
        if (page == (last & ~page_mask)) return {};
    }
}

std::expected<u8*, PageFault> Mmu::rmw_pointer(Gva gva, unsigned size, Privilege privilege) {
    const TlbMode mode = mode_for(privilege);
    const TlbEntry& e = entry(gva, mode);
    const u64 offset = gva ^ e.write_tag;
    if (offset <= page_size - size) return reinterpret_cast<u8*>(e.host + offset);
    const unsigned first = first_part(gva, size);
    const auto t = fill(gva, Access::write, mode);
    if (!t) return std::unexpected(t.error());
    if (first < size) {
        if (auto second = fill(gva + first, Access::write, mode); !second)
            return std::unexpected(second.error());
        return nullptr;
    }
    const memory::Slot* slot = t->host ? vcpu_.memory->slot_of(t->gpa) : nullptr;
    if (!slot || slot->readonly) return nullptr;
    watch(gva, size, Access::write, privilege);
    return t->host;
}

void Mmu::rmw_done(Gva gva, unsigned size) {
    if (vcpu_.state.dr[7] & x86::dr7::enabled) [[unlikely]] {
        // A page with a data breakpoint has no entry that would tell the physical address.
        const auto privilege = vcpu_.state.cpl() == 3 ? Privilege::user : Privilege::supervisor;
        if (const auto t = fill(gva, Access::write, mode_for(privilege)); t && t->host)
            vcpu_.memory->notify_code_written(t->gpa, size);
        return;
    }
    for (const TlbMode mode : {TlbMode::user, TlbMode::supervisor, TlbMode::supervisor_ac}) {
        const TlbEntry& e = entry(gva, mode);
        if ((gva ^ e.read_tag) >= page_size) continue;
        vcpu_.memory->notify_code_written(e.gpa + (gva & page_mask), size);
    }
}

std::expected<Mmu::CodePage, PageFault> Mmu::code_page(Gva gva) {
    const TlbMode mode = vcpu_.state.cpl() == 3 ? TlbMode::user : TlbMode::supervisor;
    CodePage& f = code_pages_[(gva >> 12) % code_pages_.size()];
    const Gva page = gva & ~page_mask;
    if (f.generation == generation_ && f.page == page && f.mode == mode) return f;
    const auto t = fill(gva, Access::execute, mode);
    if (!t) return std::unexpected(t.error());
    f = {page, generation_, t->gpa & ~page_mask, t->host ? t->host - (gva & page_mask) : nullptr,
         mode, t->global};
    return f;
}

std::expected<Mmu::Fetch, PageFault> Mmu::fetch(Gva gva) {
    const auto page = code_page(gva);
    if (!page) return std::unexpected(page.error());
    Fetch f;
    f.gpa = page->gpa | (gva & page_mask);
    f.host = page->host ? page->host + (gva & page_mask) : nullptr;
    const unsigned first = first_part(gva, 15);
    if (page->host) {
        memory::copy_guest(f.bytes.data(), f.host, first);
    } else {
        mmio_read(f.gpa, f.bytes.data(), first);
    }
    f.available = first;
    if (first < 15) {
        const auto next = code_page((gva & ~page_mask) + page_size);
        if (!next) {
            f.next_fault = next.error();
        } else {
            f.second_page_gpa = next->gpa;
            if (next->host) {
                memory::copy_guest(f.bytes.data() + first, next->host, 15 - first);
            } else {
                mmio_read(next->gpa, f.bytes.data() + first, 15 - first);
            }
            f.available = 15;
        }
    }
    return f;
}

void Mmu::changed() {
    ++generation_;
    vcpu_.counters.add(Counter::tlb_flushes);
}

void Mmu::flush_all() {
    tlb_.clear();
    flushes_.all = true;
    changed();
}

void Mmu::flush_non_global() {
    tlb_.clear_not_global();
    flushes_.not_global = true;
    changed();
}

void Mmu::flush_data() { tlb_.clear(); }

void Mmu::set_pkru(u32 value) {
    // Entries hold what PKRU allowed when they were filled: only what it allows no more must go. A switch of
    // threads that use the same keys drops nothing.
    const u32 forbidden = value & ~vcpu_.state.pkru;
    vcpu_.state.pkru = value;
    u32 lost = 0;  // bit k: key k lost a right
    for (unsigned key = 0; key < 16; ++key)
        if (forbidden >> (2 * key) & 3) lost |= 1u << key;
    lost &= tlb_.keys;
    if (lost & 1) {  // nearly every user page has key 0
        flush_data();
    } else if (lost) {
        tlb_.clear_keyed();
    }
}

void Mmu::flush_page(Gva gva) {
    ++generation_;
    if (flushes_.page_count < flushes_.pages.size()) {
        flushes_.pages[flushes_.page_count++] = gva & ~page_mask;
    } else {
        flushes_.all = true;
    }
    tlb_.drop_stack(gva);
    if (tlb_.may_be_large(gva)) tlb_.clear_large(gva);
    for (const TlbMode mode : {TlbMode::user, TlbMode::supervisor, TlbMode::supervisor_ac})
        if (const TlbEntry& e = entry(gva, mode); ((gva ^ e.read_tag) & ~page_mask) == 0)
            tlb_.invalidate(mode, Tlb::index(gva));
}

void Mmu::drop_write_permissions() {
    tlb_.drop_stack();
    for (auto& entries : tlb_.set)
        for (unsigned i = 0; i < Tlb::entries; ++i) entries[i].write_tag = Tlb::invalid_tag(i);
}

void Mmu::drop_write_permission(Gpa page) {
    tlb_.drop_stack();
    page &= ~page_mask;
    for (auto& entries : tlb_.set)
        for (unsigned i = 0; i < Tlb::entries; ++i)
            if (entries[i].gpa == page) entries[i].write_tag = Tlb::invalid_tag(i);
}

void Mmu::mark_code(Gpa gpa) {
    auto& flags = vcpu_.memory->page_flags(gpa);
    // Whoever finds the flag set but not settled waits too: another vCPU may still be waiting for a
    // third that holds a permission to write.
    if (flags.fetch_or(memory::page_has_code, std::memory_order_acq_rel) & memory::page_code_settled) return;
    drop_write_permission(gpa);
    if (vcpu_.peers) {
        vcpu_.peers->drop_write_permissions(vcpu_.index);
        if (vcpu_.signals.take(cpu::Signal::tlb_write_flush)) drop_write_permissions();
    }
    // A writer may have cleared both flags meanwhile; then the next look at the page starts anew.
    u8 seen = flags.load(std::memory_order_acquire);
    while ((seen & memory::page_has_code) &&
           !flags.compare_exchange_weak(seen, seen | memory::page_code_settled, std::memory_order_acq_rel)) {
    }
}

}  // namespace triune::hypervisor::soft::mmu
