// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <linux/kvm.h>

#include "hypervisor/chip_state.h"

/// ChipState's parts in the shape of KVM's structures and back (Linux arch/x86/kvm: lapic.c, ioapic.c,
/// i8259.c, i8254.c). Where a structure holds more than ChipState does, that stays as it is.
namespace triune::hypervisor::kvm {

/// Registers alone: IA32_APIC_BASE and the TSC deadline are MSRs. KVM does not tell a one-shot count that has
/// ended from one that is about to interrupt: such a one interrupts (again) at once.
void to_kvm(kvm_lapic_state& k, const LapicState& s);
void from_kvm(LapicState& s, const kvm_lapic_state& k);

/// Pins by number, as bits. KVM tells of a pin's level only while it waits to be delivered: `asserted` are
/// those that the caller knows of.
void to_kvm(kvm_ioapic_state& k, const IoApicState& s);
void from_kvm(IoApicState& s, const kvm_ioapic_state& k, u32 asserted);

void to_kvm(kvm_pic_state& k, const PicState& s);
void from_kvm(PicState& s, const kvm_pic_state& k);

/// At monotonic_ns() `host_ns`. KVM neither tells nor takes how far counters have counted (but for counters 1
/// and 2, told): their counts begin anew.
void to_kvm(kvm_pit_state2& k, const PitState& s);
void from_kvm(PitState& s, const kvm_pit_state2& k, u64 host_ns);

/// Undoes the acknowledgement of an interrupt that processor `vcpu` has not begun to handle: it waits in the
/// local APIC, or in the 8259A pair, again.
void take_back(ChipState& s, unsigned vcpu, u8 vector);

}  // namespace triune::hypervisor::kvm
