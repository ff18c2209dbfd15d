// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "differential/cpu/compare.h"

#include <fmt/format.h>

#include <cstring>

#include "differential/settle.h"

namespace triune::differential::cpu {
namespace {

constexpr u64 compared_flags = x86::flag::arithmetic | x86::flag::df | x86::flag::tf | x86::flag::ac;

/// Flags that the program overwrites for certain, from instruction `from` on, before it reads them.
u32 dead_flags_at(const Program& p, size_t from) {
    u32 dead = 0, read = 0;
    for (size_t n = from; n < p.insns.size(); ++n) {
        const x86::Insn& i = p.insns[n];
        read |= i.flags_read & ~dead;
        if (i.is_branch) break;
        dead |= i.flags_written & ~i.flags_maybe_written & ~read;
    }
    return dead;
}

class Table {
public:
    explicit Table(const char* name) : text_(fmt::format("  {:12} {:>34} {:>34}\n", "", "native", name)) {}
    void row(const std::string& what, const std::string& a, const std::string& b) {
        const bool differs = a != b;
        different_ |= differs;
        if (differs || context_)
            text_ += fmt::format("{} {:12} {:>34} {:>34}\n", differs ? '*' : ' ', what, a, b);
    }
    void number(const std::string& what, u64 a, u64 b) {
        row(what, fmt::format("{:x}", a), fmt::format("{:x}", b));
    }
    void context(bool on) { context_ = on; }
    [[nodiscard]] std::string text() const { return different_ ? text_ : std::string{}; }

private:
    std::string text_;
    bool different_ = false, context_ = true;
};

std::string hex(const u8* at, size_t n) {
    std::string s;
    while (n--) s += fmt::format("{:02x}", at[n]);
    return s;
}

u32 error_mask(int vector) {
    switch (vector) {
        case x86::vec::pf: return 0x12;  // whether a page is there Linux hides for kernel addresses
        case 8:
        case 10:
        case 11:
        case 12:
        case 13:
        case 17: return ~0u;
        default: return 0;
    }
}

/// Instructions that may have stored or loaded a part when they fault.
bool partial(const x86::Insn& i) {
    for (u8 n = 0; n < i.operand_count; ++n)
        if (i.op[n].vsib) return true;
    switch (i.mnemonic) {
        case ZYDIS_MNEMONIC_ENTER:
        case ZYDIS_MNEMONIC_PUSHA:
        case ZYDIS_MNEMONIC_PUSHAD: return true;
        default: return false;
    }
}

/// What faults when bytes are masked out is the processor's choice (Intel SDM 2B MASKMOVDQU).
bool free_to_fault(const x86::Insn& i) {
    return i.mnemonic == ZYDIS_MNEMONIC_MASKMOVQ || i.mnemonic == ZYDIS_MNEMONIC_MASKMOVDQU ||
           i.mnemonic == ZYDIS_MNEMONIC_VMASKMOVDQU;
}

bool same(const Outcome& a, const Outcome& b, u64 flags) {
    return a.vector == b.vector && a.rip == b.rip && a.r.gpr == b.r.gpr &&
           !((a.r.flags ^ b.r.flags) & flags) && a.memory == b.memory &&
           (a.vector != x86::vec::pf || a.cr2 == b.cr2) && !((a.error ^ b.error) & error_mask(a.vector));
}

}  // namespace

std::string difference(const Program& p, const Outcome& native, const Outcome& other, const char* name,
                       bool dead) {
    const size_t at = p.index_of(native.rip);
    const bool ended = at == p.insns.size();
    if (!ended && free_to_fault(p.insns[at])) return {};
    u32 undefined = ended ? p.undefined_flags : p.undefined_before[at];
    if (dead && !ended) undefined |= dead_flags_at(p, at);
    const u64 flags = compared_flags & ~u64{undefined};
    const bool skip_contents = !ended && partial(p.insns[at]);

    auto x = native.r.xsave, y = other.r.xsave;
    settle(x);
    settle(y);
    const bool vectors_same = std::memcmp(&x[0], &y[0], 28) == 0 && std::memcmp(&x[32], &y[32], 384) == 0 &&
                              std::memcmp(&x[576], &y[576], 256) == 0;
    if (same(native, other, flags) && vectors_same) return {};

    Table t(name);
    t.number("vector", static_cast<u32>(native.vector), static_cast<u32>(other.vector));
    t.number("rip", native.rip, other.rip);
    t.number("error", native.error & error_mask(native.vector), other.error & error_mask(native.vector));
    if (native.vector == x86::vec::pf) t.number("cr2", native.cr2, other.cr2);
    constexpr const char* names[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                     "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
    for (size_t n = 0; n < 16; ++n) t.number(names[n], native.r.gpr[n], other.r.gpr[n]);
    t.number("flags", native.r.flags & flags, other.r.flags & flags);
    t.context(false);
    t.row("fcw", hex(&x[0], 2), hex(&y[0], 2));
    t.row("fsw", hex(&x[2], 2), hex(&y[2], 2));
    t.row("ftw", hex(&x[4], 1), hex(&y[4], 1));
    t.row("mxcsr", hex(&x[24], 4), hex(&y[24], 4));
    for (size_t n = 0; n < 8; ++n)
        t.row(fmt::format("st{}", n), hex(&x[32 + n * 16], 10), hex(&y[32 + n * 16], 10));
    if (!skip_contents) {
        for (size_t n = 0; n < 16; ++n)
            t.row(fmt::format("xmm{}", n), hex(&x[160 + n * 16], 16), hex(&y[160 + n * 16], 16));
        for (size_t n = 0; n < 16; ++n)
            t.row(fmt::format("ymm{} upper", n), hex(&x[576 + n * 16], 16), hex(&y[576 + n * 16], 16));
        for (size_t n = 0; n < image_bytes; n += 8) {
            const u64 address = n < data_size ? data_at + n : stack_at + n - data_size;
            t.row(fmt::format("[{:x}]", address), hex(&native.memory[n], 8), hex(&other.memory[n], 8));
        }
    }
    return t.text();
}

Engines::Engines(NativeRunner& native, const x86::CpuModel& model) : native_(native) {
    using hypervisor::soft::bt::Options;
    const auto add = [&](const char* name, bool translates, const Options& o, unsigned every) {
        engines_.push_back({name, std::make_unique<FuzzGuest>(model, translates, o), translates, every});
    };
    add("interp", false, {}, 1);
    add("bt", true, {}, 1);
    add("bt, single", true, {.max_instructions = 1}, 2);
    const Options plain{.chain = false,
                        .continue_after_calls = false,
                        .merge_accesses = false,
                        .cache_registers = false,
                        .add_in_address = false,
                        .poll_everywhere = true};
    add("bt, unchained", true, plain, 2);
}

Result<std::vector<Engines::Failure>> Engines::run(const Batch& b, bool first_only) {
    if (auto r = native_.run(b); !r) return std::unexpected(r.error());
    std::vector<Failure> failures;
    // On AMD's processors the host's kernel loses x87 pointers when it switches from the child to another
    // process: what does not come out alike twice says nothing.
    bool again = false;
    for (Engine& e : engines_) {
        e.guest->load(b);
        const unsigned phase = static_cast<unsigned>(&e - engines_.data());
        for (size_t n = 0; n < b.programs.size(); ++n) {
            if (b.programs.size() > 1 && (n + phase) % e.every) continue;
            const Program& p = b.programs[n];
            e.guest->run(p, b.memory, outcome_);
            std::string d = difference(p, native_.outcome(n), outcome_, e.name, e.translates);
            if (!d.empty() && !std::exchange(again, true)) {
                if (auto r = native_.run(b); !r) return std::unexpected(r.error());
                d = difference(p, native_.outcome(n), outcome_, e.name, e.translates);
            }
            if (d.empty()) continue;
            failures.push_back({n, d});
            if (first_only) return failures;
        }
    }
    return failures;
}

}  // namespace triune::differential::cpu
