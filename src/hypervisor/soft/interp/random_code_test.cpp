// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
/// Any bytes in any mode: the guest may get any exception, the host none.
#include <gtest/gtest.h>

#include <cstdlib>
#include <random>

#include "hypervisor/soft/interp/test_machine.h"

namespace triune::hypervisor::soft::interp {
namespace {

using test::Machine;

enum class Mode { long_kernel, long_user, protected32, real };

void prepare(Machine& m, Mode mode, std::mt19937_64& random) {
    x86::reset_state(m.state(), false);
    m.enter_long_mode();
    m.state().cr0 |= x86::cr0::am;
    for (u64& g : m.state().gpr) g = random() % 4 ? test::data_base + random() % 0x1000 : random();
    m.gpr(x86::rsp) = test::stack_top;
    m.state().rflags = (random() & 0x40cd5) | 2;
    switch (mode) {
        case Mode::long_kernel: break;
        case Mode::long_user: m.user(); break;
        case Mode::protected32: m.protected32(); break;
        case Mode::real: m.real_mode(); break;
    }
}

void run(Mode mode, bool vector) {
    const char* chosen = std::getenv("TRIUNE_SEED");
    const u64 seed = chosen ? std::strtoull(chosen, nullptr, 0) : 20260101;
    SCOPED_TRACE(testing::Message() << "TRIUNE_SEED=" << seed);
    std::mt19937_64 random(seed + static_cast<u64>(mode));
    Machine m;
    for (unsigned n = 0; n < 4000; ++n) {
        prepare(m, mode, random);
        std::vector<u8> code;
        while (code.size() < 24) {
            constexpr std::array<u8, 16> prefixes = {0x66, 0xf2, 0xf3, 0x67, 0x2e, 0x36, 0x64, 0x65,
                                                     0x40, 0x48, 0x4f, 0xc4, 0xc5, 0x62, 0x8f, 0xf0};
            while (random() % 3 == 0) code.push_back(prefixes[random() % prefixes.size()]);
            if (vector) {
                if (random() % 4 == 0)
                    code.push_back(static_cast<u8>(0xd8 + random() % 8));
                else
                    code.push_back(0x0f);
            }
            for (unsigned k = 0; k < 8; ++k) code.push_back(static_cast<u8>(random()));
        }
        m.load(code);
        if (m.step(3) == Interpreter::Step::shutdown) continue;
        ASSERT_TRUE(m.state().rflags & 2);
    }
}

TEST(RandomCode, LongModeKernel) { run(Mode::long_kernel, false); }
TEST(RandomCode, LongModeUser) { run(Mode::long_user, false); }
TEST(RandomCode, LongModeVector) { run(Mode::long_user, true); }
TEST(RandomCode, ProtectedMode) { run(Mode::protected32, false); }
TEST(RandomCode, ProtectedModeVector) { run(Mode::protected32, true); }
TEST(RandomCode, RealMode) { run(Mode::real, false); }
TEST(RandomCode, RealModeVector) { run(Mode::real, true); }

}  // namespace
}  // namespace triune::hypervisor::soft::interp
