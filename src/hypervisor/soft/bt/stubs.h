// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>

#include "hypervisor/soft/bt/block.h"
#include "hypervisor/soft/bt/emitter.h"
#include "hypervisor/soft/bt/engine_data.h"
#include "hypervisor/soft/cpu/context.h"
#include "hypervisor/soft/mmu/tlb.h"

namespace triune::hypervisor::soft::bt {

/// Helper that translated code calls when its inline TLB probe misses. Returns the host address, or
/// 0 when the access is not plain RAM within one page. `resume`: where the call returns to, a NOP whose
/// displacement is a TlbMissInfo; `value` and `index` as it says.
using TlbMissHelper = u64 (*)(void* translator, u64 value, u64 index, const u8* resume);
/// MOVS/STOS on VcpuState::gpr. 0: stopped early, registers say how far; EngineData::reason says why.
using StringHelper = u64 (*)(void* translator, u64, u64 info, const u8* resume);

struct StringInfo {
    static constexpr u32 pack(unsigned size, bool movs, bool rep, mmu::TlbMode mode) {
        return size | (movs ? 0x100u : 0u) | (rep ? 0x200u : 0u) | static_cast<u32>(mode) << 20;
    }
    /// To be added for 16- and 32-bit code; `segment`: of the source.
    static constexpr u32 narrow(unsigned address_bits, unsigned segment) {
        return (address_bits == 16 ? 0x400u : 0x800u) | segment << 12;
    }
    static constexpr unsigned size(u32 i) { return i & 0xff; }
    /// 0: 64-bit code.
    static constexpr unsigned narrow_bits(u32 i) { return i & 0x400 ? 16 : i & 0x800 ? 32 : 0; }
    static constexpr unsigned segment(u32 i) { return (i >> 12) & 7; }
    static constexpr bool movs(u32 i) { return i & 0x100; }
    static constexpr bool rep(u32 i) { return i & 0x200; }
    static constexpr mmu::TlbMode mode(u32 i) { return static_cast<mmu::TlbMode>(i >> 20); }
};

/// Of an access that missed the TLB.
struct TlbMissInfo {
    /// Bytes before the displacement of the NOP that holds it.
    static constexpr unsigned offset_in_nop = 3;
    static constexpr unsigned largest = 63;

    /// `guest`: the instruction's distance from the block's begin.
    static constexpr u32 pack(unsigned size, bool write, mmu::TlbMode mode, unsigned guest) {
        return size | (write ? 0x40u : 0u) | static_cast<u32>(mode) << 8 | guest << 16;
    }
    /// `value` is the address; else the probe's: the address combined with the tag of entry `index`,
    /// which counts in bytes.
    static constexpr u32 value_is_address = 0x80;
    static constexpr unsigned size(u32 i) { return i & largest; }
    static constexpr bool write(u32 i) { return i & 0x40; }
    static constexpr mmu::TlbMode mode(u32 i) { return static_cast<mmu::TlbMode>(i >> 8 & 3); }
    static constexpr unsigned guest(u32 i) { return i >> 16; }
    /// Of the call that returns to `resume`.
    static u32 at(const u8* resume) {
        u32 info = 0;
        __builtin_memcpy(&info, resume + offset_in_nop, sizeof info);
        return info;
    }
};

/// Fixed code at the start of the cache.
struct Stubs {
    CodeOffset enter = 0;               ///< void(host address): C ABI; loads guest registers and jumps
    std::array<CodeOffset, 8> leave{};  ///< by LeaveReason; guest RIP is in EngineData::rip
    /// The same for LeaveReason::link and ::entry: scratch1 is EngineData::exit_id. Link by FlagsAt.
    std::array<CodeOffset, 2> leave_link{};
    CodeOffset leave_entry = 0;
    CodeOffset tlb_miss = 0;
    /// By TlbMode: tries the TLB for an access that missed Tlb::stack. In: scratch0 = address combined with
    /// that entry's tag, scratch1 = the greatest offset in a page that will do. Out: "equal" and scratch0 =
    /// the host address, or "not equal" and scratch0 = the address.
    std::array<CodeOffset, mmu::tlb_modes> stack_probe{};
    CodeOffset string = 0;  ///< scratch1 = StringInfo; EngineData::rip is the instruction
    /// Indirect jump to the guest address in scratch0, flags in memory, by lane.
    std::array<CodeOffset, EngineData::lanes> indirect{};
    /// The same for EngineData::branch_target, which the jump cache does not have, by lane.
    std::array<CodeOffset, EngineData::lanes> missed{};
    /// Where the bottom of each shadow stack returns to.
    std::array<CodeOffset, EngineData::lanes> underflow{};
    CodeOffset end = 0;
};

/// What emitted code refers to.
struct Surroundings {
    cpu::VcpuContext& vcpu;
    mmu::Tlb& tlb;
    EngineData& data;
    Stubs stubs;
    bool host_bmi2 = false;
};

Stubs emit_stubs(Emitter& e, Surroundings& s, void* translator, TlbMissHelper tlb_miss, StringHelper string);

/// scratch1 = where in a set the TLB entry for the address in scratch0 lies, in bytes.
void emit_tlb_index(Emitter& e, const Surroundings& s);
/// Saves the host's status flags to EngineData::flags. Uses scratch1.
void emit_save_flags(Emitter& e, EngineData& d);
/// The reverse. Uses scratch1.
void emit_restore_flags(Emitter& e, EngineData& d);
/// Looks the guest address in scratch0 (NarrowMode::key) up in the jump cache: index in scratch1, "not equal"
/// on a miss.
void emit_jump_probe(Emitter& e, EngineData::JumpCache& cache);
/// Where the hit's host address is, after emit_jump_probe.
Xbyak::Address jump_target(Emitter& e, EngineData::JumpCache& cache);

}  // namespace triune::hypervisor::soft::bt
