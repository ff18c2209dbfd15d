// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/types.h"
#include "hypervisor/soft/bt/narrow.h"
#include "hypervisor/soft/mmu/tlb.h"

namespace triune::hypervisor::soft::bt {

/// Offset in the code cache. 0 is never a block's code.
using CodeOffset = u32;

/// Where the guest's status flags are at a point of translated code.
enum class FlagsAt : u8 { host, memory };

/// One exit of a block to a known guest address. There are several to a block: small.
struct DirectExit {
    u32 block = 0;          ///< source block's id
    u32 target_block = 0;   ///< id when linked, else 0
    CodeOffset patch = 0;   ///< of the rel32
    CodeOffset stub = 0;    ///< what it points to while unlinked
    u64 target = 0;         ///< guest RIP
    u32 next_incoming = 0;  ///< when linked: id of the next exit to the same block, 0: none
    FlagsAt flags = FlagsAt::host;
    u8 lane = 0;                 ///< that the target runs in
    bool unmerged : 1 = false;   ///< to the target's variant without merged accesses
    bool same_page : 1 = false;  ///< target lies in the source's virtual page
    /// Signals must be looked for: a call, or not forward (it may be part of a loop), or after STI.
    bool polls : 1 = false;
};
static_assert(sizeof(DirectExit) == 32);

/// What a block needs of the guest's flags when it begins.
enum class FlagsNeed : u8 {
    none,    ///< overwrites them all before anybody can look
    memory,  ///< passes them on: wants them in memory
    host,    ///< reads them at once: wants them in the host's flags
};

/// Begins each guest instruction's host code, and again the host instruction that accesses memory. A
/// run of pushes or pops is one such piece: RSP changes at its end. Ascending. Kept packed (host_map.h).
struct HostMapEntry {
    u32 host = 0;   ///< offset from the block's first byte of code
    u16 guest = 0;  ///< offset from the block's RIP
    FlagsAt flags = FlagsAt::host;
    bool flags_valid = true;
};

/// A translated piece of guest code: one entry, several exits.
struct Block {
    u32 id = 0;
    u64 rip = 0;  ///< EIP in 16- and 32-bit code
    Gva linear = 0;
    Gpa gpa = 0;
    mmu::TlbMode mode = mmu::TlbMode::user;
    const NarrowMode* narrow = nullptr;  ///< null: 64-bit code
    bool alive = true;
    bool unmerged = false;        ///< every access probes for itself: where a merged range crosses a page
    bool checked = false;         ///< entries from other pages verify the mapping (cookie)
    bool declines_first = false;  ///< holds no code: its first instruction is declined
    bool uses_vector = false;     ///< needs the guest's vector state in the host's registers
    bool uses_avx = false;        ///< needs YMM state
    bool crosses = false;         ///< one instruction that goes on in the next virtual page…
    Gpa second_page = 0;          ///< …which maps to this page
    u32 second_cookie = 0;
    u16 guest_bytes = 0;
    u16 guest_instructions = 0;
    u32 cookie = 0;
    FlagsNeed need = FlagsNeed::none;
    CodeOffset begin = 0, end = 0;            ///< entries and body
    CodeOffset cold_begin = 0, cold_end = 0;  ///< cold paths (TLB misses, unlinked exits): elsewhere
    CodeOffset entry_memory = 0;              ///< flags in memory; same page or mapping known to hold
    CodeOffset entry_forward = 0;             ///< like entry_memory, without looking for signals
    CodeOffset entry_checked = 0;             ///< flags in memory; verifies the mapping first
    CodeOffset entry_host = 0;                ///< flags in the host's flags
    CodeOffset entry_host_full = 0;           ///< the same, verifies the mapping and polls for signals
    CodeOffset map = 0;                       ///< HostMapEntry, packed, behind the cold paths
    u16 map_entries = 0;
    u16 exit_count = 0;
    u32 first_exit = 0;  ///< its DirectExits have consecutive ids
    u32 incoming = 0;    ///< first of the DirectExits that jump here, 0: none

    [[nodiscard]] unsigned lane() const {
        return static_cast<unsigned>(mode) + (narrow ? mmu::tlb_modes : 0);
    }
    /// As the jump cache knows it.
    [[nodiscard]] u64 key() const { return narrow ? narrow->key(rip) : rip; }
};

}  // namespace triune::hypervisor::soft::bt
