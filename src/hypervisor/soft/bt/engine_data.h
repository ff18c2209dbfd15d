// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>

#include "base/types.h"
#include "hypervisor/soft/mmu/tlb.h"

namespace triune::hypervisor::soft::bt {

/// Why translated code came back to C++.
enum class LeaveReason : u32 {
    link,        ///< a direct exit that is not linked yet: EngineData::exit_id
    lookup,      ///< an indirect branch to state.rip missed the jump cache
    signalled,   ///< Signals::pending is not zero
    entry,       ///< one of the last two, at the begin of block EngineData::exit_id
    declined,    ///< the instruction at state.rip is for the reference engine
    vector,      ///< the block at state.rip needs the guest's vector state in the host's registers
    page_fault,  ///< EngineData::fault_address and fault_code, at state.rip
    system,      ///< the instruction at state.rip is EngineData::system_op, EngineData::next_rip follows it
};

/// System instructions that the translator hands to soft/system itself.
enum class SystemOp : u32 {
    syscall,
    sysret32,
    sysret64,
    iret,
    write_cr3,
    read_cr2,
    rdmsr,
    wrmsr,
    cpuid,
    invlpg
};

/// The translator's own data that translated code reaches by absolute 32-bit addresses.
struct EngineData {
    static constexpr unsigned jump_entries = 1024;
    static constexpr unsigned cookie_entries = 512;
    static constexpr u64 shadow_stack_bytes = 64 << 10;
    static constexpr unsigned pointer_slots = 16;
    /// Jump caches and shadow stacks: one for each TlbMode's 64-bit code, one for its 16- and 32-bit code,
    /// so that code of one kind never finds or returns into translations of another.
    static constexpr unsigned lanes = 2 * mmu::tlb_modes;

    u64 host_sp;    ///< C++ stack pointer while translated code runs
    u64 shadow_sp;  ///< host RSP of translated code: a stack of host return addresses
    std::array<u64, lanes> shadow_sp_of_lane;
    u64 next_rip;
    u64 fault_address;
    u32 fault_code;
    u32 lane;  ///< whose shadow stack is in use
    SystemOp system_op;
    u64 rip;  ///< guest RIP of whatever leaves translated code
    u64 spill;
    u64 probe_spill;                ///< Stubs::stack_probe's own
    u64 branch_target;              ///< of an indirect call that missed the jump cache
    std::array<u64, lanes> missed;  ///< host addresses of Stubs::missed
    u32 ret_block;  ///< id of the block whose RET ran last, if that did not look where it goes
    u32 pad32_;
    std::array<u64, pointer_slots> pointer;  ///< host addresses of a block's groups (merge.h)
    /// The guest's status flags when they are not in the host's: AL = OF, AH as LAHF gives it.
    u16 flags;
    u16 pad_;
    LeaveReason reason;
    u32 exit_id;
    /// Where a TLB miss that left translated code would have gone on: then `rip` is not set, but known by
    /// this. Else 0.
    u64 miss_at;

    /// 16- and 32-bit code: a segment's base, and the last offset at which an access of 1, 2, 4 or 8 bytes
    /// may begin, by whether it writes; signed, below 0 where none may (narrow.h). `last16`: the last byte,
    /// and below 64 KiB.
    struct SegmentBounds {
        u64 base;
        std::array<std::array<i64, 4>, 2> last;
        std::array<i64, 2> last16;
    };
    std::array<SegmentBounds, 6> segment;
    u64 narrow_key;  ///< NarrowMode::key(0) of the running code

    /// FNSTENV's 32-bit image, if x87 state was in use when translated code left it (x87_pointers.h).
    std::array<u32, 8> x87;

    /// Indirect branch targets: guest RIP (NarrowMode::key) and where its translation is entered.
    struct JumpCache {
        std::array<u64, jump_entries> rip;
        std::array<u64, jump_entries> host;
    };
    std::array<JumpCache, lanes> jump;
    static constexpr unsigned jump_index(u64 rip) {
        const u32 low = static_cast<u32>(rip);
        return ((low >> 4) ^ low) & (jump_entries - 1);
    }
    /// A key that its slot's index cannot come from.
    static constexpr u64 empty_key(unsigned slot) { return slot == 0 ? 1 : 0; }

    /// "This virtual page maps to that physical page": a slot holds the id of the pair that was
    /// last seen to hold in the current address space. Checked on entry from another page.
    std::array<u32, cookie_entries> cookie;
    static constexpr unsigned cookie_index(u64 rip) { return (rip >> 12) & (cookie_entries - 1); }

    /// The vector state while a helper runs, in builds whose helpers use vector registers (see
    /// cmake/modules.cmake); zero elsewhere.
    alignas(64) std::array<u8, 896> helper_vectors;

    /// Host return addresses of guest calls in progress. The guard page is not accessible:
    /// its overflow raises SIGSEGV, which empties the stack.
    struct ShadowStack {
        alignas(4096) std::array<u8, 4096> guard;
        std::array<u64, shadow_stack_bytes / 8> slots;
    };
    std::array<ShadowStack, lanes> shadow;
};

}  // namespace triune::hypervisor::soft::bt
