// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/verify/compare.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "base/state_visitor.h"

namespace triune::hypervisor::soft::verify {
namespace {

using x86::VcpuState;
using Area = std::array<u8, x86::xsave_size>;

/// Offsets in the standard XSAVE format (Intel SDM 1 13.4).
constexpr size_t fop_at = 6, mxcsr_at = 24, mxcsr_mask_at = 28, x87_at = 32, xmm_at = 160, xmm_end = 416,
                 header_at = 512, avx_at = 576;

/// The same state with every component written out, and without what is not compared.
Area written_out(const Area& area) {
    Area a = area;
    u64 in_use = 0;
    std::memcpy(&in_use, &a[header_at], sizeof in_use);
    if (!(in_use & 1)) {
        const u16 fcw = 0x37f;
        std::fill_n(a.begin(), mxcsr_at, u8{0});
        std::memcpy(a.data(), &fcw, sizeof fcw);
        std::fill(a.begin() + x87_at, a.begin() + xmm_at, u8{0});
    }
    std::fill(a.begin() + fop_at, a.begin() + mxcsr_at, u8{0});  // FOP, FIP, FDP
    if (!(in_use & 2)) std::fill(a.begin() + xmm_at, a.begin() + xmm_end, u8{0});
    if (!(in_use & 4)) std::fill(a.begin() + avx_at, a.end(), u8{0});
    std::fill(a.begin() + mxcsr_mask_at, a.begin() + x87_at, u8{0});
    std::fill(a.begin() + xmm_end, a.begin() + avx_at, u8{0});
    // Ten bytes a register; the rest is reserved.
    for (size_t r = 0; r < 8; ++r) {
        const auto from = a.begin() + static_cast<std::ptrdiff_t>(x87_at + r * 16 + 10);
        std::fill(from, from + 6, u8{0});
    }
    return a;
}

struct Field {
    std::string name;
    std::vector<u8> bytes;
};

class Collector final : public base::PathVisitor {
public:
    std::vector<Field> fields;

private:
    void visit_path(const std::string& path, std::span<u8> bytes) override {
        fields.push_back({path, {bytes.begin(), bytes.end()}});
    }
};

std::vector<Field> fields_of(const VcpuState& state) {
    VcpuState s = state;
    s.xsave = written_out(s.xsave);
    Collector c;
    describe(c, s);
    return std::move(c.fields);
}

std::string hex(std::span<const u8> little_endian) {
    std::string text;
    for (size_t i = little_endian.size(); i-- > 0;) text += fmt::format("{:02x}", little_endian[i]);
    return text;
}

}  // namespace

bool same_state(const VcpuState& a, const VcpuState& b, u64 unseen) {
    constexpr size_t flags_at = offsetof(VcpuState, rflags), after_flags = flags_at + sizeof a.rflags;
    constexpr size_t xsave_at = offsetof(VcpuState, xsave);
    const u8* const pa = reinterpret_cast<const u8*>(&a);
    const u8* const pb = reinterpret_cast<const u8*>(&b);
    if ((a.rflags ^ b.rflags) & ~unseen) return false;
    if (std::memcmp(pa, pb, flags_at) != 0 ||
        std::memcmp(pa + after_flags, pb + after_flags, xsave_at - after_flags) != 0)
        return false;
    return a.xsave == b.xsave || written_out(a.xsave) == written_out(b.xsave);
}

std::string side_by_side(const VcpuState& a, const VcpuState& b, u64 unseen) {
    const std::vector<Field> fa = fields_of(a), fb = fields_of(b);
    std::string text = fmt::format("  {:<16} {:<18} {}\n", "", "bt", "reference");
    for (size_t i = 0; i < fa.size(); ++i) {
        const bool general = i <= x86::r15 + 2;
        if (fa[i].bytes.size() > 8) {
            for (size_t at = 0; at < fa[i].bytes.size(); at += 8) {
                const std::span<const u8> xa = std::span(fa[i].bytes).subspan(at, 8);
                const std::span<const u8> xb = std::span(fb[i].bytes).subspan(at, 8);
                if (!std::ranges::equal(xa, xb))
                    text += fmt::format("* {:<16} {:<18} {}\n", fmt::format("{}[{}]", fa[i].name, at),
                                        hex(xa), hex(xb));
            }
            continue;
        }
        bool differs = fa[i].bytes != fb[i].bytes;
        if (fa[i].name == "rflags") differs = ((a.rflags ^ b.rflags) & ~unseen) != 0;
        if (differs || general)
            text += fmt::format("{} {:<16} {:<18} {}\n", differs ? '*' : ' ', fa[i].name, hex(fa[i].bytes),
                                hex(fb[i].bytes));
    }
    return text;
}

u64 unseen_flags(std::span<const x86::Insn> code) {
    u64 open = x86::flag::arithmetic, unseen = 0;
    for (const x86::Insn& insn : code) {
        if (insn.is_branch || insn.mnemonic == ZYDIS_MNEMONIC_PUSHFQ) break;
        open &= ~u64{insn.flags_read};
        const u64 killed = open & insn.flags_written & ~insn.flags_maybe_written;
        unseen |= killed;
        open &= ~killed;
    }
    return unseen;
}

u64 undefined_flags(std::span<const x86::Insn> code) {
    u64 undefined = 0;
    for (const x86::Insn& insn : code) {
        undefined &= ~u64{insn.flags_written & ~insn.flags_maybe_written};
        undefined |= insn.flags_undefined;
    }
    return undefined;
}

}  // namespace triune::hypervisor::soft::verify
