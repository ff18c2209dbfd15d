// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "differential/cpu/program.h"

namespace triune::differential::cpu {

using x86::Insn;

namespace {

/// Bytes of a 32-bit value.
struct Bytes {
    u64 b[4];
    explicit Bytes(u64 v) : b{v & 0xff, v >> 8 & 0xff, v >> 16 & 0xff, v >> 24 & 0xff} {}
    u64 operator[](size_t n) const { return b[n]; }
};

}  // namespace

/// Branches to a place that is known: right behind them.
bool ProgramMaker::add_known_branch(Program& p, unsigned kind) {
    const u64 here = p.start + p.code.size();
    const auto push = [&](u64 length) {  // of the address `length` bytes behind the PUSH
        const Bytes to(here + 5 + length);
        return append_bytes(p, {0x68, to[0], to[1], to[2], to[3]});
    };
    const auto load = [&](u64 length) {  // the same, into EAX
        const Bytes to(here + 5 + length);
        return append_bytes(p, {0xb8, to[0], to[1], to[2], to[3]});
    };
    switch (kind) {
        case 0: return append_bytes(p, {0xe8, 0, 0, 0, 0}) && append_bytes(p, {0x58});       // call; pop
        case 1: return push(1) && append_bytes(p, {0xc3});                                   // ret
        case 2: return push(3) && append_bytes(p, {0xc2, number() % 64 & 0xf8, 0});          // ret n
        case 3: return load(2) && append_bytes(p, {0xff, 0xe0});                             // jmp rax
        case 4: return push(3) && append_bytes(p, {0xff, 0x24, 0x24});                       // jmp [rsp]
        case 5: return load(2) && append_bytes(p, {0xff, 0xd0}) && append_bytes(p, {0x59});  // call rax; pop
        case 6: return push(3) && append_bytes(p, {0xff, 0x14, 0x24});                       // call [rsp]
        case 7: return append_bytes(p, {0xe9, 0, 0, 0, 0});                                  // jmp
        default: return append_bytes(p, {0x0f, 0x80 + number() % 16, 0, 0, 0, 0});           // jcc
    }
}

/// A jump, taken or not, over the instruction that follows; or a branch to behind itself.
bool ProgramMaker::add_branch(Program& p) {
    if (one_in(2)) {
        Program rest = p;
        if (!add_known_branch(rest, static_cast<unsigned>(number() % 9))) return false;
        p = rest;
        return true;
    }
    const u32 undefined = p.undefined_flags;
    for (unsigned tries = 0; tries < 20; ++tries) {
        Program rest = p;
        const u64 op = one_in(16) ? 0xeb : one_in(6) ? 0xe0 + number() % 4 : 0x70 + number() % 16;
        const bool short_address = one_in(8);  // JECXZ, LOOP by ECX
        if (short_address && op < 0xe4 && op >= 0xe0) {
            if (!append_bytes(rest, {0x67, op, 0})) continue;
        } else if (!append_bytes(rest, {op, 0})) {
            continue;
        }
        const size_t displacement = rest.code.size() - 1, at = rest.insns.size() - 1;
        if (!add_random(rest)) continue;
        const size_t skipped = rest.code.size() - displacement - 1;
        if (skipped > 120) continue;
        rest.code[displacement] = static_cast<u8>(skipped);
        Insn again;
        const u8 length = rest.insns[at].length;
        std::vector<u8> b(rest.code.begin() + static_cast<std::ptrdiff_t>(displacement + 1 - length),
                          rest.code.end());
        b.resize(15);
        if (x86::decode(b, rest.size(), again, set_) != x86::DecodeStatus::ok) continue;
        rest.insns[at] = again;
        rest.undefined_flags |= undefined;
        p = rest;
        return true;
    }
    return false;
}

}  // namespace triune::differential::cpu
