// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>

#include "differential/generator.h"
#include "differential/settle.h"
#include "hypervisor/soft/interp/test_machine.h"

namespace triune::differential {
namespace {

using hypervisor::soft::interp::Interpreter;
using hypervisor::soft::interp::test::Machine;
namespace flag = x86::flag;
constexpr u64 compared_flags = flag::arithmetic | flag::df;

/// TRIUNE_SEED and TRIUNE_COUNT in the environment choose what is run.
u64 setting(const char* name, u64 otherwise) {
    const char* v = std::getenv(name);
    return v ? std::strtoull(v, nullptr, 0) : otherwise;
}

class Comparison {
public:
    Comparison() {
        machine_.user();
        machine_.state().cr0 &= ~x86::cr0::am;
    }

    [[nodiscard]] bool usable() const { return native_.usable(); }

    u64 failures = 0;
    void check(Generator& g, Family family, u64 seed, u64 round) {
        const size_t before = part_count();
        run(g, family, seed, round);
        failures += part_count() != before;
    }

private:
    static size_t part_count() {
        const auto* r = testing::UnitTest::GetInstance()->current_test_info()->result();
        return static_cast<size_t>(r->total_part_count());
    }
    void run(Generator& g, Family family, u64 seed, u64 round) {
        const x86::Insn i = g.instruction(family);
        const std::span<const u8> bytes(i.bytes.data(), i.length);
        Registers before = g.registers();
        Registers after = before;
        g.fill(native_.data());
        const std::vector<u8> data(native_.data().begin(), native_.data().end());

        const int native_vector = native_.run(bytes, after);

        x86::VcpuState& s = machine_.state();
        machine_.user();
        s.gpr = before.gpr;
        s.gpr[x86::rsp] = hypervisor::soft::interp::test::stack_top;
        s.rflags = before.flags | flag::fixed | flag::if_;
        s.xsave = before.xsave;
        s.halted = 0;
        (void)machine_.memory->write(data_address, data.data(), data.size());
        machine_.load(bytes);
        machine_.step();
        int vector = -1;
        if (s.rip >= hypervisor::soft::interp::test::handlers &&
            s.rip < hypervisor::soft::interp::test::handlers + 256)
            vector = static_cast<int>(s.rip - hypervisor::soft::interp::test::handlers);

        SCOPED_TRACE(testing::Message()
                     << "TRIUNE_SEED=" << seed << " round " << round << ": "
                     << x86::disassemble(bytes, x86::CodeSize::bits64, 0) << " bytes "
                     << testing::PrintToString(std::vector<u8>(bytes.begin(), bytes.end())));
        // The host kernel makes #MF and #XM one signal.
        ASSERT_EQ(vector == x86::vec::mf ? int{x86::vec::xm} : vector, native_vector);
        if (native_vector >= 0) return;
        ASSERT_EQ(s.rip, hypervisor::soft::interp::test::code_base + i.length);
        for (unsigned r = 0; r < 16; ++r) {
            if (r == x86::rsp) continue;
            ASSERT_EQ(s.gpr[r], after.gpr[r]) << "register " << r << " was " << std::hex << before.gpr[r];
        }
        const u64 mask = compared_flags & ~u64{i.flags_undefined};
        ASSERT_EQ(s.rflags & mask, after.flags & mask) << "flags were " << std::hex << before.flags;
        auto mine = s.xsave;
        settle(mine);
        settle(after.xsave);
        for (unsigned n = 0; n < x86::xsave_size; ++n) {
            if ((n >= 28 && n < 32) || (n >= 416 && n < 576)) continue;  // MXCSR_MASK, reserved, header
            ASSERT_EQ(mine[n], after.xsave[n]) << "extended state, byte " << n << " was " << +before.xsave[n];
        }
        std::vector<u8> guest(data.size());
        (void)machine_.memory->read(data_address, guest.data(), guest.size());
        ASSERT_EQ(std::memcmp(guest.data(), native_.data().data(), guest.size()), 0) << "memory";
    }

    Native native_;
    Machine machine_;
};

void compare(Family family, u64 rounds) {
    Comparison c;
    if (!c.usable()) GTEST_SKIP() << "the host does not give memory at the test's address";
    const u64 seed = setting("TRIUNE_SEED", 20260101);
    Generator g(seed);
    const u64 count = setting("TRIUNE_COUNT", rounds), stop_after = setting("TRIUNE_FAILURES", 5);
    for (u64 n = 0; n < count && c.failures < stop_after; ++n) c.check(g, family, seed, n);
}

TEST(Silicon, IntegerInstructions) { compare(Family::integer, 40000); }
TEST(Silicon, VectorInstructions) { compare(Family::vector, 40000); }

}  // namespace
}  // namespace triune::differential
