// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "memory/guest_memory.h"

namespace triune::memory {

/// What a slot shows instead of what it was laid out with.
struct SlotView {
    u64 size = 0;  ///< of what is shown: the slot's, or 0 for nothing (accesses go to devices)
    u8* host = nullptr;
    u64 offset = 0;
    bool readonly = false;
};

/// Makes the slot that begins at `gpa` show `view` (a chipset's shadow RAM is switched so), and tells
/// the code watchers. Only while no vCPU runs guest code; then each must drop what it has cached
/// (Vcpu::set_state() does). False when there is no such slot.
bool switch_slot(GuestMemory& memory, Gpa gpa, u64 size, const SlotView& view);

}  // namespace triune::memory
