// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/mmu/tlb.h"

#include <bit>

namespace triune::hypervisor::soft::mmu {

void Tlb::clear() {
    for (auto& entries_of_mode : set)
        for (unsigned i = 0; i < entries; ++i) entries_of_mode[i] = {invalid_tag(i), invalid_tag(i), 0, 0};
    drop_stack();
    not_global = {};
    large = {};
    large_regions = {};
    keyed = {};
    keys = 0;
}

void Tlb::clear_large(Gva gva) {
    drop_stack();
    for (unsigned mode = 0; mode < tlb_modes; ++mode) {
        for (unsigned word = 0; word < large[mode].size(); ++word) {
            for (u64 bits = large[mode][word]; bits; bits &= bits - 1) {
                const unsigned i = word * 64 + static_cast<unsigned>(std::countr_zero(bits));
                if ((set[mode][i].read_tag ^ gva) >> 30)
                    continue;  // an entry that may not be read is invalid
                set[mode][i].read_tag = set[mode][i].write_tag = invalid_tag(i);
                large[mode][word] &= ~(bits & -bits);
            }
        }
    }
}

void Tlb::clear_keyed() {
    drop_stack();
    for (unsigned mode = 0; mode < tlb_modes; ++mode) {
        for (unsigned word = 0; word < keyed[mode].size(); ++word) {
            for (u64 bits = keyed[mode][word]; bits; bits &= bits - 1) {
                const unsigned i = word * 64 + static_cast<unsigned>(std::countr_zero(bits));
                set[mode][i].read_tag = set[mode][i].write_tag = invalid_tag(i);
            }
            keyed[mode][word] = 0;
        }
    }
    keys &= 1;
}

void Tlb::clear_not_global() {
    drop_stack();
    for (unsigned mode = 0; mode < tlb_modes; ++mode) {
        for (unsigned word = 0; word < not_global[mode].size(); ++word) {
            for (u64 bits = not_global[mode][word]; bits; bits &= bits - 1) {
                const unsigned i = word * 64 + static_cast<unsigned>(std::countr_zero(bits));
                set[mode][i].read_tag = set[mode][i].write_tag = invalid_tag(i);
            }
            not_global[mode][word] = 0;
        }
    }
}

}  // namespace triune::hypervisor::soft::mmu
