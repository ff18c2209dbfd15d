// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "hypervisor/soft/bt/test_guest.h"

namespace triune::hypervisor::soft::bt {

struct Asm : Xbyak::CodeGenerator {
    Asm() : CodeGenerator(16384) {}
};

/// Every behaviour holds with whole blocks, with single instructions, and without chaining.
class BtTest : public testing::TestWithParam<Options> {
protected:
    static constexpr Gpa data = TestGuest::data;
    TestGuest guest{GetParam()};
    Asm a;
    u64& reg(unsigned g) { return guest.state().gpr[g]; }
    bool run() {
        a.hlt();
        guest.load(TestGuest::code, a);
        return guest.run();
    }
    /// Forgets the code assembled so far.
    void start_again() {
        a.reset();
        guest.translator().invalidate(TestGuest::code, page_size);
    }
};

inline const auto bt_settings =
    testing::Values(Options{}, Options{.max_instructions = 1}, Options{.chain = false},
                    Options{.continue_after_calls = false, .merge_accesses = false},
                    Options{.chain = false, .cache_registers = false},
                    Options{.add_in_address = false, .poll_everywhere = true});

}  // namespace triune::hypervisor::soft::bt
