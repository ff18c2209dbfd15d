// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/verify/verifier.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <thread>

#include "base/bits.h"
#include "hypervisor/soft/verify/compare.h"

namespace triune::hypervisor::soft::verify {

using cpu::EngineExit;
using observe::Counter;

namespace {

/// Instructions that the reference tries before it gives up: a block has 64, and a few may follow one
/// another. Apart from them: rounds of repeated string instructions, which it may take one by one.
constexpr unsigned most_steps = 4096, most_rounds = 1 << 20;
constexpr size_t most_tried = 5000, most_shown = 64;  ///< of them, for a report
constexpr u32 msr_tsc = 0x10;
constexpr size_t mxcsr_at = 24;  ///< in the XSAVE area

}  // namespace

Verifier::Verifier(cpu::Engine& engine, std::function<std::string(u64 rip)> listing, mmu::Mmu& mmu)
    : engine_(engine),
      listing_(std::move(listing)),
      mmu_(mmu),
      checked_(mmu.vcpu()),
      reference_mmu_(reference_, *reference_tlb_),
      system_(reference_, reference_mmu_),
      interp_(system_),
      recorded_apic_(*checked_.apic, apic_log_),
      pages_(mmu.tlb(), *reference_tlb_) {
    system_.set_repeating();
    checked_.apic = &recorded_apic_;
    checked_.page_hook = &pages_.checked_hook();
    mmu_.drop_write_permissions();
    reference_.index = checked_.index;
    reference_.model = checked_.model;
    reference_.memory = checked_.memory;
    reference_.io = &no_io_;
    reference_.apic = &replayed_apic_;
    reference_.page_hook = &pages_.reference_hook();
    reference_.peers = checked_.peers;
    reference_.kvmclock_system_time_base = checked_.kvmclock_system_time_base;
    // Repeated string instructions stop after a page's worth, as the translator's do when a signal waits.
    reference_.signals.pending = static_cast<u32>(cpu::Signal::one_block);
}

Verifier::~Verifier() { checked_.page_hook = nullptr; }

void Verifier::invalidate(Gpa gpa, u64 size) {
    engine_.invalidate(gpa, size);
    interp_.invalidate(gpa, size);
    unseen_.fill({});
}

Counter Verifier::counter_of(Verdict verdict) {
    switch (verdict) {
        case Verdict::device_wrote: return Counter::unsettled_device;
        case Verdict::debug_waits: return Counter::unsettled_debug;
        case Verdict::too_many_pages: return Counter::unsettled_pages;
        case Verdict::same:
        case Verdict::different: break;
    }
    return Counter::blocks_verified;
}

EngineExit Verifier::run() {
    constexpr unsigned budget = 1000;
    for (unsigned n = 0; n < budget; ++n) {
        if (checked_.signals.any()) return EngineExit::signalled;
        before_ = checked_.state;
        apic_log_.clear();
        pages_.begin();
        device_writes_before_ = checked_.memory->device_writes();
        tsc_before_ = checked_.guest_tsc();
        const EngineExit exit = engine_.run();
        tsc_after_ = checked_.guest_tsc();
        const bool nothing_done = did_nothing(exit);
        const Verdict verdict = nothing_done ? Verdict::same : check(exit);
        pages_.end();
        if (verdict == Verdict::different) return EngineExit::unsound;
        if (!nothing_done) checked_.counters.add(counter_of(verdict));
        if (exit != EngineExit::budget) return exit;
    }
    return EngineExit::budget;
}

/// The translator may come back before it has done anything where it declines the first instruction, or a
/// signal has come; nowhere else.
bool Verifier::did_nothing(EngineExit exit) {
    if (exit != EngineExit::declined && exit != EngineExit::signalled) return false;
    if (std::memcmp(&checked_.state, &before_, sizeof before_) != 0) return false;
    start_reference();
    return agrees_now(0, 0);
}

Verifier::Verdict Verifier::check(EngineExit exit) {
    using namespace std::chrono_literals;
    ++steps_;
    if (mmu_.generation() != seen_generation_) {
        seen_generation_ = mmu_.generation();
        reference_mmu_.forget_fetches();
        unseen_.fill({});
    }
    start_reference();
    if (reference_agrees(exit)) return Verdict::same;
    if (pages_.overflown()) return Verdict::too_many_pages;
    // The reference delivers at once what the translator leaves for the next boundary.
    if (checked_.state.pending_debug && !before_.pending_debug) return Verdict::debug_waits;
    // A device tells of its writes after it has made them.
    for (int wait = 0; wait < 20; ++wait) {
        if (checked_.memory->device_writes() != device_writes_before_) return Verdict::device_wrote;
        std::this_thread::sleep_for(5ms);
    }
    report_ = describe_difference(exit);
    return Verdict::different;
}

bool Verifier::reference_agrees(EngineExit exit) {
    u64 exceptions = reference_.counters.get(Counter::exceptions);
    for (unsigned n = 0, rounds = 0; n < most_steps && rounds < most_rounds; ++n) {
        const u64 rip = reference_.state.rip;
        if (path_.empty() || path_.back() != rip) {
            path_.push_back(rip);
        } else {
            ++rounds;
            --n;
        }
        const auto done = interp_.step();
        if (done == interp::Interpreter::Step::shutdown) return exit == EngineExit::shutdown;
        const u64 delivered = reference_.counters.get(Counter::exceptions);
        const bool faulted = std::exchange(exceptions, delivered) != delivered;
        if (reference_.state.rip != checked_.state.rip) continue;
        if (agrees_here(exit, rip, faulted)) return true;
        // The translator leaves no shadow of STI in the state: what it declines behind it the run loop has
        // executed before it looks for interrupts.
        u8& shadow = reference_.state.interrupt_shadow;
        if (exit != EngineExit::declined || shadow != x86::shadow::sti) continue;
        shadow = checked_.state.interrupt_shadow;
        if (agrees_here(exit, rip, faulted)) return true;
        shadow = x86::shadow::sti;
    }
    return false;
}

/// After the instruction at `rip`, which faulted or did not.
bool Verifier::agrees_here(EngineExit exit, u64 rip, bool faulted) {
    if (agrees_now(0, 0) || (adopt(rip) && agrees_now(0, 0))) return true;
    // A block that overwrites all flags first is entered, and left for a signal, without them.
    u64 unseen = unseen_at(faulted ? rip : reference_.state.rip);
    if (unseen && agrees_now(unseen, faulted ? unseen : 0)) return true;
    unseen |= undefined_after(faulted);
    if (unseen && agrees_now(unseen, faulted ? unseen : 0)) return true;
    return exit == EngineExit::declined && agrees_after_simd_exception(unseen);
}

/// The host's processor sets flags in MXCSR before it raises an unmasked SIMD exception (Intel SDM 1 11.5.1),
/// and the translator then gives the instruction back. The reference engine must raise it, with the same
/// flags.
bool Verifier::agrees_after_simd_exception(u64 unseen) {
    u8& flags = reference_.state.xsave[mxcsr_at];
    const u8 set = checked_.state.xsave[mxcsr_at], was = flags;
    if (was == set || (was & set) != was || ((was ^ set) & ~0x3f)) return false;
    flags = set;
    const bool same = agrees_now(unseen, 0);
    flags = was;
    if (!same) return false;
    const u64 exceptions = reference_.counters.get(Counter::exceptions);
    const x86::VcpuState at_instruction = reference_.state;
    interp_.step();
    const bool raised = reference_.counters.get(Counter::exceptions) == exceptions + 1 && flags == set;
    if (!raised) reference_.state = at_instruction;
    return raised;
}

bool Verifier::agrees_now(u64 unseen, u64 unseen_in_frame) {
    return same_state(checked_.state, reference_.state, unseen) && !apic_log_.differs() &&
           !no_io_.was_touched && memory_agrees(unseen_in_frame);
}

void Verifier::start_reference() {
    reference_.state = before_;
    apic_log_.rewind();
    no_io_.was_touched = false;
    pages_.begin_reference();
    path_.clear();
}

bool Verifier::fetch(u64 rip, x86::Insn& insn) {
    const x86::VcpuState& s = reference_.state;
    const Gva at = s.code64() ? rip : (rip + s.seg[x86::cs].base) & base::low_mask(32);
    const auto f = reference_mmu_.fetch(at);
    const x86::CodeSize size = s.code64()            ? x86::CodeSize::bits64
                               : s.seg[x86::cs].db() ? x86::CodeSize::bits32
                                                     : x86::CodeSize::bits16;
    return f && x86::decode({f->bytes.data(), f->available}, size, insn) == x86::DecodeStatus::ok;
}

/// Calls f while the reference has the rights of before: what is looked at may be user code, and the state
/// already the handler's.
template <class F>
void Verifier::as_before(F f) {
    std::swap(reference_.state, before_);
    reference_mmu_.forget_fetches();
    f();
    std::swap(reference_.state, before_);
    reference_mmu_.forget_fetches();
}

u64 Verifier::unseen_at(u64 rip) {
    const x86::Segment& cs = before_.seg[x86::cs];
    const u64 mode = u64{before_.code64()} | u64{cs.db()} << 1 | u64{before_.cpl() == 3} << 2;
    const u64 key = (before_.code64() ? rip : rip + cs.base) << 3 | mode;
    Unseen& cached = unseen_[(key ^ key >> 12) % unseen_.size()];
    if (cached.key == key) return cached.flags;
    std::vector<x86::Insn> code;
    bool whole = false;
    as_before([&] {
        for (x86::Insn insn; !whole && fetch(rip, insn); rip += insn.length) {
            code.push_back(insn);
            whole = insn.is_branch || code.size() == 64;
        }
    });
    const u64 flags = unseen_flags(code);
    // A page that is not there yet may be there the next time.
    if (whole) cached = {key, flags};
    return flags;
}

u64 Verifier::undefined_after(bool faulted) {
    std::vector<x86::Insn> code;
    as_before([&] {
        x86::Insn insn;
        for (size_t i = 0; i + (faulted ? 1 : 0) < path_.size() && fetch(path_[i], insn); ++i)
            code.push_back(insn);
    });
    return undefined_flags(code);
}

bool Verifier::adopt(u64 rip) {
    const x86::VcpuState& from = checked_.state;
    x86::VcpuState& to = reference_.state;
    if (from.gpr == to.gpr && from.tsc_offset == to.tsc_offset &&
        !((from.rflags ^ to.rflags) & x86::flag::cf))
        return false;
    x86::Insn insn;
    if (!fetch(rip, insn)) return false;
    const auto clock = [&](u64 value) { return value - tsc_before_ <= tsc_after_ - tsc_before_; };
    const auto time_in_registers = [&] {
        if (!clock(from.gpr[x86::rdx] << 32 | from.gpr[x86::rax])) return false;
        to.gpr[x86::rax] = static_cast<u32>(from.gpr[x86::rax]);
        to.gpr[x86::rdx] = static_cast<u32>(from.gpr[x86::rdx]);
        return true;
    };
    const u32 msr = static_cast<u32>(to.gpr[x86::rcx]);
    switch (insn.mnemonic) {
        case ZYDIS_MNEMONIC_RDTSC:
        case ZYDIS_MNEMONIC_RDTSCP: return time_in_registers();
        case ZYDIS_MNEMONIC_RDMSR: return msr == msr_tsc && time_in_registers();
        case ZYDIS_MNEMONIC_WRMSR:
            if (msr != msr_tsc) return false;
            to.tsc_offset = from.tsc_offset;
            return true;
        case ZYDIS_MNEMONIC_RDRAND:
        case ZYDIS_MNEMONIC_RDSEED: {
            const u8 r = insn.op[0].reg;
            const u64 mask = insn.op[0].bits == 16 ? 0xffff : insn.op[0].bits == 32 ? 0xffffffff : ~u64{0};
            to.gpr[r] = (to.gpr[r] & ~mask) | (from.gpr[r] & mask);
            to.rflags = (to.rflags & ~x86::flag::cf) | (from.rflags & x86::flag::cf);
            return true;
        }
        default: return false;
    }
}

bool Verifier::memory_agrees(u64 unseen_in_frame) {
    // Where delivery put RFLAGS: above the error code, RIP and CS.
    Gpa frame = ~Gpa{0};
    if (unseen_in_frame) {
        const auto t = reference_mmu_.translate(reference_.state.gpr[x86::rsp] + 24, mmu::Access::read,
                                                mmu::Privilege::implicit_supervisor);
        if (t) frame = t->gpa;
    }
    for (const PageLog::Page& page : pages_.pages()) {
        const u8* const wanted = page.copied ? page.reference : page.before;
        if (std::memcmp(wanted, page.real, page_size) == 0) continue;
        std::array<u8, page_size> seen;
        std::memcpy(seen.data(), page.real, page_size);
        const auto excuse = [&](Gpa gpa, u64 bits, unsigned bytes) {
            if ((gpa & ~page_mask) != page.gpa || (gpa & page_mask) + bytes > page_size) return;
            const u64 at = gpa & page_mask;
            for (unsigned i = 0; i < bytes; ++i) {
                const u8 mask = static_cast<u8>(bits >> 8 * i);
                seen[at + i] = static_cast<u8>((seen[at + i] & ~mask) | (wanted[at + i] & mask));
            }
        };
        for (const PageLog::WalkedEntry& e : pages_.walked()) excuse(e.gpa, 0x60, e.bytes);
        excuse(frame, unseen_in_frame, 8);
        if (std::memcmp(wanted, seen.data(), page_size) != 0) return false;
    }
    return true;
}

// -- the report ---------------------------------------------------------------------------------------

std::string Verifier::describe_memory() {
    std::string text;
    unsigned lines = 0;
    for (const PageLog::Page& page : pages_.pages()) {
        const u8* const wanted = page.copied ? page.reference : page.before;
        for (u64 at = 0; at < page_size; at += 8) {
            if (std::memcmp(wanted + at, page.real + at, 8) == 0 || ++lines > 32) continue;
            u64 a, b, c;
            std::memcpy(&a, page.real + at, 8);
            std::memcpy(&b, wanted + at, 8);
            std::memcpy(&c, page.before + at, 8);
            text += fmt::format("* [{:#014x}] {:016x}   {:016x}   before: {:016x}\n", page.gpa + at, a, b, c);
        }
    }
    return text;
}

/// Steps of the reference after which it is at the checked engine's RIP and most like it; 0: it never is.
size_t Verifier::likest_arrival() {
    size_t best = 0;
    std::ptrdiff_t fewest = 0;
    start_reference();
    for (size_t steps = 1; steps <= most_tried; ++steps) {
        const u64 rip = reference_.state.rip;
        if (interp_.step() == interp::Interpreter::Step::shutdown) break;
        if (reference_.state.rip != checked_.state.rip) continue;
        adopt(rip);
        const std::string text = side_by_side(checked_.state, reference_.state, 0) + describe_memory();
        const auto differences = std::ranges::count(text, '*');
        if (!best || differences < fewest) best = steps, fewest = differences;
    }
    return best;
}

/// The reference runs once more, up to where it is most like the checked engine.
std::string Verifier::describe_difference(EngineExit exit) {
    const size_t arrival = likest_arrival();
    const size_t steps = arrival ? arrival : most_shown;
    std::vector<std::pair<u64, unsigned>> path;  // addresses, and how often in a row
    start_reference();
    for (size_t i = 0; i < steps; ++i) {
        const u64 rip = reference_.state.rip;
        if (path.empty() || path.back().first != rip) path.emplace_back(rip, 0);
        ++path.back().second;
        interp_.step();
        if (i + 1 == steps) adopt(rip);
    }
    std::string text = fmt::format(
        "--verify: bt and the reference engine differ on vCPU {}, block {}, at {:#x} (CPL {}); bt went on to "
        "{:#x}{}\n",
        checked_.index, steps_, before_.rip, before_.cpl(), checked_.state.rip,
        exit == EngineExit::declined ? ", which it declines" : "");
    if (!arrival) text += "The reference engine never came there.\n";
    if (apic_log_.differs()) text += "* The two asked different things of the local APIC.\n";
    if (no_io_.was_touched) text += "* The reference engine did port I/O or MMIO.\n";
    text += side_by_side(checked_.state, reference_.state, 0);
    text += describe_memory();
    text += "The reference engine executed:\n";
    reference_.state = before_;
    reference_mmu_.forget_fetches();
    for (const auto& [rip, times] : std::span(path).first(std::min(path.size(), most_shown))) {
        x86::Insn insn;
        const bool known = fetch(rip, insn);
        text += fmt::format(
            "  {:#x}  {}{}\n", rip,
            known ? x86::disassemble(std::span(insn.bytes).first(insn.length), insn.code, rip) : "",
            times > 1 ? fmt::format("  ({} steps)", times) : "");
    }
    text += "What bt makes of the code there:\n";
    std::swap(checked_.state, before_);
    text += listing_(checked_.state.rip);
    std::swap(checked_.state, before_);
    return text;
}

}  // namespace triune::hypervisor::soft::verify
