// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "hypervisor/hypervisor.h"
#include "hypervisor/soft/cpu/local_apic.h"
#include "hypervisor/soft/cpu/page_hook.h"
#include "hypervisor/soft/cpu/signals.h"
#include "observe/counters.h"
#include "x86/vcpu_state.h"

namespace triune::hypervisor::soft::cpu {

/// The other vCPUs of the VM, as one of them needs them. Implemented by the soft VM.
class Peers {
public:
    virtual ~Peers() = default;
    /// Page `gpa` is about to be cached as code by vCPU `self`: when this returns, no other vCPU
    /// holds a cached write permission (each has taken Signal::tlb_write_flush, or is outside its
    /// engine and will take it before it enters again). The caller counts as outside its engine
    /// meanwhile, and takes its own Signal::tlb_write_flush afterwards.
    virtual void drop_write_permissions(unsigned self) = 0;
};

/// One virtual processor: everything that acts on it gets this. Lives below 2 GiB of host address
/// space when the translator is in use, so that translated code reaches `state` and `signals` with
/// 32-bit displacements.
struct VcpuContext {
    x86::VcpuState state;
    Signals signals;
    observe::Counters counters;
    unsigned index = 0;
    const x86::CpuModel* model = nullptr;
    memory::GuestMemory* memory = nullptr;
    Io* io = nullptr;  ///< devices; the local APIC page and IOAPIC are already taken out
    LocalApic* apic = nullptr;
    /// The guest's vector state is in the host's registers, not in state.xsave. Only the engine
    /// that set it may leave it set while it runs; false whenever engines have returned.
    u8 vector_state_live = 0;
    /// An interrupt could be delivered but for RFLAGS.IF or the interrupt shadow. Set and cleared
    /// by the run loop; whatever makes IF 1 or ends the shadow must leave the engine with
    /// EngineExit::signalled at that instruction boundary while this is set.
    u8 interrupt_waiting = 0;
    /// Breakpoints of DR0-3 that the instruction at hand has met, as bits of DR6 (x86::dr6::hits).
    u32 debug_hits = 0;
    Peers* peers = nullptr;             ///< null: no other vCPU
    PageHook* page_hook = nullptr;      ///< null: memory is as it is
    u64 kvmclock_system_time_base = 0;  ///< monotonic_ns() at VM start

    [[nodiscard]] u64 guest_tsc() const { return __builtin_ia32_rdtsc() + state.tsc_offset; }
};

}  // namespace triune::hypervisor::soft::cpu
