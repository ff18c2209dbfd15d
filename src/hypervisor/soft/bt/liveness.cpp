// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/bt/liveness.h"

#include "x86/vcpu_state.h"

namespace triune::hypervisor::soft::bt {

void live_flags(std::span<const x86::Insn> block, std::vector<u32>& live) {
    constexpr u32 all = x86::flag::arithmetic;
    live.assign(block.size() + 1, all);
    for (size_t i = block.size(); i-- > 0;) {
        const x86::Insn& insn = block[i];
        // PUSHF's image needs them all.
        const bool pushf = insn.mnemonic == ZYDIS_MNEMONIC_PUSHFQ || insn.mnemonic == ZYDIS_MNEMONIC_PUSHFD ||
                           insn.mnemonic == ZYDIS_MNEMONIC_PUSHF;
        if (insn.is_branch || pushf) {
            live[i] = all;
            continue;
        }
        const u32 killed = insn.flags_written & ~insn.flags_maybe_written;
        live[i] = ((live[i + 1] & ~killed) | insn.flags_read) & all;
    }
}

}  // namespace triune::hypervisor::soft::bt
