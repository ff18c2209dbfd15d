// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "memory/slot_switch.h"

namespace triune::memory {

bool switch_slot(GuestMemory& memory, Gpa gpa, u64 size, const SlotView& view) {
    for (const Slot& slot : memory.slots()) {
        if (slot.gpa != gpa) continue;
        // Code that was cached from the former view goes, and so does what an earlier time left of the new.
        memory.notify_code_written(gpa, size);
        // SAFETY: the object itself is not const, only the view that slots() gives of it, and no vCPU
        // looks at it now (the contract above). Device threads that do see the one or the other.
        Slot& s = const_cast<Slot&>(slot);
        s.size = view.size;
        s.host = view.host;
        s.offset = view.offset;
        s.readonly = view.readonly;
        memory.notify_code_written(gpa, size);
        return true;
    }
    return false;
}

}  // namespace triune::memory
