// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/soft_vcpu.h"

#include <algorithm>

namespace triune::hypervisor::soft {

using cpu::EngineExit;
using cpu::Signal;
using observe::Activity;
using observe::Counter;
using system::System;

namespace {

std::unique_ptr<bt::Translator> make_translator(VmState& vm, System& system, mmu::VcpuArena& arena) {
    if (vm.config().engine != "bt") return nullptr;
    bt::Options options;
    options.perf_map = vm.config().perf_map;
    options.one_block = vm.config().verify;
    options.poll_everywhere = vm.config().verify;
    return std::make_unique<bt::Translator>(system, arena, options);
}

}  // namespace

SoftVcpu::SoftVcpu(std::shared_ptr<VmState> vm, unsigned index)
    : vm_(std::move(vm)),
      slot_(vm_->slot(index)),
      c_(slot_.context()),
      apic_(vm_->chip().apic(index)),
      io_(vm_->chip(), index, vm_->io_events(), *vm_->config().io, c_.counters.time),
      mmu_(c_, slot_.arena->tlb()),
      system_(c_, mmu_),
      interp_(system_),
      translator_(make_translator(*vm_, system_, *slot_.arena)),
      verifier_(vm_->config().verify
                    ? std::make_unique<verify::Verifier>(
                          *translator_, [this](u64 rip) { return translator_->listing(rip); }, mmu_)
                    : nullptr),
      engine_(choose_engine()) {
    c_.io = &io_;
    if (vm_->config().measure_time) c_.counters.time.start();
}

/// The processor holds one NMI while it handles another, and drops more (Intel SDM 3A 6.7.1). The vCPU's
/// thread may find two at once, of which a processor would have begun to handle the first before the second
/// came.
static u8 with_nmis(const x86::VcpuState& s, u32 more) {
    return static_cast<u8>(std::min(s.nmi_pending + std::min(more, 2u), s.nmi_blocked ? 1u : 2u));
}

cpu::Engine& SoftVcpu::choose_engine() {
    if (verifier_) return *verifier_;
    if (translator_) return *translator_;
    return interp_;
}

/// Messages that have come since run() returned are part of it.
x86::VcpuState SoftVcpu::state() {
    x86::VcpuState s = c_.state;
    const u32 pending = c_.signals.pending.load(std::memory_order_acquire);
    const auto has = [pending](Signal signal) { return (pending & static_cast<u32>(signal)) != 0; };
    if (has(Signal::nmi)) s.nmi_pending = with_nmis(s, c_.signals.nmis.load(std::memory_order_relaxed));
    s.init_pending = has(Signal::init);
    s.sipi_pending = has(Signal::sipi);
    s.sipi_vector = c_.signals.sipi_vector.load(std::memory_order_relaxed);
    return s;
}

void SoftVcpu::set_state(const x86::VcpuState& s) {
    c_.state = s;
    c_.state.init_pending = c_.state.sipi_pending = c_.state.sipi_vector = 0;
    constexpr u32 messages =
        static_cast<u32>(Signal::nmi) | static_cast<u32>(Signal::init) | static_cast<u32>(Signal::sipi);
    c_.signals.pending.fetch_and(~messages, std::memory_order_acq_rel);
    c_.signals.nmis.store(0, std::memory_order_relaxed);
    c_.signals.sipi_vector.store(s.sipi_vector, std::memory_order_relaxed);
    if (s.init_pending) c_.signals.raise(Signal::init);
    if (s.sipi_pending) c_.signals.raise(Signal::sipi);
    mmu_.flush_all();
}

Exit SoftVcpu::run() {
    const auto leave = [this](Exit exit) {
        slot_.in_guest.store(0, std::memory_order_seq_cst);
        return exit;
    };
    for (;;) {
        // Who waits for a turn is outside: who has it may wait for those inside.
        if (verifier_) slot_.in_guest.store(0, std::memory_order_seq_cst);
        VmState::Turn turn(*vm_);
        slot_.in_guest.store(1, std::memory_order_seq_cst);
        if (c_.signals.any() && take_signals()) return leave(Kicked{});
        if (c_.state.waiting_for_sipi) {
            sleep(turn, ~u64{0});
            continue;
        }
        const bool slept = c_.state.halted;
        // A debugger's step goes over interrupts, but a halted vCPU needs one.
        bool alive = (single_step_ && !slept) || inject();
        if (alive && c_.state.halted) {
            sleep(turn, apic_.next_deadline_ns());
            continue;
        }
        if (alive && (debugging_ || single_step_)) [[unlikely]] {
            if (single_step_ && !slept) alive = reference_steps(1);
            if (const auto event = debug_event(); alive && event) return leave(*event);
        }
        alive = alive && execute();
        if (unsound()) [[unlikely]]
            return leave(Mismatch{verifier_->report()});
        if (!alive) return leave(Shutdown{system_.report()});
    }
}

void SoftVcpu::sleep(VmState::Turn& turn, u64 deadline_ns) {
    slot_.in_guest.store(0, std::memory_order_seq_cst);
    turn.end();
    {
        const observe::TimedScope timed(c_.counters.time, Activity::halted);
        c_.signals.wait(deadline_ns);
    }
    // Its own timer wakes this thread by itself: no other thread has to hand the interrupt over.
    if (apic_.next_deadline_ns() <= base::monotonic_ns()) apic_.poll_timer();
}

// -- signals --------------------------------------------------------------------------------------

bool SoftVcpu::take_signals() {
    cpu::Signals& s = c_.signals;
    if (s.take(Signal::tlb_write_flush)) mmu_.drop_write_permissions();
    if (s.take(Signal::code_written)) invalidate_written_code();
    s.take(Signal::interrupt);  // inject() looks
    s.take(Signal::smi);        // there is no system-management mode
    if (s.take(Signal::nmi))
        c_.state.nmi_pending = with_nmis(c_.state, s.nmis.exchange(0, std::memory_order_relaxed));
    if (s.take(Signal::init)) init();
    // Only a processor that waits for it heeds a start-up message (Intel SDM 3A 9.4.4.1).
    if (s.take(Signal::sipi) && c_.state.waiting_for_sipi)
        startup(s.sipi_vector.load(std::memory_order_relaxed));
    return s.take(Signal::kick);
}

void SoftVcpu::invalidate_written_code() {
    std::vector<VcpuSlot::Range> ranges;
    {
        const base::MutexLock lock(slot_.code_mutex);
        ranges.swap(slot_.code_written);
    }
    for (const auto& r : ranges) {
        interp_.invalidate(r.gpa, r.size);
        if (&engine_ != &interp_) engine_.invalidate(r.gpa, r.size);
    }
}

void SoftVcpu::init() {
    x86::reset_state(c_.state, true);
    apic_.reset(true);
    mmu_.flush_all();
    // The boot processor starts at the reset vector, the others wait (Intel SDM 3A 9.4.3).
    c_.state.waiting_for_sipi = c_.index != 0;
}

void SoftVcpu::startup(u8 vector) {
    x86::VcpuState& s = c_.state;
    s.waiting_for_sipi = 0;
    s.halted = 0;
    s.seg[x86::cs].selector = static_cast<u16>(vector << 8);
    s.seg[x86::cs].base = u64{vector} << 12;
    s.rip = 0;
}

// -- events ---------------------------------------------------------------------------------------

bool SoftVcpu::inject() {
    x86::VcpuState& s = c_.state;
    if (s.nmi_pending && !s.nmi_blocked) {
        // The instruction after MOV SS comes first, and nothing but its end tells when it is over.
        if (s.interrupt_shadow && interp_.step() == interp::Interpreter::Step::shutdown) return false;
        if (!s.interrupt_shadow) {
            --s.nmi_pending;
            if (system_.deliver_interrupt(x86::vec::nmi, System::EventKind::nmi) ==
                System::Delivered::shutdown)
                return false;
        }
    }
    bool waiting = apic_.has_interrupt();
    if (waiting && (s.rflags & x86::flag::if_) && !s.interrupt_shadow) {
        const int vector = apic_.acknowledge();
        if (vector >= 0 && system_.deliver_interrupt(static_cast<u8>(vector)) == System::Delivered::shutdown)
            return false;
        waiting = apic_.has_interrupt();
    }
    c_.interrupt_waiting = waiting;
    return true;
}

// -- debugging ------------------------------------------------------------------------------------

Result<void> SoftVcpu::set_guest_debug(const GuestDebug& debug) {
    single_step_ = debug.single_step;
    breakpoints_ = debug.breakpoints;
    std::ranges::sort(breakpoints_);
    if (translator_) translator_->set_breakpoints(breakpoints_);
    watch_.set(debug.watchpoints);
    watchpoint_met_.reset();
    debugging_ = !breakpoints_.empty() || watch_.any();
    return {};
}

/// What the debugger is to know before the next instruction runs.
std::optional<Debug> SoftVcpu::debug_event() {
    if (watchpoint_met_) return std::exchange(watchpoint_met_, {});
    if (single_step_) return Debug{Debug::Cause::step};
    if (breakpoint_here()) return Debug{Debug::Cause::breakpoint, code_address(c_.state)};
    return {};
}

// -- execution ------------------------------------------------------------------------------------

/// True unless the guest is lost. Stops early at whatever the run loop must see.
bool SoftVcpu::reference_steps(unsigned count) {
    const observe::TimedScope timed(c_.counters.time, Activity::reference);
    const bool code64 = c_.state.code64();
    while (count--) {
        if (watch_.any()) [[unlikely]]
            watch_.before(c_.state, mmu_);
        const auto done = interp_.step();
        if (watch_.any()) [[unlikely]]
            watchpoint_met_ = watch_.after(c_.state);
        if (done == interp::Interpreter::Step::shutdown) return false;
        if (done == interp::Interpreter::Step::halted) {
            c_.counters.add(Counter::halts);
            return true;
        }
        if (debugging_ && (watchpoint_met_ || breakpoint_here())) [[unlikely]]
            return true;
        // Another mode may be one that the engine takes.
        if (must_look() || c_.state.code64() != code64) return true;
    }
    return true;
}

// An engine that declines where it was started has run nothing. Where that goes on, as in a mode
// that it declines altogether, asking before every instruction costs more than the instructions,
// so the reference engine takes twice as many each time.
bool SoftVcpu::execute() {
    constexpr unsigned longest = 1024, patient = 4;
    // A second NMI comes with the IRET that ends the first one's handler; only single steps see that.
    if (c_.state.nmi_pending) return reference_steps(longest);
    // The translator knows of breakpoints. What it does not know is looked for between steps.
    if (debugging_ && (watch_.any() || !translator_)) return reference_steps(longest);
    const u64 start = c_.state.rip;
    const auto run_engine = [this] {
        const observe::TimedScope timed(c_.counters.time,
                                        translator_ ? Activity::monitor : Activity::reference);
        return engine_.run();
    };
    switch (run_engine()) {
        case EngineExit::signalled:
        case EngineExit::budget:
        case EngineExit::unsound: return true;
        case EngineExit::halted: c_.counters.add(Counter::halts); return true;
        case EngineExit::shutdown: return false;
        case EngineExit::declined: break;
    }
    if (debugging_ && breakpoint_here()) return true;
    c_.counters.add(Counter::declined);
    patience_ = c_.state.rip == start ? std::min(patience_ * 2, longest * patient) : 1;
    return reference_steps(std::max(patience_ / patient, 1u));
}

}  // namespace triune::hypervisor::soft
