// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "differential/cpu/coverage.h"

#include <Zydis/Zydis.h>
#include <fmt/format.h>

#include <algorithm>

#include "differential/cpu/exclusions.h"
#include "x86/every_encoding.h"

namespace triune::differential::cpu {
namespace {

std::string form(const x86::Insn& i) {
    const x86::Operand* const m = i.memory();
    std::string text = ZydisMnemonicGetString(i.mnemonic);
    if (i.vex) {
        const auto vex = std::ranges::find_if(i.bytes, [](u8 b) { return b == 0xc4 || b == 0xc5; });
        text += vex[*vex == 0xc4 ? 2 : 1] & 4 ? ", 256 bits" : ", VEX";
    }
    return text + (!m ? ": registers" : m->vsib ? ": memory by a vector of indices" : ": memory");
}

/// Branches within the code segment, which have targets of their own.
bool near_branch(const x86::Insn& i) {
    if (i.opcode_map == 1) return (i.opcode & 0xf0) == 0x80;
    if (i.opcode_map != 0) return false;
    if (i.opcode == 0xff) return (i.bytes[1] >> 3 & 7) == 2 || (i.bytes[1] >> 3 & 7) == 4;
    return (i.opcode & 0xf0) == 0x70 || (i.opcode >= 0xe0 && i.opcode <= 0xe3) || i.opcode == 0xe8 ||
           i.opcode == 0xe9 || i.opcode == 0xeb || i.opcode == 0xc2 || i.opcode == 0xc3;
}

}  // namespace

Coverage::Coverage(const x86::InsnSet& set, bool compat) {
    const auto consider = [&](x86::CodeSize size) {
        x86::for_every_encoding(size, [&](const std::vector<u8>& bytes) {
            x86::Insn i;
            if (x86::decode(bytes, size, i, set) != x86::DecodeStatus::ok) return;
            // Branches with an operand-size prefix would cut RIP on AMD's processors, and lose it in 32-bit
            // code.
            const bool branch = i.is_branch && near_branch(i) && i.operand_bits != 16;
            if (branch || !excluded(i)) made_.try_emplace(form(i), 0);
        });
    };
    consider(x86::CodeSize::bits64);
    if (compat) consider(x86::CodeSize::bits32);
}

void Coverage::count(const Program& p) {
    for (const x86::Insn& i : p.insns) ++made_[form(i)];
}

std::string Coverage::missing() const {
    std::string text;
    for (const auto& [name, count] : made_)
        if (count == 0) text += fmt::format("never made: {}\n", name);
    return text;
}

std::string Coverage::table() const {
    std::vector<std::pair<u64, std::string>> rows;
    for (const auto& [name, count] : made_) rows.emplace_back(count, name);
    std::ranges::sort(rows);
    std::string text;
    for (const auto& [count, name] : rows) text += fmt::format("{:8} {}\n", count, name);
    return text;
}

}  // namespace triune::differential::cpu
