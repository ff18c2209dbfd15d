// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "hypervisor/soft/bt/cache.h"
#include "hypervisor/soft/mmu/tlb.h"
#include "x86/insn.h"

namespace triune::hypervisor::soft::bt {

/// Where the last x87 instruction was and what it accessed (FOP, FIP, FDP; Intel SDM 1 8.1.8).
///
/// Translated x87 code leaves addresses of the host in the processor: of the code cache and of guest RAM's
/// mapping. They become the guest's own whenever its vector state is taken out of the host's registers, so
/// that guests see what they would see on a processor, and nothing of the host. x87 code pays nothing: only
/// leaving it does.
///
///     enter   FIP = FDP = `stand_in`, the guest's pointers are kept here
///     leave   FIP still `stand_in`: the kept pointers; in the code cache: of that guest instruction;
///             anything else (FNINIT; the host's kernel may lose pointers, see below): 0
///
/// AMD's processors save pointers in FXSAVE and XSAVE only while an unmasked exception is pending (APM
/// 2 11.4.4); FNSTENV shows the lower 32 bits always, so the code that leaves executes it, too
/// (EngineData::x87).
class X87Pointers {
public:
    X87Pointers(BlockCache& cache, mmu::VcpuArena& arena, const mmu::Tlb& tlb, cpu::VcpuContext& vcpu,
                EngineData& data)
        : cache_(cache), arena_(arena), tlb_(tlb), vcpu_(vcpu), data_(data) {}

    /// `stand_in`: a host address within the code cache that no instruction has.
    void set_stand_in(u64 host) { stand_in_ = host; }
    /// Before VcpuState::xsave is loaded.
    void enter();
    /// After it was saved. `look`: whether FDP is worth a search of the TLB.
    void leave(bool look, const x86::InsnSet& set);

private:
    struct Pointers {
        u16 fop = 0;
        u64 fip = 0, fdp = 0;
    };
    [[nodiscard]] Pointers load() const;
    void store(const Pointers& p);
    [[nodiscard]] Pointers guests(const Pointers& host, bool whole_fdp, bool look, const x86::InsnSet& set);
    /// The guest address of a host address in `mode`'s pages; 0: the TLB has lost it.
    [[nodiscard]] Gva gva_of(u64 host, bool whole, mmu::TlbMode mode, bool look);

    BlockCache& cache_;
    mmu::VcpuArena& arena_;
    const mmu::Tlb& tlb_;
    cpu::VcpuContext& vcpu_;
    EngineData& data_;
    u64 stand_in_ = 0;
    Pointers kept_;
    bool entered_ = false;  ///< `kept_` is what FIP stands in for
    Gva last_page_ = 0;     ///< where gva_of looks first
};

}  // namespace triune::hypervisor::soft::bt
