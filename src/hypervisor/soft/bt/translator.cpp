// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include <sys/mman.h>

#include <cstring>
#include <optional>

#include "hypervisor/soft/bt/bt.h"
#include "hypervisor/soft/bt/cache.h"
#include "hypervisor/soft/bt/compiler.h"
#include "hypervisor/soft/bt/host_map.h"
#include "hypervisor/soft/bt/host_unsafe.h"
#include "hypervisor/soft/bt/listing.h"
#include "hypervisor/soft/bt/perf_map.h"
#include "hypervisor/soft/bt/tlb_miss.h"
#include "hypervisor/soft/bt/x87_pointers.h"
#include "x86/decode_cache.h"

namespace triune::hypervisor::soft::bt {

using cpu::EngineExit;
using observe::Counter;
using x86::VcpuState;

struct Translator::Impl final : FaultClient {
    Impl(system::System& sys, mmu::VcpuArena& vcpu_arena, const Options& o)
        : system(sys),
          mmu(sys.mmu()),
          vcpu(sys.vcpu()),
          arena(vcpu_arena),
          options(o),
          data(*reinterpret_cast<EngineData*>(vcpu_arena.engine_data())),
          emitter(vcpu_arena.writable(vcpu_arena.code()), vcpu_arena.code_bytes()),
          surroundings{vcpu, vcpu_arena.tlb(), data, {}, __builtin_cpu_supports("bmi2") != 0},
          cache(surroundings, emitter, mmu, vcpu_arena),
          x87_pointers(cache, vcpu_arena, vcpu_arena.tlb(), vcpu, data) {
        static_assert(sizeof(EngineData) <= mmu::VcpuArena::engine_data_bytes);
        for (auto& shadow : data.shadow) mprotect(shadow.guard.data(), shadow.guard.size(), PROT_NONE);
        surroundings.stubs = emit_stubs(
            emitter, surroundings, this,
            [](void* self, u64 value, u64 index, const u8* resume) {
                auto* impl = static_cast<Impl*>(self);
                return handle_tlb_miss(impl->mmu, impl->data, value, index, resume);
            },
            [](void* self, u64, u64 info, const u8*) {
                auto* impl = static_cast<Impl*>(self);
                return run_string(impl->mmu, impl->data, static_cast<u32>(info));
            });
        for (unsigned lane = 0; lane < EngineData::lanes; ++lane)
            data.missed[lane] = reinterpret_cast<u64>(arena.code() + surroundings.stubs.missed[lane]);
        x87_pointers.set_stand_in(reinterpret_cast<u64>(arena.code() + surroundings.stubs.enter));
        cache.flush();
        if (options.perf_map) perf_map.open();
    }
    ~Impl() override { detach_from_thread(this); }

    EngineExit run();
    u64 host_fault(u64 pc, u64& rsp, u64 eflags, u64 address) override;

    [[nodiscard]] bool can_run() const;
    Block* translate(u64 rip, const mmu::Mmu::CodePage& page, bool unmerged);
    Block* translate_crossing(u64 rip, const mmu::Mmu::CodePage& page);
    void compile(Block& block, bool declined_after);
    Block* look_up(bool unmerged = false);
    LeaveReason enter(const Block& block);
    LeaveReason enter(u64 host, unsigned lane);
    void select_mode();
    [[nodiscard]] bool stays_canonical(u64 rip, const x86::Insn& insn, Treatment t) const;
    bool take_back_return();
    void count_exit(LeaveReason reason);
    void settle_exit();
    [[nodiscard]] mmu::TlbMode current_mode() const {
        return mmu.mode_for(vcpu.state.cpl() == 3 ? mmu::Privilege::user : mmu::Privilege::supervisor);
    }
    [[nodiscard]] Gva linear(u64 rip) const { return narrow ? narrow->linear(rip) : rip; }
    [[nodiscard]] const x86::InsnSet& insn_set() const {
        return vcpu.model ? vcpu.model->insns : x86::every_insn;
    }
    [[nodiscard]] bool breakpoint_at(Gva gva) const {
        return !breakpoints.empty() && std::ranges::binary_search(breakpoints, gva);
    }
    bool load_vector(bool avx_needed);
    EngineExit finish(EngineExit exit);
    void begin_one_block();

    bool run_system(bool& shutdown);
    bool deliver(const system::Fault& fault, bool& shutdown);

