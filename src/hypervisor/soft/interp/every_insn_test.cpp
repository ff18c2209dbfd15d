// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
/// What is decoded, what is implemented and what CPUID shows, checked against each other over the whole
/// opcode space.
#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>

#include "hypervisor/soft/interp/handlers.h"
#include "hypervisor/soft/interp/test_machine.h"
#include "x86/every_encoding.h"

namespace triune::hypervisor::soft::interp {
namespace {

using test::Machine;

constexpr CodeSize sizes[] = {CodeSize::bits16, CodeSize::bits32, CodeSize::bits64};

TEST(EveryInsn, DecodedMeansImplemented) {
    std::set<std::string> missing;
    u64 decoded = 0;
    for (const CodeSize size : sizes)
        x86::for_every_encoding(size, [&](const std::vector<u8>& bytes) {
            Insn i;
            if (x86::decode(bytes, size, i) != x86::DecodeStatus::ok) return;
            ++decoded;
            if (!implemented(i)) missing.insert(x86::disassemble(bytes, size, 0));
        });
    EXPECT_GT(decoded, 100000u);
    for (const std::string& text : missing) ADD_FAILURE() << "no handler: " << text;
}

/// Where #UD is the right answer although the processor has the instruction.
bool may_raise_ud(const Insn& i, const x86::CpuModel& model) {
    switch (i.mnemonic) {
        case ZYDIS_MNEMONIC_VMCALL:  // no hypercalls without a hypervisor
        case ZYDIS_MNEMONIC_VMMCALL: return !model.has("hypervisor");
        case ZYDIS_MNEMONIC_SYSENTER:  // not on AMD's processors in long mode
        case ZYDIS_MNEMONIC_SYSEXIT: return model.vendor() != "GenuineIntel";
        case ZYDIS_MNEMONIC_SYSCALL:  // not outside 64-bit mode on Intel's
        case ZYDIS_MNEMONIC_SYSRET: return true;
        case ZYDIS_MNEMONIC_MOV:  // MOV CS; reserved control registers; DR4 and DR5 with CR4.DE
            return i.op[0].kind == OperandKind::segment || i.op[0].kind == OperandKind::control ||
                   i.op[0].kind == OperandKind::debug || i.op[1].kind == OperandKind::control ||
                   i.op[1].kind == OperandKind::debug;
        default: return false;
    }
}

/// Runs everything that the model has, once.
void run_all(const std::string& cpu) {
    Machine m(cpu);
    const x86::VcpuState fresh = m.state();
    std::map<std::string, std::string> undefined;
    std::set<std::pair<ZydisMnemonic, u32>> seen;
    u64 ran = 0;
    x86::for_every_encoding(CodeSize::bits64, [&](const std::vector<u8>& bytes) {
        Insn i;
        if (x86::decode(bytes, CodeSize::bits64, i, m.model.insns) != x86::DecodeStatus::ok) return;
        if (may_raise_ud(i, m.model)) return;
        const u32 shape = i.operand_bits | (i.memory() ? 256u : 0) | (i.vex ? 512u : 0) |
                          static_cast<u32>(i.op[0].kind) << 12 | static_cast<u32>(i.op[0].bits) << 20;
        if (!seen.insert({i.mnemonic, shape}).second) return;
        m.state() = fresh;
        for (u64& r : m.state().gpr) r = test::data_base;
        m.gpr(x86::rsp) = test::stack_top;
        m.gpr(x86::rcx) = 4;
        m.state().cr4 |= x86::cr4::pce | (m.model.has("pku") ? x86::cr4::pke : 0);
        m.load(bytes);
        m.step();
        ++ran;
        if (m.state().rip == test::handlers + x86::vec::ud)
            undefined[x86::disassemble(bytes, CodeSize::bits64, 0)] = "";
    });
    EXPECT_GT(ran, 300u);
    for (const auto& [text, unused] : undefined) ADD_FAILURE() << cpu << ": #UD by " << text;
}

TEST(EveryInsn, WhatTheModelHasRuns) {
    run_all("host,+pku");
    run_all("core2");
    if (x86::make_cpu_model("x86-64-v3", 1)) run_all("x86-64-v3");
}

TEST(EveryInsn, WhatTheModelLacksIsUndefined) {
    for (const char* cpu : {"core2", "x86-64-v2", "core2,-sse3"}) {
        Machine m(cpu);
        const x86::VcpuState fresh = m.state();
        std::set<std::pair<ZydisMnemonic, bool>> seen;
        u64 checked = 0;
        x86::for_every_encoding(CodeSize::bits64, [&](const std::vector<u8>& bytes) {
            Insn i;
            if (x86::decode(bytes, CodeSize::bits64, i) != x86::DecodeStatus::ok) return;
            if (x86::decode(bytes, CodeSize::bits64, i, m.model.insns) == x86::DecodeStatus::ok) return;
            if (!seen.insert({i.mnemonic, i.memory() != nullptr}).second) return;
            m.state() = fresh;
            m.load(bytes);
            m.step();
            ++checked;
            EXPECT_EQ(m.state().rip, test::handlers + x86::vec::ud)
                << x86::disassemble(bytes, CodeSize::bits64, 0);
        });
        EXPECT_GT(checked, 100u) << cpu;
    }
}

}  // namespace
}  // namespace triune::hypervisor::soft::interp
