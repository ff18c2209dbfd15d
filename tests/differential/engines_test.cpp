// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>

#include "differential/generator.h"
#include "differential/settle.h"
#include "hypervisor/soft/bt/test_guest.h"
#include "hypervisor/soft/interp/interp.h"

namespace triune::differential {
namespace {

using hypervisor::soft::bt::Options;
using hypervisor::soft::bt::TestGuest;
using hypervisor::soft::cpu::EngineExit;
using hypervisor::soft::interp::Interpreter;

u64 setting(const char* name, u64 otherwise) {
    const char* v = std::getenv(name);
    return v ? std::strtoull(v, nullptr, 0) : otherwise;
}

/// A random straight-line sequence that ends in HLT.
struct Sequence {
    std::vector<u8> code;
    std::string text;
    u32 undefined_flags = 0;  ///< whose values at the end the manual does not define
    Registers registers;
    std::vector<u8> data;
};

bool writes(const x86::Insn& insn, u8 reg) {
    for (u8 n = 0; n < insn.operand_count; ++n)
        if (insn.op[n].kind == x86::OperandKind::gpr && insn.op[n].written && insn.op[n].reg == reg)
            return true;
    return false;
}

Sequence make_sequence(Generator& g) {
    Sequence s;
    s.registers = g.registers();
    s.data.resize(data_bytes);
    g.fill(s.data);
    const u64 length = 1 + g.number() % 16;
    for (u64 tries = 0; tries < 200 && s.code.size() < length * 6; ++tries) {
        const x86::Insn insn = g.instruction(g.number() % 3 ? Family::integer : Family::vector);
        // RBX is the base of every memory operand; what reads undefined flags has no defined result.
        if (writes(insn, x86::rbx) || (insn.flags_read & s.undefined_flags)) continue;
        const u32 kept = insn.flags_written & ~insn.flags_maybe_written;
        s.undefined_flags = (s.undefined_flags & ~kept) | insn.flags_undefined;
        s.code.insert(s.code.end(), insn.bytes.begin(), insn.bytes.begin() + insn.length);
        s.text +=
            x86::disassemble(std::span(insn.bytes.data(), insn.length), x86::CodeSize::bits64, 0) + "\n";
    }
    s.code.push_back(0xf4);
    return s;
}

/// A guest of its own and the reference engine on it, alone or behind the translator.
class Runner {
public:
    explicit Runner(const Options& options, bool translate)
        : guest_(options), interp_(guest_.system()), translate_(translate) {}

    /// True when it reached HLT; false: an exception (there is no IDT, so it shuts down).
    bool run(const Sequence& q) {
        x86::VcpuState& s = guest_.state();
        s.gpr = q.registers.gpr;
        s.gpr[x86::rsp] = TestGuest::stack_top;
        s.rflags = q.registers.flags | x86::flag::fixed;
        s.xsave = q.registers.xsave;
        s.halted = 0;
        s.rip = TestGuest::code;
        s.idtr = {};
        EXPECT_TRUE(guest_.memory().write(data_address, q.data.data(), q.data.size()));
        EXPECT_TRUE(guest_.memory().write(TestGuest::code, q.code.data(), q.code.size()));
        guest_.translator().invalidate(TestGuest::code, page_size);
        interp_.invalidate(TestGuest::code, page_size);
        for (int steps = 0; steps < 10000; ++steps) {
            if (translate_ && guest_.translator().run() == EngineExit::shutdown) return false;
            const auto step = interp_.step();
            if (step == Interpreter::Step::halted) return true;
            if (step == Interpreter::Step::shutdown) return false;
        }
        ADD_FAILURE() << "does not end";
        return false;
    }
    x86::VcpuState& state() { return guest_.state(); }
    const u8* data() { return &guest_.at<u8>(data_address); }

private:
    TestGuest guest_;
    Interpreter interp_;
    bool translate_;
};

/// Bytes of the XSAVE area that both engines define.
bool compared(unsigned n) { return !(n >= 6 && n < 24) && !(n >= 28 && n < 32) && !(n >= 416 && n < 576); }

void compare(const Options& options, u64 rounds) {
    const u64 seed = setting("TRIUNE_SEED", 20260102), count = setting("TRIUNE_COUNT", rounds);
    Generator g(seed);
    Runner reference(options, false), translated(options, true);
    u64 completed = 0;
    for (u64 round = 0; round < count; ++round) {
        const Sequence q = make_sequence(g);
        const bool a = reference.run(q), b = translated.run(q);
        SCOPED_TRACE(testing::Message() << "TRIUNE_SEED=" << seed << " round " << round << ":\n" << q.text);
        ASSERT_EQ(a, b) << "reached the end";
        const x86::VcpuState &r = reference.state(), &t = translated.state();
        ASSERT_EQ(r.rip, t.rip);
        if (!a) continue;
        ++completed;
        for (unsigned n = 0; n < 16; ++n) ASSERT_EQ(r.gpr[n], t.gpr[n]) << "register " << n;
        const u64 mask = ~u64{q.undefined_flags};
        ASSERT_EQ(r.rflags & mask, t.rflags & mask)
            << std::hex << "reference " << r.rflags << ", translated " << t.rflags;
        auto r_vector = r.xsave, t_vector = t.xsave;
        settle(r_vector);
        settle(t_vector);
        for (unsigned n = 0; n < x86::xsave_size; ++n) {
            if (!compared(n)) continue;
            ASSERT_EQ(r_vector[n], t_vector[n]) << "extended state, byte " << n;
        }
        ASSERT_EQ(std::memcmp(reference.data(), translated.data(), data_bytes), 0) << "memory";
    }
    EXPECT_GT(completed, count / 4) << "too few sequences ran to their end to mean anything";
}

TEST(Engines, WholeBlocks) { compare({}, 20000); }
TEST(Engines, SingleInstructions) { compare({.max_instructions = 1}, 10000); }

}  // namespace
}  // namespace triune::differential
