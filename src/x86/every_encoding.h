// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

/// For tests: walks the whole opcode space, so that nothing in it hides.
#include <vector>

#include "x86/insn.h"

namespace triune::x86 {

/// Calls visit(bytes) with 15 bytes for each legacy opcode under each mandatory prefix and REX.W, and each
/// VEX opcode of the three maps under each pp, W and L with vvvv 1111b and 1110b: with every ModRM.reg, a
/// memory operand [rBX] (16-bit code: [BP+DI]), one with an index (gathers have no other) and every register
/// operand.
template <class Visit>
void for_every_encoding(CodeSize size, Visit visit) {
    constexpr u8 prefixes[] = {0, 0x66, 0xf3, 0xf2};
    std::vector<u8> b;
    const auto finish = [&](u8 opcode) {
        b.push_back(opcode);
        const size_t head = b.size();
        for (unsigned reg = 0; reg < 8; ++reg)
            for (unsigned rm = 0; rm < 10; ++rm) {
                b.resize(head);
                b.push_back(static_cast<u8>(rm < 8 ? 0xc0 | reg << 3 | rm : reg << 3 | (rm == 8 ? 3 : 4)));
                if (rm == 9) b.push_back(0x33);  // [rBX + rSI or XMM6]
                b.resize(15);
                visit(static_cast<const std::vector<u8>&>(b));
            }
    };
    for (unsigned opcode = 0; opcode < 256; ++opcode)
        for (unsigned map = 0; map < 4; ++map)
            for (unsigned pp = 0; pp < 4; ++pp) {
                for (unsigned w = 0; w < (size == CodeSize::bits64 ? 2u : 1u); ++w) {
                    b.clear();
                    if (pp) b.push_back(prefixes[pp]);
                    if (w) b.push_back(0x48);
                    if (map) b.push_back(0x0f);
                    if (map >= 2) b.push_back(map == 2 ? 0x38 : 0x3a);
                    finish(static_cast<u8>(opcode));
                }
                for (unsigned n = 0; map && n < 8; ++n) {
                    const unsigned w = n & 1, l = n >> 1 & 1, vvvv = n >> 2 ? 14 : 15;
                    b = {0xc4, static_cast<u8>(0xe0 | map),
                         static_cast<u8>(w << 7 | vvvv << 3 | l << 2 | pp)};
                    finish(static_cast<u8>(opcode));
                }
            }
}

}  // namespace triune::x86
