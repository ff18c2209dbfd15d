// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
/// Random programs on the host's processor and on every engine: `./dev fuzz cpu --seed N --count N`.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <optional>

#include "differential/cpu/compare.h"
#include "differential/cpu/coverage.h"
#include "differential/cpu/program.h"

namespace triune::differential::cpu {
namespace {

struct Arguments {
    u64 seed = 1, count = 10000, first = 0, failures = 3;
    std::string model = "host";
    bool verbose = false;
    bool coverage = false;  ///< make programs, count what is in them, run none
};

int usage(const char* wrong) {
    fmt::print(
        stderr,
        "{}\nusage: differential_cpu [--seed N] [--count N] [--first N] [--failures N] [--cpu MODEL] "
        "[--verbose] [--coverage]\n"
        "  --first N     begin with sequence N of the seed (a multiple of {})\n"
        "  --failures N  stop after that many differences\n"
        "  --coverage    make the sequences and count what is in them; fails if a form is never made\n",
        wrong, batch);
    return 2;
}

std::optional<Arguments> parse(int argc, char** argv) {
    Arguments a;
    for (int n = 1; n < argc; ++n) {
        const std::string_view name = argv[n];
        if (name == "--verbose") {
            a.verbose = true;
            continue;
        }
        if (name == "--coverage") {
            a.coverage = true;
            continue;
        }
        if (n + 1 >= argc) return std::nullopt;
        const std::string_view text = argv[++n];
        if (name == "--cpu") {
            a.model = text;
            continue;
        }
        u64* const to = name == "--seed"       ? &a.seed
                        : name == "--count"    ? &a.count
                        : name == "--first"    ? &a.first
                        : name == "--failures" ? &a.failures
                                               : nullptr;
        if (!to) return std::nullopt;
        const auto r = std::from_chars(text.data(), text.data() + text.size(), *to);
        if (r.ec != std::errc{} || r.ptr != text.data() + text.size()) return std::nullopt;
    }
    return a;
}

/// The instructions of `p` that matter: others become NOPs as long as a difference remains.
Program reduced(Engines& engines, const Batch& b, const Program& p) {
    Program best = p;
    const auto fails = [&](const Program& q) {
        Batch one{{q}, b.memory};
        const auto r = engines.run(one, true);
        return r && !r->empty();
    };
    if (!fails(best)) return best;
    u64 at = best.code.size() - 2;
    for (size_t n = best.insns.size(); n-- > 0;) {
        at -= best.insns[n].length;
        Program q = best;
        // One NOP as long as the instruction: 66 prefixes and 90.
        std::fill_n(q.code.begin() + static_cast<std::ptrdiff_t>(at), q.insns[n].length - 1, u8{0x66});
        q.code[at + q.insns[n].length - 1] = 0x90;
        std::vector<u8> bytes(q.code.begin() + static_cast<std::ptrdiff_t>(at), q.code.end());
        bytes.resize(std::max<size_t>(bytes.size(), 15));
        if (x86::decode(bytes, q.size(), q.insns[n]) != x86::DecodeStatus::ok) continue;
        if (fails(q)) best = q;
    }
    return best;
}

void report(const Program& p, const Engines::Failure& f, const Arguments& a, u64 number) {
    fmt::print("\nDifference: seed {}, sequence {}, {}-bit code\n{}", a.seed, number, p.compat ? 32 : 64,
               p.text());
    constexpr const char* names[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                     "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
    for (size_t n = 0; n < 16; ++n)
        fmt::print("  {:4}{:016x}{}", names[n], p.in.gpr[n], n % 4 == 3 ? "\n" : "");
    fmt::print("  flags {:x}\n{}", p.in.flags, f.text);
    fmt::print("Again: ./dev fuzz cpu --seed {} --first {} --count {} --cpu {}\n", a.seed,
               number / batch * batch, batch, a.model);
    std::fflush(stdout);
}

/// Each batch has a seed of its own, so that one can be run alone.
Batch batch_at(ProgramMaker& maker, const Arguments& a, u64 first, u16 code32) {
    maker.reseed(a.seed * 0x9e3779b97f4a7c15 + first);
    return maker.make_batch((first / batch) % 4 == 3 ? code32 : u16{0});
}

/// What the sequences would be on a host that runs 32-bit code too.
int cover(const Arguments& a, const x86::CpuModel& model) {
    Coverage coverage(model.insns, true);
    ProgramMaker maker(a.seed, model.insns);
    for (u64 first = a.first / batch * batch; first < a.first + a.count; first += batch)
        for (const Program& p : batch_at(maker, a, first, 0x23).programs) coverage.count(p);
    const std::string missing = coverage.missing();
    fmt::print("{}{} forms of instructions\n{}", a.verbose ? coverage.table() : "", coverage.forms(),
               missing);
    return missing.empty() ? 0 : 1;
}

int run(const Arguments& a) {
    const auto model = x86::make_cpu_model(a.model, 1);
    if (!model) return usage(model.error().message.c_str());
    if (a.coverage) return cover(a, *model);
    auto native = NativeRunner::create();
    if (!native) return usage(native.error().message.c_str());
    Engines engines(**native, *model);
    fmt::print(
        "seed {}, sequences {} to {}, model {}, {}\n", a.seed, a.first, a.first + a.count, a.model,
        (*native)->code32() ? "a quarter of it 32-bit code" : "no 32-bit code: the host does not run it");
    u64 failures = 0, ran = 0, ended = 0;
    ProgramMaker maker(a.seed, model->insns);
    for (u64 first = a.first / batch * batch; first < a.first + a.count && failures < a.failures;
         first += batch) {
        const Batch b = batch_at(maker, a, first, (*native)->code32());
        if (a.verbose)
            for (const Program& p : b.programs) fmt::print("{}\n", p.text());
        const auto r = engines.run(b, false);
        if (!r) {
            fmt::print("{} (seed {}, sequences from {})\n", r.error().message, a.seed, first);
            ++failures;
            continue;
        }
        ran += b.programs.size();
        for (size_t n = 0; n < b.programs.size(); ++n)
            ended += (*native)->outcome(n).rip == b.programs[n].start + b.programs[n].code.size() - 2;
        size_t last = ~size_t{0};
        for (const Engines::Failure& f : *r) {
            if (f.program == last || failures >= a.failures) continue;
            last = f.program;
            ++failures;
            const Program p = reduced(engines, b, b.programs[f.program]);
            const auto again = engines.run({{p}, b.memory}, true);
            report(p, again && !again->empty() ? again->front() : f, a, first + f.program);
        }
    }
    fmt::print("{} sequences ({} to their end), {} differences\n", ran, ended, failures);
    return failures ? 1 : 0;
}

}  // namespace
}  // namespace triune::differential::cpu

int main(int argc, char** argv) {
    using namespace triune::differential::cpu;
    const auto a = parse(argc, argv);
    return a ? run(*a) : usage("bad arguments");
}