    system::System& system;
    mmu::Mmu& mmu;
    cpu::VcpuContext& vcpu;
    mmu::VcpuArena& arena;
    Options options;
    EngineData& data;
    Emitter emitter;
    Surroundings surroundings;
    BlockCache cache;
    X87Pointers x87_pointers;
    PerfMap perf_map;
    u64 seen_generation = 0;
    u64 seen_la57 = 0;  ///< CR4.LA57, which says what is canonical
    u32 flush_count = 0;
    NarrowModes narrow_modes;
    const NarrowMode* narrow = nullptr;  ///< mode of the 16- or 32-bit code that runs; null: 64-bit code
    /// What EngineData::segment was made of.
    std::array<x86::Segment, 6> bounds_of{};
    u64 bounds_rules = ~u64{0};
    std::array<u32, EngineData::lanes> narrow_of_lane{};  ///< ids of the modes whose calls are in progress
    bool one_block_entered = false;
    u8 vector_wanted = 0;  ///< what enter() is to load: 1 SSE, 2 AVX
    x86::DecodeCache decode_cache;
    std::vector<x86::Insn> insns;
    CompilerScratch scratch;
    std::vector<Gva> breakpoints;  ///< blocks end before them
    bool breakpoints_changed = false;
};

namespace {

/// LAHF's image in the upper byte, OF in the lower: how EngineData::flags holds them.
u16 pack_flags(u64 rflags) { return static_cast<u16>((rflags & 0xff) << 8 | ((rflags >> 11) & 1)); }

u64 unpack_flags(u64 rflags, u16 packed) {
    rflags &= ~x86::flag::arithmetic;
    rflags |= (packed >> 8) & x86::flag::arithmetic;
    if (packed & 1) rflags |= x86::flag::of;
    return rflags;
}

}  // namespace

/// Code at CPL 0 or 3 without single-stepping, breakpoints, alignment checks or an
/// interrupt shadow; the reference engine takes the rest.
bool Translator::Impl::can_run() const {
    const VcpuState& s = vcpu.state;
    if (s.interrupt_shadow || (!s.code64() && !options.narrow_code)) return false;
    const unsigned cpl = s.cpl();
    if (cpl == 1 || cpl == 2) return false;
    if (s.rflags & (x86::flag::tf | x86::flag::rf)) return false;
    if (s.dr[7] & 0xff) return false;
    return !(cpl == 3 && (s.rflags & x86::flag::ac) && (s.cr0 & x86::cr0::am));
}

/// Once before anything that is looked up or entered under the state's mode.
void Translator::Impl::select_mode() {
    const VcpuState& s = vcpu.state;
    if (s.code64()) {
        narrow = nullptr;
        return;
    }
    if (narrow_modes.full()) {
        cache.flush();
        ++flush_count;
        narrow_modes.clear();
        narrow_of_lane.fill(0);
    }
    narrow = &narrow_modes.find(narrow_mode(s));
    const u64 rules = (s.cr0 & x86::cr0::pe) | (s.rflags & x86::flag::vm);
    if (std::memcmp(&bounds_of, &s.seg, sizeof bounds_of) != 0 || bounds_rules != rules) {
        load_segment_bounds(s, data);
        bounds_of = s.seg;
        bounds_rules = rules;
    }
    data.narrow_key = narrow->key(0);
    const unsigned lane = static_cast<unsigned>(current_mode()) + mmu::tlb_modes;
    // Return addresses on its stack are EIPs of the mode that was there before.
    if (std::exchange(narrow_of_lane[lane], narrow->id) != narrow->id) cache.reset_shadow(lane);
}

Block* Translator::Impl::translate(u64 rip, const mmu::Mmu::CodePage& page, bool unmerged) {
    const observe::TimedScope timed(vcpu.counters.time, observe::Activity::translating);
    if (cache.full()) {
        cache.flush();
        ++flush_count;
    }
    mmu.mark_code(page.gpa);
    const unsigned offset = static_cast<unsigned>(linear(rip) & page_mask);
    const x86::CodeSize size = narrow ? narrow->code : x86::CodeSize::bits64;
    const std::span<const u8> bytes(page.host + offset, page_size - offset);
    insns.clear();
    bool declined_after = false, after_sti = false;
    for (size_t at = 0; insns.size() < options.max_instructions && at < bytes.size();) {
        if (at != 0 && breakpoint_at(linear(rip) + at)) {
            declined_after = true;
            break;
        }
        // A copy: the guest may change the bytes while they are decoded.
        std::array<u8, 15> copy{};
        const size_t n = std::min<size_t>(copy.size(), bytes.size() - at);
        std::copy_n(bytes.data() + at, n, copy.begin());
        x86::Insn& insn = insns.emplace_back();
        const std::span<const u8> code(copy.data(), n);
        const auto status = size == x86::CodeSize::bits64 ? decode_cache.decode(code, insn, insn_set())
                                                          : x86::decode(code, size, insn, insn_set());
        const Treatment treatment = status == x86::DecodeStatus::ok
                                        ? classify_at(rip + at, insn, page.mode, narrow)
                                        : Treatment::decline;
        if (treatment == Treatment::decline || !stays_canonical(rip + at, insn, treatment)) {
            insns.pop_back();
            if (status == x86::DecodeStatus::need_more && insns.empty()) return translate_crossing(rip, page);
            declined_after = status != x86::DecodeStatus::need_more;
            break;
        }
        at += insn.length;
        if (options.one_block && x86::reads_time_or_chance(insn)) break;
        if (ends_block(insn, treatment) || after_sti) break;
        const bool call = treatment == Treatment::call || treatment == Treatment::call_indirect;
        if (call && !options.continue_after_calls) break;
        after_sti = treatment == Treatment::sti;
    }
    // Only the instruction behind STI, in the same block, takes its shadow along: without one the reference
    // engine takes STI too.
    if (after_sti && classify(insns.back(), page.mode, narrow) == Treatment::sti) {
        insns.pop_back();
        declined_after = true;
    }
    Block& block = cache.create(rip, narrow, page);
    block.unmerged = unmerged;
    compile(block, declined_after);
    return &block;
}

/// Branches out of the canonical addresses fault where they are, and so do returns to behind a call that is
/// the last instruction there.
bool Translator::Impl::stays_canonical(u64 rip, const x86::Insn& insn, Treatment t) const {
    if (narrow) return true;
    const bool direct =
        t == Treatment::jump || t == Treatment::conditional || t == Treatment::loop || t == Treatment::call;
    return mmu.canonical(rip + insn.length) && (!direct || mmu.canonical(branch_target(insn, rip)));
}

/// An instruction that goes on in the next page is a block of its own.
Block* Translator::Impl::translate_crossing(u64 rip, const mmu::Mmu::CodePage& page) {
    const Gva at = linear(rip), next = (at & ~page_mask) + page_size;
    const auto fetched = mmu.fetch(at);
    const auto second = mmu.code_page(next);
    const x86::CodeSize size = narrow ? narrow->code : x86::CodeSize::bits64;
    x86::Insn insn;
    // Outside 64-bit mode addresses wrap at 4 GiB.
    const bool wraps = narrow && next >> 32;
    if (!wraps && fetched && second && second->host) {
        mmu.mark_code(second->gpa);
        const auto again = mmu.fetch(at);  // what is there now that writes are seen
        if (again && again->available == again->bytes.size() &&
            x86::decode(again->bytes, size, insn, insn_set()) == x86::DecodeStatus::ok &&
            classify_at(rip, insn, page.mode, narrow) != Treatment::decline &&
            stays_canonical(rip, insn, classify(insn, page.mode, narrow))) {
            insns.assign(1, insn);
            Block& block = cache.create(rip, narrow, page, &*second);
            compile(block, false);
            return &block;
        }
    }
    insns.clear();
    Block& block = cache.create(rip, narrow, page);
    compile(block, true);
    return &block;
}

void Translator::Impl::compile(Block& block, bool declined_after) {
    if (insns.empty()) {
        block.declines_first = true;
    } else {
        arena.touch_code(emitter.offset());
        arena.touch_code(cache.cold_at());
        BlockCompiler(emitter, surroundings, block, insns, cache.exits(), options, scratch)
            .compile(declined_after, cache.cold_at());
        vcpu.counters.add(Counter::blocks_translated);
        vcpu.counters.add(Counter::guest_instructions_translated, block.guest_instructions);
        vcpu.counters.add(Counter::code_bytes, block.end - block.begin + (block.cold_end - block.cold_begin));
        perf_map.add(arena.code() + block.begin, block.end - block.begin, block.linear);
        perf_map.add(arena.code() + block.cold_begin, block.cold_end - block.cold_begin, block.linear);
    }
    cache.add(block);
}

/// The block at state.rip, or null when the reference engine must take the next step.
Block* Translator::Impl::look_up(bool unmerged) {
    const u64 rip = vcpu.state.rip;
    const Gva gva = linear(rip);
    if (breakpoint_at(gva) || (narrow && rip > narrow->cs_limit)) return nullptr;
    const auto page = mmu.code_page(gva);
    if (!page || !page->host || !mmu.canonical(gva)) return nullptr;
    mmu::Mmu::CodePage at = *page;
    at.mode = current_mode();
    Block* block = cache.find(rip, narrow, at, unmerged);
    if (block && block->crosses) {
        // Half of it is found by the key; the other half must be where it was, too.
        const auto second = mmu.code_page((gva & ~page_mask) + page_size);
        if (!second || second->gpa != block->second_page) {
            cache.invalidate(block->gpa, 1);
            block = nullptr;
        }
    }
    if (!block) block = translate(rip, at, unmerged);
    if (block->declines_first) return nullptr;
    cache.remember(*block);
    return block;
}

/// Declined instructions and look-ups are counted where they are dealt with.
void Translator::Impl::count_exit(LeaveReason reason) {
    switch (reason) {
        case LeaveReason::link: vcpu.counters.add(Counter::exits_link); break;
        case LeaveReason::signalled: vcpu.counters.add(Counter::exits_signal); break;
        case LeaveReason::vector: vcpu.counters.add(Counter::exits_vector); break;
        case LeaveReason::page_fault: vcpu.counters.add(Counter::exits_page_fault); break;
        case LeaveReason::system: vcpu.counters.add(Counter::exits_system); break;
        case LeaveReason::entry:
        case LeaveReason::declined:
        case LeaveReason::lookup: break;
    }
}

/// Fills in what translated code left to be found out when it came back.
void Translator::Impl::settle_exit() {
    if (data.reason == LeaveReason::entry) {
        data.reason = vcpu.signals.any() ? LeaveReason::signalled : LeaveReason::lookup;
        data.rip = cache.block(data.exit_id).rip;
    } else if (const u64 at = std::exchange(data.miss_at, 0)) {
        const auto* const resume = reinterpret_cast<const u8*>(at);
        const Block* const block = cache.at_cold(static_cast<CodeOffset>(resume - arena.code()));
        data.rip = block->rip + TlbMissInfo::guest(TlbMissInfo::at(resume));
    }
}

LeaveReason Translator::Impl::enter(const Block& block) {
    const CodeOffset entry = options.one_block ? block.entry_forward
                             : block.crosses   ? block.entry_checked
                                               : block.entry_memory;
    return enter(reinterpret_cast<u64>(arena.code() + entry), block.lane());
}

LeaveReason Translator::Impl::enter(u64 host, unsigned lane) {
    data.shadow_sp = data.shadow_sp_of_lane[lane];
    data.lane = lane;
    vcpu.counters.add(Counter::engine_entries);
    const observe::TimedScope timed(vcpu.counters.time, observe::Activity::translated);
    using Enter = void (*)(u64);
    const auto enter_code = reinterpret_cast<Enter>(arena.code() + surroundings.stubs.enter);
    const bool vectors = vector_wanted != 0;
    if (vectors) x87_pointers.enter();
    vcpu.vector_state_live = std::exchange(vector_wanted, 0);
    enter_code(host);
    if (vectors) {
        // Where the guest's kernel comes next, only an exception that is pending makes FDP matter.
        const bool kernel_next = data.reason == LeaveReason::signalled || data.reason == LeaveReason::system;
        x87_pointers.leave(!kernel_next, insn_set());
    }
    data.shadow_sp_of_lane[data.lane] = data.shadow_sp;
    settle_exit();
    count_exit(data.reason);
    return data.reason;
}

/// Has the next enter() load the guest's vector state. False when the guest may not use it now, or not as
/// much as the block does.
bool Translator::Impl::load_vector(bool avx_needed) {
    const VcpuState& s = vcpu.state;
    if (s.cr0 & (x86::cr0::ts | x86::cr0::em) || !(s.cr4 & x86::cr4::osfxsr)) return false;
    const bool avx = (s.cr4 & x86::cr4::osxsave) && (s.xcr0 & 6) == 6;
    if (avx_needed && !avx) return false;
    vector_wanted = avx ? 2 : 1;
    return true;
}

/// Every block that is entered after its poll runs to its end; the next one's poll then fails.
void Translator::Impl::begin_one_block() {
    one_block_entered = true;
    vcpu.signals.pending.fetch_or(static_cast<u32>(cpu::Signal::one_block), std::memory_order_relaxed);
}

EngineExit Translator::Impl::finish(EngineExit exit) {
    if (std::exchange(one_block_entered, false)) vcpu.signals.take(cpu::Signal::one_block);
    vcpu.state.rflags = unpack_flags(vcpu.state.rflags, data.flags);
    return exit;
}

EngineExit Translator::Impl::run() {
    attach_to_thread(this);
    data.flags = pack_flags(vcpu.state.rflags);
    // Blocks say where a branch may not go.
    const bool la57_changed =
        std::exchange(seen_la57, vcpu.state.cr4 & x86::cr4::la57) != (vcpu.state.cr4 & x86::cr4::la57);
    if (std::exchange(breakpoints_changed, false) || la57_changed) {
        cache.flush();
        ++flush_count;
    }
    // Translated code has just missed: the jump cache cannot help, or names a block whose entry check
    // fails because another page took its cookie's slot.
    bool missed = false;
    for (;;) {
        if (mmu.generation() != seen_generation) {
            seen_generation = mmu.generation();
            cache.apply(mmu.take_flushes());
        }
        if (one_block_entered) return finish(EngineExit::budget);
        if (vcpu.signals.any()) return finish(EngineExit::signalled);
        if (!can_run()) return finish(EngineExit::declined);
        select_mode();
        if (options.one_block) begin_one_block();
        // The jump cache answers what translated code would find there itself.
        const unsigned lane = static_cast<unsigned>(current_mode()) + (narrow ? mmu::tlb_modes : 0);
        const EngineData::JumpCache& jump = data.jump[lane];
        const unsigned slot = EngineData::jump_index(vcpu.state.rip);
        const u64 key = narrow ? narrow->key(vcpu.state.rip) : vcpu.state.rip;
        Block* block = nullptr;
        LeaveReason reason;
        if (!std::exchange(missed, false) && jump.rip[slot] == key && !options.one_block) {
            reason = enter(jump.host[slot], lane);
        } else {
            block = look_up();
            if (!block) return finish(EngineExit::declined);
            reason = enter(*block);
        }
        for (;;) {
            if (reason == LeaveReason::link) {
                const u32 exit_id = data.exit_id;
                const u32 flushes = flush_count;
                vcpu.state.rip = cache.exits()[exit_id].target;
                const bool unmerged = cache.exits()[exit_id].unmerged;
                block = look_up(unmerged);
                if (!block) return finish(EngineExit::declined);
                // The variant without merged accesses is the same block once more: it is not left before.
                const bool same_again = options.one_block && unmerged;
                if (options.chain && flushes == flush_count && !same_again) cache.link(exit_id, *block);
                if (options.one_block && !same_again) return finish(EngineExit::budget);
                // It would leave for them, and come back to the variant that jumps here.
                if (block->unmerged && block->uses_vector && !load_vector(block->uses_avx))
                    return finish(EngineExit::declined);
                reason = enter(*block);
                continue;
            }
            vcpu.state.rip = data.rip;
            if (reason == LeaveReason::declined) {
                vcpu.counters.add(Counter::declined);
                return finish(EngineExit::declined);
            }
            if (reason == LeaveReason::vector) {
                // Translation clobbers vector registers: look the block up first.
                block = look_up();
                if (!block || !load_vector(block->uses_avx)) return finish(EngineExit::declined);
                reason = enter(*block);
                continue;
            }
            if (reason == LeaveReason::system || reason == LeaveReason::page_fault) {
                bool shutdown = false;
                vcpu.state.rflags = unpack_flags(vcpu.state.rflags, data.flags);
                const bool look =
                    reason == LeaveReason::system
                        ? run_system(shutdown)
                        : deliver(system::Fault::pf({data.fault_address, data.fault_code}), shutdown);
                data.flags = pack_flags(vcpu.state.rflags);
                if (shutdown) return finish(EngineExit::shutdown);
                if (look) return finish(EngineExit::signalled);
            }
            if (reason == LeaveReason::lookup) {
                if (take_back_return()) return finish(EngineExit::declined);
                vcpu.counters.add(Counter::indirect_misses);
                missed = true;
            }
            break;
        }
    }
}

/// Other indirect branches look where they go before they do anything. A RET that has gone where nothing can
/// be is one that the reference engine is to take, which faults with RSP as it was.
bool Translator::Impl::take_back_return() {
    if (narrow || mmu.canonical(vcpu.state.rip)) [[likely]]
        return false;
    const Block& b = cache.block(data.ret_block);
    HostMapReader map(arena.code() + b.map);
    for (unsigned n = 0; n < b.map_entries; ++n) vcpu.state.rip = b.rip + map.next().guest;
    vcpu.state.gpr[x86::rsp] -= 8;
    return true;
}

bool Translator::Impl::deliver(const system::Fault& fault, bool& shutdown) {
    shutdown = system.deliver_fault(fault) == system::System::Delivered::shutdown;
    return false;
}

/// Executes EngineData::system_op. True when the run loop must look: an interrupt waited for IF.
bool Translator::Impl::run_system(bool& shutdown) {
    VcpuState& s = vcpu.state;
    system::Guest<void> done;
    bool transfers = false;
    switch (data.system_op) {
        case SystemOp::syscall:
            done = system.syscall(data.next_rip);
            transfers = true;
            break;
        case SystemOp::sysret32:
            done = system.sysret(32);
            transfers = true;
            break;
        case SystemOp::sysret64:
            done = system.sysret(64);
            transfers = true;
            break;
        case SystemOp::iret:
            done = system.iret(64);
            transfers = true;
            break;
        case SystemOp::write_cr3: done = system.write_cr(3, data.fault_address); break;
        case SystemOp::read_cr2: break;  // inline
        case SystemOp::rdmsr: {
            const auto value = system.rdmsr(static_cast<u32>(s.gpr[x86::rcx]));
            if (!value) return deliver(value.error(), shutdown);
            s.gpr[x86::rax] = static_cast<u32>(*value);
            s.gpr[x86::rdx] = *value >> 32;
            break;
        }
        case SystemOp::wrmsr:
            done = system.wrmsr(static_cast<u32>(s.gpr[x86::rcx]),
                                s.gpr[x86::rdx] << 32 | static_cast<u32>(s.gpr[x86::rax]));
            break;
        case SystemOp::cpuid: done = system.cpuid(); break;
        case SystemOp::invlpg: done = system.invlpg(data.fault_address); break;
    }
    if (!done) return deliver(done.error(), shutdown);
    if (!transfers) s.rip = data.next_rip;
    return vcpu.interrupt_waiting && (s.rflags & x86::flag::if_);
}

// Called in signal context: reads the block tables only.
u64 Translator::Impl::host_fault(u64 pc, u64& rsp, u64 eflags, u64 address) {
    const u64 code = reinterpret_cast<u64>(arena.code());
    if (pc < code || pc >= code + arena.code_bytes()) return 0;
    for (auto& shadow : data.shadow) {
        const u64 guard = reinterpret_cast<u64>(shadow.guard.data());
        if (address < guard || address >= guard + shadow.guard.size()) continue;
        rsp = reinterpret_cast<u64>(&shadow.slots.back());  // forget the calls in progress
        return pc;
    }
    const Block* block = cache.at(static_cast<CodeOffset>(pc - code));
    if (!block) return 0;
    const u32 offset = static_cast<u32>(pc - code) - block->begin;
    HostMapReader map(arena.code() + block->map);
    std::optional<HostMapEntry> entry;
    for (unsigned n = 0; n < block->map_entries; ++n) {
        const HostMapEntry m = map.next();
        if (m.host > offset) break;
        entry = m;
    }
    if (!entry) return 0;
    data.rip = block->rip + entry->guest;
    if (entry->flags == FlagsAt::host && entry->flags_valid) data.flags = pack_flags(eflags);
    return code + surroundings.stubs.leave[static_cast<u32>(LeaveReason::declined)];
}

Translator::Translator(system::System& system, mmu::VcpuArena& arena, const Options& options)
    : impl_(std::make_unique<Impl>(system, arena, options)) {}
Translator::~Translator() = default;
EngineExit Translator::run() { return impl_->run(); }
std::string Translator::listing(u64 rip) {
    if (!impl_->vcpu.state.code64()) return "it is not 64-bit code\n";
    const auto page = impl_->mmu.code_page(rip);
    if (!page || !page->host) return "the code is not in RAM\n";
    const unsigned offset = static_cast<unsigned>(rip & page_mask);
    const bool user = impl_->vcpu.state.cpl() == 3;
    auto text = list_translation({page->host + offset, page_size - offset}, rip, user);
    return text ? *text : text.error().message + '\n';
}
void Translator::invalidate(Gpa gpa, u64 size) { impl_->cache.invalidate(gpa, size); }

void Translator::set_breakpoints(const std::vector<Gva>& addresses) {
    if (impl_->breakpoints == addresses) return;
    impl_->breakpoints = addresses;
    impl_->breakpoints_changed = true;
}

}  // namespace triune::hypervisor::soft::bt
