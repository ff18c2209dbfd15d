// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <vector>

#include "base/state_visitor.h"
#include "base/types.h"

/// A VM's state outside its processors, as plain data in the shape of KVM's (struct kvm_lapic_state and
/// so on), so that any hypervisor can give and take it.
namespace triune::hypervisor {

/// One local APIC. `reg` holds the xAPIC page by register number (offset / 16): ID in bits 31:24, IRR, ISR
/// and TMR in eight registers each, the timer's current count (Intel SDM 3A table 11-1).
struct LapicState {
    u64 apic_base = 0;
    std::array<u32, 64> reg{};
    u64 tsc_deadline = 0;   ///< guest TSC; 0: not armed
    u32 errors = 0;         ///< gathered since the last write to ESR
    u8 extint_message = 0;  ///< a message with delivery mode ExtINT waits
};

/// 82093AA.
struct IoApicState {
    u32 select = 0, id = 0;
    u32 lines = 0;  ///< a bit a pin: asserted
    std::array<u64, 24> redirection{};
};

/// One 8259A.
struct PicState {
    u8 irr = 0, isr = 0, imr = 0, lines = 0, elcr = 0;
    u8 base = 0;          ///< of its vectors
    u8 lowest = 7;        ///< interrupt with the lowest priority
    u8 icw_expected = 0;  ///< next initialization word; 0: initialized
    u8 icw4_needed = 0, read_isr = 0, poll = 0, special_mask = 0;
    u8 auto_eoi = 0, rotate_on_auto_eoi = 0, special_nested = 0, level_triggered = 0;
};

/// One counter of the 8254. Times are in ticks of its clock, on the time line of PitState.
struct PitCounterState {
    static constexpr u64 never = ~u64{0};
    u8 mode = 0, access = 3, bcd = 0, gate = 1;
    u8 loaded = 0, triggered = 0;
    u32 reload = 0x10000, next_reload = 0;
    u64 switch_at = 0, start = 0, frozen = never;
    u8 low_byte = 0, write_high = 0, read_high = 0, status_latched = 0, status = 0, latched_bytes = 0;
    u16 latch = 0;
};
struct PitState {
    u64 elapsed_ns = 0;  ///< since tick 0
    std::array<PitCounterState, 3> counter{};
    u8 line = 0, speaker = 0;
};

/// The paravirtual clock: it shows guest_ns when base::monotonic_ns() is host_ns.
struct ClockState {
    u64 host_ns = 0, guest_ns = 0;
};

struct ChipState {
    std::vector<LapicState> lapic;  ///< one a vCPU
    IoApicState ioapic;
    std::array<PicState, 2> pic{};
    PitState pit;
    u8 ferr = 0, ignne = 0;  ///< the coprocessor error's latch and its answer (PIIX3 datasheet, port 0xf0)
    ClockState clock;
};

/// Every field by name. All LapicStates that the thing has are described.
void describe(base::StateVisitor& v, ChipState& s);

}  // namespace triune::hypervisor
