// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

/// soft/mmu: guest-virtual to guest-physical to host: page walks and the software TLB.
///
/// Threads: one Mmu per vCPU, on its thread. Other vCPUs reach it only through Signals.
#include <expected>
#include <utility>

#include "hypervisor/soft/cpu/context.h"
#include "hypervisor/soft/mmu/tlb.h"

namespace triune::hypervisor::soft::mmu {

enum class Access : u8 { read, write, execute };

/// What kind of access rights count: those of CPL 3 (user), of CPL 0-2 (supervisor), or of an
/// implicit supervisor access (descriptor tables, TSS: SMAP applies whatever RFLAGS.AC says).
enum class Privilege : u8 { user, supervisor, implicit_supervisor };

/// A page fault: its error code (Intel SDM 3A 4.7). CR2 becomes `address`.
struct PageFault {
    Gva address = 0;
    u32 error_code = 0;
};

namespace pf_error {
inline constexpr u32 present = 1, write = 2, user = 4, reserved = 8, fetch = 16, pk = 32;
}

struct Translation {
    Gpa gpa = 0;
    u8* host = nullptr;     ///< null: no RAM there (MMIO)
    u64 page_bytes = 4096;  ///< size of the mapping it came from
    bool global = false;    ///< the mapping survives CR3 loads
    bool writable = false;  ///< a write would be allowed now (dirty bit set, no code on the page)
};

class Mmu {
public:
    /// `tlb` may live in the translator's arena; it is cleared here.
    Mmu(cpu::VcpuContext& vcpu, Tlb& tlb);

    /// Translates one address; sets A and D bits as the processor does. Linear addresses are taken
    /// modulo 2^32 outside long mode by the caller.
    std::expected<Translation, PageFault> translate(Gva gva, Access access, Privilege privilege);

    /// Loads and stores of `size` 1..8 bytes, any alignment, crossing pages, RAM or MMIO. A store
    /// that faults has changed nothing. Stores to pages that hold code invalidate it.
    std::expected<u64, PageFault> read(Gva gva, unsigned size, Privilege privilege);
    std::expected<void, PageFault> write(Gva gva, u64 value, unsigned size, Privilege privilege);
    /// Any length up to 4096 (vector operands, XSAVE areas, descriptor reads).
    std::expected<void, PageFault> read_bytes(Gva gva, void* to, unsigned size, Privilege privilege);
    std::expected<void, PageFault> write_bytes(Gva gva, const void* from, unsigned size, Privilege privilege);
    /// Checks that all of [gva, gva+size) could be accessed, without accessing it.
    std::expected<void, PageFault> probe(Gva gva, unsigned size, Access access, Privilege privilege);

    /// Locked read-modify-write: host pointer to [gva, gva+size) for an atomic instruction, or null
    /// when it is not RAM within one page (then the caller holds the bus lock: BusLock). After the
    /// write call `rmw_done` with the same range.
    std::expected<u8*, PageFault> rmw_pointer(Gva gva, unsigned size, Privilege privilege);
    void rmw_done(Gva gva, unsigned size);

    /// Instruction bytes from `gva`: at least 1; up to 15 and across a page if that page can be
    /// fetched; `gpa` of the first byte. The second page's fault is reported only if the first
    /// bytes do not suffice: `available` says how many bytes are there.
    struct Fetch {
        Gpa gpa = 0;
        u8* host = nullptr;  ///< the first byte in machine memory; null: not RAM
        unsigned available = 0;
        Gpa second_page_gpa = ~Gpa{0};  ///< where the bytes past the page's end come from
        std::array<u8, 15> bytes{};
        PageFault next_fault;  ///< valid when available < 15: fault at the following byte
    };
    std::expected<Fetch, PageFault> fetch(Gva gva);

