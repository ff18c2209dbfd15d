// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/interp/interp.h"

#include "hypervisor/soft/interp/decode_cache.h"
#include "hypervisor/soft/mmu/breakpoints.h"

namespace triune::hypervisor::soft::interp {

using observe::Counter;

namespace {
bool is_amd(const x86::CpuModel* model) {
    return model && model->lookup(0, 0).ecx == 0x444d4163;  // "cAMD"
}
}  // namespace

struct Interpreter::Impl {
    explicit Impl(system::System& system) : e(system) {}

    Exec e;
    DecodeCache cache;
    Entry uncached;  ///< the instruction at hand when it cannot be cached

    /// Virtual code page -> decoded page. Valid for one TLB generation and one cache version.
    struct CodePage {
        u64 tag = ~u64{0};  ///< page | code size | user
        u64 generation = 0, version = 0;
        DecodedPage* decoded = nullptr;
    };
    std::array<CodePage, 256> pages{};
    CodePage current;  ///< where the last instruction was

    Step step();
    cpu::EngineExit run();

private:
    [[gnu::always_inline]] const Entry* find();
    [[gnu::noinline]] const Entry* find_elsewhere(Gva at, CodeSize size, u64 tag);
    const Entry* decode(Gva at, CodeSize size, u64 tag);
    [[nodiscard]] bool valid(const CodePage& page, u64 tag) const {
        return page.tag == tag && page.generation == e.mmu.generation() && page.version == cache.version();
    }
    const Entry* fault(const Fault& f) {
        e.fault = f;
        return nullptr;
    }
    [[nodiscard]] CodeSize code_size() const {
        const x86::Segment& cs = e.s.seg[x86::cs];
        if (e.s.code64()) return CodeSize::bits64;
        return cs.db() ? CodeSize::bits32 : CodeSize::bits16;
    }
    /// Outside 64-bit mode all of an instruction must lie within the code segment.
    const Entry* fitting(const Entry* f) {
        return e.s.rip + f->insn.length - 1 > e.s.seg[x86::cs].limit ? fault(Fault::gp()) : f;
    }
    Step deliver();
    [[nodiscard]] Fault debug_exception(u32 hits) {
        e.s.dr[6] = (e.s.dr[6] & ~u64{x86::dr6::hits}) | hits;
        return Fault::db();
    }
    [[gnu::noinline]] Step finish(u64 flags, const Insn& insn, u64 fallthrough);
    [[nodiscard]] u32 instruction_breakpoints() const;
    [[gnu::noinline]] bool debug_before(u8 shadow);
};

/// The instruction at RIP; null: Exec::fault says why there is none.
inline const Entry* Interpreter::Impl::find() {
    const CodeSize size = code_size();
    Gva at = e.s.rip;
    if (size != CodeSize::bits64) [[unlikely]] {
        if (at > e.s.seg[x86::cs].limit) return fault(Fault::gp());
        at = (at + e.s.seg[x86::cs].base) & base::low_mask(32);
    }
    const u64 tag = (at & ~page_mask) | static_cast<u64>(size) << 1 | (e.user() ? 1 : 0);
    const Entry* f = valid(current, tag) ? cache.find(*current.decoded, at) : nullptr;
    if (!f) [[unlikely]]
        f = find_elsewhere(at, size, tag);
    if (size != CodeSize::bits64 && f) [[unlikely]]
        f = fitting(f);
    return f;
}

const Entry* Interpreter::Impl::find_elsewhere(Gva at, CodeSize size, u64 tag) {
    const CodePage& page = pages[(at >> 12) & (pages.size() - 1)];
    if (valid(page, tag)) {
        current = page;
        if (const Entry* f = cache.find(*page.decoded, at)) return f;
    }
    return decode(at, size, tag);
}

/// Fetches and decodes the instruction at `at`; caches it when it lies in one RAM page.
const Entry* Interpreter::Impl::decode(Gva at, CodeSize size, u64 tag) {
    if (size == CodeSize::bits64 && !e.mmu.canonical(at)) return fault(Fault::gp());
    const auto code = e.mmu.code_page(at);
    if (!code) return fault(Fault::pf(code.error()));
    const Gpa gpa = code->gpa | (at & page_mask);
    const bool ram = code->host != nullptr;
    // Before the bytes are read: a write after this is told to us.
    if (ram) e.mmu.mark_code(gpa);
    const auto fetched = e.mmu.fetch(at);
    if (!fetched) return fault(Fault::pf(fetched.error()));

    const x86::InsnSet& set = e.vcpu.model ? e.vcpu.model->insns : x86::every_insn;
    switch (x86::decode({fetched->bytes.data(), fetched->available}, size, uncached.insn, set)) {
        case x86::DecodeStatus::ok: break;
        case x86::DecodeStatus::need_more: return fault(Fault::pf(fetched->next_fault));
        case x86::DecodeStatus::too_long: return fault(Fault::gp());
        case x86::DecodeStatus::invalid: return fault(Fault::ud());
    }
    uncached.handler = handler_for(uncached.insn);
    if (!ram || (at & page_mask) + uncached.insn.length > page_size) return &uncached;
    if (cache.full()) cache.clear();
    DecodedPage& decoded = cache.page(gpa, size);
    current = pages[(at >> 12) & (pages.size() - 1)] = {tag, e.mmu.generation(), cache.version(), &decoded};
    const Entry* entry = cache.find(decoded, at);
    return entry ? entry : cache.insert(decoded, at, uncached.handler, uncached.insn);
}

Interpreter::Step Interpreter::Impl::deliver() {
    e.keep_rf = false;
    e.vcpu.debug_hits = 0;
    e.s.pending_debug = 0;
    return e.sys.deliver_fault(e.fault) == system::System::Delivered::shutdown ? Step::shutdown : Step::ok;
}

/// Enabled instruction breakpoints at RIP, as bits of DR6.
u32 Interpreter::Impl::instruction_breakpoints() const {
    const Gva at = e.s.code64() ? e.s.rip : (e.s.rip + e.s.seg[x86::cs].base) & base::low_mask(32);
    u32 hits = 0;
    for (unsigned n = 0; n < 4; ++n) {
        const mmu::Breakpoint b = mmu::breakpoint(e.s, n);
        if (b.enabled && b.kind == mmu::Breakpoint::execute && e.s.dr[n] == at) hits |= 1u << n;
    }
    return hits;
}

/// #DB at an instruction boundary, in the order of Intel SDM 3A table 6-2: traps of what came before,
/// then the breakpoint on this instruction. A MOV SS just before puts both off, on AMD's processors only the
/// traps.
bool Interpreter::Impl::debug_before(u8 shadow) {
    const bool after_mov_ss = shadow == x86::shadow::mov_ss;
    if (after_mov_ss && !is_amd(e.vcpu.model)) return false;
    u32 hits = after_mov_ss ? 0 : e.s.pending_debug;
    if (!hits && !(e.s.rflags & x86::flag::rf)) hits = instruction_breakpoints();
    if (!hits) return false;
    e.fault = debug_exception(hits);
    return true;
}

/// What is left to do after an instruction that ended well: RF, the debug traps (Intel SDM 3B 18.3.1),
/// and HLT.
Interpreter::Step Interpreter::Impl::finish(u64 flags, const Insn& insn, u64 fallthrough) {
    x86::VcpuState& s = e.s;
    if ((flags & x86::flag::rf) && !e.keep_rf) s.rflags &= ~x86::flag::rf;
    e.keep_rf = false;
    u32 hits = std::exchange(e.vcpu.debug_hits, 0u) | std::exchange(s.pending_debug, 0u);
    if (s.interrupt_shadow == x86::shadow::mov_ss) {
        s.pending_debug = hits;  // the trap of TF is lost, the data breakpoints wait
    } else {
        const bool branch = insn.is_branch && s.rip != fallthrough;
        const bool steps =
            (flags & x86::flag::tf) && !e.no_trap && (branch || !(s.debugctl & x86::debugctl::btf));
        if (steps) hits |= x86::dr6::bs;
        if (hits) {
            e.fault = debug_exception(hits);
            if (const Step done = deliver(); done != Step::ok) return done;
        }
    }
    if (!std::exchange(e.halted, false) || !s.halted) return Step::ok;
    return Step::halted;
}

inline Interpreter::Step Interpreter::Impl::step() {
    x86::VcpuState& s = e.s;
    const u64 flags = s.rflags;
    const u8 shadow = s.interrupt_shadow;
    if (((s.dr[7] & x86::dr7::enabled) | s.pending_debug) && debug_before(shadow)) [[unlikely]]
        return deliver();
    s.interrupt_shadow = 0;
    const Entry* const f = find();
    if (!f) [[unlikely]] {
        s.interrupt_shadow = shadow;
        return deliver();
    }
    u64 next = s.rip + f->insn.length;
    if (f->insn.code != CodeSize::bits64) next &= 0xffffffff;
    e.next_rip = next;
    e.no_trap = false;
    if (!f->handler(e, f->insn)) [[unlikely]]
        return std::exchange(e.retry, false) ? Step::ok : deliver();
    s.rip = e.next_rip;
    if ((flags & (x86::flag::tf | x86::flag::rf)) || e.keep_rf || e.halted || e.vcpu.debug_hits ||
        s.pending_debug) [[unlikely]]
        return finish(flags, f->insn, next);
    return Step::ok;
}

cpu::EngineExit Interpreter::Impl::run() {
    constexpr unsigned budget = 20000;
    unsigned n = 0;
    cpu::EngineExit exit = cpu::EngineExit::budget;
    while (n < budget) {
        if (e.vcpu.signals.any()) [[unlikely]] {
            exit = cpu::EngineExit::signalled;
            break;
        }
        ++n;
        const Step done = step();
        if (done != Step::ok) [[unlikely]] {
            exit = done == Step::halted ? cpu::EngineExit::halted : cpu::EngineExit::shutdown;
            break;
        }
        if (e.vcpu.interrupt_waiting && (e.s.rflags & x86::flag::if_) && !e.s.interrupt_shadow) [[unlikely]] {
            exit = cpu::EngineExit::signalled;
            break;
        }
    }
    e.vcpu.counters.add(Counter::instructions_interpreted, n);
    return exit;
}

Interpreter::Interpreter(system::System& system) : impl_(std::make_unique<Impl>(system)) {}
Interpreter::~Interpreter() = default;

cpu::EngineExit Interpreter::run() { return impl_->run(); }
void Interpreter::invalidate(Gpa gpa, u64 size) { impl_->cache.invalidate(gpa, size); }

Interpreter::Step Interpreter::step() {
    impl_->e.vcpu.counters.add(Counter::instructions_interpreted);
    return impl_->step();
}

}  // namespace triune::hypervisor::soft::interp
