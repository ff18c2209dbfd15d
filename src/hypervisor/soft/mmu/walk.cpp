// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/mmu/walk.h"

#include "base/bits.h"

namespace triune::hypervisor::soft::mmu {
namespace {

using base::bit;
using base::field;
using base::low_mask;

namespace pte {
constexpr u64 p = 1, rw = 2, us = 4, a = 0x20, d = 0x40, ps = 0x80, g = 0x100, nx = u64{1} << 63;
}  // namespace pte

/// The shape of one kind of page tables.
struct Format {
    unsigned levels, index_bits, entry_bytes;
};
constexpr Format format_32{2, 10, 4}, format_pae{3, 9, 8}, format_4level{4, 9, 8}, format_5level{5, 9, 8};
constexpr unsigned most_levels = 5;

struct Entry {
    u64 value = 0;
    Gpa gpa = 0;
    u8* host = nullptr;
};

Entry load_entry(const memory::GuestMemory& memory, cpu::PageHook* hook, Gpa gpa, unsigned bytes) {
    Entry e;
    e.gpa = gpa;
    e.host = memory.host(gpa, bytes);
    if (hook && e.host) [[unlikely]]
        e.host = hook->entry(gpa, bytes, e.host);
    if (!e.host) {
        e.value = low_mask(bytes * 8);  // nothing there: the bus floats high
    } else if (bytes == 8) {
        e.value = __atomic_load_n(reinterpret_cast<u64*>(e.host), __ATOMIC_RELAXED);
    } else {
        e.value = __atomic_load_n(reinterpret_cast<u32*>(e.host), __ATOMIC_RELAXED);
    }
    return e;
}

/// Sets A (and D) unless the entry changed under our hands: then the walk is repeated.
bool set_bits(memory::GuestMemory& memory, Entry& e, unsigned bytes, u64 bits) {
    if ((e.value & bits) == bits || !e.host) return true;
    bool done;
    if (bytes == 8) {
        u64 expected = e.value;
        done = __atomic_compare_exchange_n(reinterpret_cast<u64*>(e.host), &expected, e.value | bits, false,
                                           __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
    } else {
        u32 expected = static_cast<u32>(e.value);
        done = __atomic_compare_exchange_n(reinterpret_cast<u32*>(e.host), &expected,
                                           static_cast<u32>(e.value | bits), false, __ATOMIC_ACQ_REL,
                                           __ATOMIC_RELAXED);
    }
    if (!done) return false;
    e.value |= bits;
    // The tables' pages are in the dirty log as any others.
    auto& flags = memory.page_flags(e.gpa);
    if (flags.load(std::memory_order_seq_cst) & memory::page_clean) [[unlikely]]
        flags.fetch_and(static_cast<u8>(~memory::page_clean), std::memory_order_seq_cst);
    return true;
}

class Walker {
public:
    Walker(cpu::VcpuContext& vcpu, Gva gva, Access access, TlbMode mode)
        : state_(vcpu.state),
          memory_(*vcpu.memory),
          hook_(vcpu.page_hook),
          gva_(gva),
          access_(access),
          mode_(mode),
          phys_mask_(low_mask(vcpu.model ? vcpu.model->phys_bits : 40)),
          pages_1g_(!vcpu.model || vcpu.model->pages_1g) {
        nxe_ = state_.efer & x86::efer::nxe;
        if (state_.long_mode_active()) {
            format_ = state_.cr4 & x86::cr4::la57 ? format_5level : format_4level;
        } else if (state_.cr4 & x86::cr4::pae) {
            format_ = format_pae;
        } else {
            format_ = format_32;
            nxe_ = false;
            phys_mask_ &= low_mask(40);  // PSE-36 as far as 40 bits
        }
    }

    std::expected<Mapping, PageFault> run() {
        // Another processor may change an entry between our load and our A/D update; the
        // number of tries is bounded so that a hostile guest cannot hold us here.
        for (int tries = 0; tries < 64; ++tries)
            if (once()) return result_;
        return result_;
    }

private:
    /// False: an entry changed; walk again.
    bool once() {
        u64 table = state_.cr3 & phys_mask_ & ~u64{0xfff};
        if (format_.levels == 2) table &= 0xfffff000;
        bool rw = true, us = true, nx = false;
        std::array<Entry, most_levels> visited;
        unsigned level = format_.levels;
        if (level == 3) {
            // Of the four PDPTEs the processor holds what the last load of CR3 found (SDM 3A 4.4.1).
            const u64 pdpte = state_.pdpte[field(gva_, 30, 2)];
            if (!(pdpte & pte::p)) return fault(0);
            table = pdpte & phys_mask_ & ~u64{0xfff};
            level = 2;
        }
        for (; level >= 1; --level) {
            const unsigned shift = 12 + (level - 1) * format_.index_bits;
            const u64 index = field(gva_, shift, format_.index_bits);
            Entry& e = visited[level - 1];
            e = load_entry(memory_, hook_, table + index * format_.entry_bytes, format_.entry_bytes);
            if (!(e.value & pte::p)) return fault(0);
            const bool large = is_large(e.value, level);
            if (reserved_bits(e.value, level, large)) return fault(pf_error::present | pf_error::reserved);
            rw &= (e.value & pte::rw) != 0;
            us &= (e.value & pte::us) != 0;
            nx |= nxe_ && (e.value & pte::nx);
            if (level == 1 || large) return finish(visited, level, shift, rw, us, nx);
            table = e.value & phys_mask_ & ~u64{0xfff};
            if (format_.entry_bytes == 4) table = e.value & 0xfffff000;
        }
        return fault(0);  // not reached: level 1 always finishes
    }

    [[nodiscard]] bool is_large(u64 value, unsigned level) const {
        if (!(value & pte::ps) || level == 1) return false;
        if (format_.levels == 2) return state_.cr4 & x86::cr4::pse;
        return level == 2 || (level == 3 && format_.levels >= 4);
    }

    [[nodiscard]] bool reserved_bits(u64 value, unsigned level, bool large) const {
        if (format_.entry_bytes == 4) {
            // PSE-36: bits 20:13 are address bits 39:32 as far as MAXPHYADDR goes, the rest up to 21 is
            // reserved.
            const u64 address_bits = (phys_mask_ >> 32) << 13;
            return large && (value & (low_mask(22) & ~low_mask(13) & ~address_bits));
        }
        u64 reserved = ~phys_mask_ & low_mask(52);
        if (format_.levels == 3) reserved |= u64{0x7ff} << 52;
        if (!nxe_) reserved |= pte::nx;
        if (large) reserved |= low_mask(12 + (level - 1) * 9) & ~u64{0x1fff};
        if (level >= 4 || (level == 3 && !pages_1g_)) reserved |= pte::ps;
        return value & reserved;
    }

    bool finish(std::array<Entry, most_levels>& visited, unsigned level, unsigned shift, bool rw, bool us,
                bool nx) {
        const bool user = mode_ == TlbMode::user;
        const bool wp = state_.cr0 & x86::cr0::wp;
        // Protection keys bind data accesses to user pages, whoever makes them (Intel SDM 3A 4.6.2).
        int key = -1;
        u32 key_rights = 0;
        if (us && access_ != Access::execute && (state_.cr4 & x86::cr4::pke) && format_.levels >= 4) {
            key = static_cast<int>(field(visited[level - 1].value, 59, 4));
            key_rights = state_.pkru >> (2 * key);
        }
        const bool key_allows_write = !(key_rights & 2) || (!user && !wp);
        const bool key_denies = (key_rights & 1) || (access_ == Access::write && !key_allows_write);
        const bool can_write = (rw || (!user && !wp)) && key_allows_write;
        bool denied = key_denies;
        if (user) {
            denied |= !us;
        } else if (us) {
            denied |= access_ == Access::execute ? (state_.cr4 & x86::cr4::smep) != 0
                                                 : mode_ == TlbMode::supervisor;
        }
        if (access_ == Access::write) denied |= !can_write;
        if (access_ == Access::execute) denied |= nx;
        if (denied) return fault(pf_error::present | (key_denies ? pf_error::pk : 0));

        for (unsigned l = format_.levels; l > level; --l) {
            if (format_.levels == 3 && l == 3) continue;  // PAE PDPTEs are not read here and have no A bit
            if (!set_bits(memory_, visited[l - 1], format_.entry_bytes, pte::a)) return false;
        }
        Entry& leaf = visited[level - 1];
        const u64 bits = access_ == Access::write ? pte::a | pte::d : pte::a;
        if (!set_bits(memory_, leaf, format_.entry_bytes, bits)) return false;

        const u64 page = u64{1} << shift;
        u64 frame;
        if (format_.entry_bytes == 4) {
            frame = leaf.value & 0xfffff000 & ~(page - 1);
            if (level == 2) frame |= field(leaf.value, 13, 8) << 32;  // PSE-36
        } else {
            frame = leaf.value & phys_mask_ & ~(page - 1);
        }
        Mapping m;
        m.gpa = frame | (gva_ & (page - 1));
        m.page_bytes = page;
        m.global = (leaf.value & pte::g) && (state_.cr4 & x86::cr4::pge);
        m.write_granted = can_write && (leaf.value & pte::d);
        m.key = key;
        result_ = m;
        return true;
    }

    bool fault(u32 code) {
        if (access_ == Access::write) code |= pf_error::write;
        if (mode_ == TlbMode::user) code |= pf_error::user;
        if (access_ == Access::execute && (nxe_ || (state_.cr4 & x86::cr4::smep))) code |= pf_error::fetch;
        result_ = std::unexpected(PageFault{gva_, code});
        return true;
    }

    x86::VcpuState& state_;
    memory::GuestMemory& memory_;
    cpu::PageHook* hook_;
    Gva gva_;
    Access access_;
    TlbMode mode_;
    u64 phys_mask_;
    bool pages_1g_;
    Format format_{};
    bool nxe_ = false;
    std::expected<Mapping, PageFault> result_ = std::unexpected(PageFault{});
};

}  // namespace

std::expected<Mapping, PageFault> walk(cpu::VcpuContext& vcpu, Gva gva, Access access, TlbMode mode) {
    if (!(vcpu.state.cr0 & x86::cr0::pg)) {
        Mapping m;
        m.gpa = gva & 0xffffffff;
        m.write_granted = true;
        return m;
    }
    vcpu.counters.add(observe::Counter::page_walks);
    return Walker(vcpu, gva, access, mode).run();
}

}  // namespace triune::hypervisor::soft::mmu