    [[nodiscard]] bool canonical(Gva gva) const {
        const unsigned bits = (vcpu_.state.cr4 & x86::cr4::la57) ? 57 : 48;
        return static_cast<u64>(static_cast<i64>(gva << (64 - bits)) >> (64 - bits)) == gva;
    }

    void flush_all();  ///< also global entries
    void flush_non_global();
    void flush_page(Gva gva);
    void flush_data();              ///< data accesses alone: for rights that instruction fetch does not have
    void set_pkru(u32 value);       ///< what its new value forbids is forbidden at once
    void drop_write_permissions();  ///< of all entries
    void drop_write_permission(Gpa page);

    /// To be called before bytes of the RAM page at `gpa` are cached as decoded or translated code
    /// (and before they are read for it): from now on every write to the page reaches
    /// GuestMemory::notify_code_written. May wait for other vCPUs.
    void mark_code(Gpa gpa);

    Tlb& tlb() { return tlb_; }
    [[nodiscard]] TlbMode mode_for(Privilege privilege) const;
    /// Fills the TLB entry for `gva` in the set of `mode` for translated code. Returns the walk's
    /// result; the entry stays invalid where the inline probe must not hit (MMIO, code pages on writes).
    std::expected<Translation, PageFault> fill(Gva gva, Access access, TlbMode mode);

    /// The page that instruction fetch from `gva` reads now.
    struct CodePage {
        Gva page = 0;  ///< virtual page address
        u64 generation = 0;
        Gpa gpa = 0;
        u8* host = nullptr;  ///< null: not RAM
        TlbMode mode = TlbMode::user;
        bool global = false;
    };
    std::expected<CodePage, PageFault> code_page(Gva gva);

    /// What was flushed since the last call, for who caches results of instruction fetch.
    struct Flushes {
        bool all = false, not_global = false;
        u8 page_count = 0;
        std::array<Gva, 8> pages{};
    };
    Flushes take_flushes() { return std::exchange(flushes_, {}); }

    /// What instruction fetch found is looked up anew.
    void forget_fetches() { ++generation_; }
    /// Counts changes of what instruction fetch may see (flushes): translated code's caches of
    /// "this virtual page maps to this physical page" are stale when it changed.
    [[nodiscard]] u64 generation() const { return generation_; }

    cpu::VcpuContext& vcpu() { return vcpu_; }

private:
    std::expected<void, PageFault> read_slow(Gva gva, u8* to, unsigned size, TlbMode mode);
    std::expected<void, PageFault> write_slow(Gva gva, const u8* from, unsigned size, TlbMode mode);
    void store(const Translation& t, const u8* from, unsigned size);
    void mmio_read(Gpa gpa, u8* to, unsigned size);
    void mmio_write(Gpa gpa, const u8* from, unsigned size);
    TlbEntry& entry(Gva gva, TlbMode mode) { return tlb_.set[static_cast<unsigned>(mode)][Tlb::index(gva)]; }
    void changed();
    /// Some enabled data breakpoint lies in the page of `gva`: it has no TLB entry.
    [[nodiscard]] bool page_watched(Gva gva) const;
    /// Notes the data breakpoints that an access has met.
    void watch(Gva gva, unsigned size, Access access, Privilege privilege) {
        if (vcpu_.state.dr[7] & x86::dr7::enabled) [[unlikely]]
            note_breakpoints(gva, size, access, privilege);
    }
    void note_breakpoints(Gva gva, unsigned size, Access access, Privilege privilege);

    cpu::VcpuContext& vcpu_;
    Tlb& tlb_;
    u64 generation_ = 1;
    std::array<CodePage, 256> code_pages_{};  ///< valid where the generation is the current one
    Flushes flushes_;
};

/// Serialises split and MMIO locked operations between vCPUs of one process. Plain lock.
struct BusLock {
    BusLock();
    ~BusLock();
    BusLock(const BusLock&) = delete;
    BusLock& operator=(const BusLock&) = delete;
};

}  // namespace triune::hypervisor::soft::mmu
