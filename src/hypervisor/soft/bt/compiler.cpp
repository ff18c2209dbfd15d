// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/bt/compiler.h"

#include "hypervisor/soft/bt/host_map.h"
#include "hypervisor/soft/bt/liveness.h"

namespace triune::hypervisor::soft::bt {

using x86::Insn;

void BlockCompiler::compile(bool declined_after, CodeOffset& cold_at) {
    live_flags(insns_, live_);
    rips_.clear();
    treatment_.clear();
    cold_.clear();
    map_.clear();
    u64 rip = block_.rip;
    for (const Insn& insn : insns_) {
        rips_.push_back(rip);
        rip += insn.length;
        treatment_.push_back(classify(insn, block_.mode, narrow()));
        vector_ |= insn.uses_vector_state;
        avx_ |= uses_avx(insn);
    }
    block_.guest_bytes = static_cast<u16>(rip - block_.rip);
    if (narrow()) rip = static_cast<u32>(rip);
    block_.guest_instructions = static_cast<u16>(insns_.size());
    if (options_.merge_accesses && !block_.unmerged) {
        planner_.plan(insns_, treatment_, block_.rip, narrow(), EngineData::pointer_slots);
    } else {
        planner_.plan_none(insns_.size());
    }
    block_.uses_vector = vector_;
    block_.uses_avx = avx_;
    block_.need = flags_need();
    if ((vector_ || block_.crosses) && block_.need == FlagsNeed::host) block_.need = FlagsNeed::memory;

    e_.align(16);
    block_.begin = e_.offset();
    block_.first_exit = static_cast<u32>(exits_.size());
    emit_entries();
    for (size_t i = 0; i < insns_.size();) {
        const size_t run = run_length(i);
        if (run >= 2) {
            emit_run(i, run);
            i += run;
        } else {
            emit_instruction(i++);
        }
    }
    if (!ended_) {
        map_.push_back({e_.offset() - block_.begin, block_.guest_bytes, exit_flags(), flags_ != Flags::dead});
        if (declined_after) {
            current_rip_ = rip;
            if (flags_ == Flags::host) emit_save_flags(e_, s_.data);
            e_.store_constant(s_.data.rip, rip);
            e_.jump_to(s_.stubs.leave[static_cast<u32>(LeaveReason::declined)]);
        } else {
            exit_to(rip, e_.jump_forward(), exit_flags());
        }
    }
    block_.end = e_.offset();
    e_.set_offset(cold_at);
    block_.cold_begin = cold_at;
    emit_cold();
    block_.cold_end = e_.offset();
    block_.exit_count = static_cast<u16>(exits_.size() - block_.first_exit);
    pack_map();
    cold_at = e_.offset();
    e_.set_offset(block_.end);
}

/// Behind the cold paths.
void BlockCompiler::pack_map() {
    block_.map = e_.offset();
    block_.map_entries = static_cast<u16>(map_.size());
    u8* const begin = const_cast<u8*>(e_.getCode()) + block_.map;
    HostMapWriter writer(begin);
    for (const HostMapEntry& m : map_) writer.add(m);
    e_.set_offset(block_.map + static_cast<u32>(writer.end() - begin));
}

/// Walks forward to the first thing that touches the flags.
FlagsNeed BlockCompiler::flags_need() const {
    for (size_t i = 0; i < insns_.size(); ++i) {
        if (live_[i] == 0) return FlagsNeed::none;
        if (clobbers(i)) return FlagsNeed::memory;
        if (needs_host_flags(i)) return FlagsNeed::host;
        if (insns_[i].is_branch) return FlagsNeed::memory;
    }
    return FlagsNeed::memory;
}

/// Leaves unless the guest's vector state is in the host's registers.
void BlockCompiler::check_vector(u64 rip) {
    if (!vector_) return;
    e_.cmp(e_.byte[reinterpret_cast<const void*>(&s_.vcpu.vector_state_live)], avx_ ? 2 : 1);
    leave_if(cc::b, LeaveReason::vector, rip);
}

void BlockCompiler::emit_entries() {
    const FlagsNeed need = block_.need;
    block_.entry_host_full = e_.offset();
    // The check may find other code here than this, with other needs.
    if (need != FlagsNeed::none || block_.checked) emit_save_flags(e_, s_.data);
    block_.entry_checked = e_.offset();
    if (block_.checked) {
        e_.cmp(e_.dword_at(s_.data.cookie[EngineData::cookie_index(block_.linear)]), block_.cookie);
        leave_entry_if(cc::ne);
    }
    if (block_.checked && block_.crosses) {
        e_.cmp(e_.dword_at(s_.data.cookie[EngineData::cookie_index(block_.linear + page_size)]),
               block_.second_cookie);
        leave_entry_if(cc::ne);
    }
    block_.entry_memory = e_.offset();
    e_.cmp(e_.dword_at(s_.vcpu.signals.pending), 0);
    leave_entry_if(cc::ne);
    block_.entry_forward = e_.offset();
    check_vector(block_.rip);
    switch (need) {
        case FlagsNeed::none:
            block_.entry_host = block_.entry_memory;
            flags_ = Flags::dead;
            break;
        case FlagsNeed::memory:
            block_.entry_host = block_.entry_host_full;
            flags_ = Flags::memory;
            break;
        case FlagsNeed::host:
            emit_restore_flags(e_, s_.data);
            block_.entry_host = e_.offset();
            flags_ = Flags::host;
            break;
    }
}

void BlockCompiler::leave_if(u8 condition, LeaveReason reason, u64 rip) {
    Cold c{ColdKind::leave};
    c.patch = e_.jump_forward_if(condition);
    c.rip = rip;
    c.reason = reason;
    cold_.push_back(c);
}

/// Leaves for the run loop, at the block's begin.
void BlockCompiler::leave_entry_if(u8 condition) {
    Cold c{ColdKind::leave_entry};
    c.patch = e_.jump_forward_if(condition);
    cold_.push_back(c);
}

/// Emitting it changes the host's flags before the instruction's own effect on them.
bool BlockCompiler::clobbers(size_t i) const {
    switch (treatment_[i]) {
        case Treatment::skip:
        case Treatment::lea:
        case Treatment::jump:
        case Treatment::conditional:
        case Treatment::loop:
        case Treatment::swapgs:
        case Treatment::read_segment: return false;
        case Treatment::copy:
        case Treatment::moffs: return insns_[i].memory() && !follows(i, AccessKind::operand);
        case Treatment::push:
        case Treatment::pop:
            return !follows(i, AccessKind::stack) ||
                   (insns_[i].op[0].kind == x86::OperandKind::mem && !follows(i, AccessKind::operand));
        default: return true;
    }
}

/// The instruction reads status flags, or leaves some as they are that are read later.
bool BlockCompiler::needs_host_flags(size_t i) const {
    const Insn& insn = insns_[i];
    const u32 status = x86::flag::arithmetic;
    if (insn.flags_read & status) return true;
    const u32 killed = insn.flags_written & ~insn.flags_maybe_written;
    return (insn.flags_written & status) && (live_[i + 1] & ~killed);
}

void BlockCompiler::before_clobber(size_t i) {
    if (flags_ != Flags::host || !clobbers(i)) return;
    if (live_[i] == 0) {
        flags_ = Flags::dead;
        return;
    }
    emit_save_flags(e_, s_.data);
    forget(scratch1);
    flags_ = Flags::memory;
}

void BlockCompiler::before_execute(size_t i) {
    if (needs_host_flags(i) && flags_ == Flags::memory) {
        emit_restore_flags(e_, s_.data);
        forget(scratch1);
        flags_ = Flags::host;
    }
    map_here(i, exit_flags(), flags_ != Flags::dead);
}

void BlockCompiler::after_execute(size_t i) {
    if (insns_[i].flags_written & x86::flag::arithmetic) flags_ = Flags::host;
}

/// Maps the host code that follows to instruction i. Code before its own memory access does not
/// fault, so the flags are said to be where before_clobber() puts them.
void BlockCompiler::begin_instruction(size_t i) {
    current_rip_ = rips_[i];
    Flags flags = flags_;
    if (flags == Flags::host && clobbers(i)) flags = live_[i] == 0 ? Flags::dead : Flags::memory;
    map_here(i, flags == Flags::host ? FlagsAt::host : FlagsAt::memory, flags != Flags::dead);
}

/// The host instruction that accesses memory, of the instruction that was mapped last, follows.
void BlockCompiler::access_here() {
    HostMapEntry entry = map_.back();
    entry.host = e_.offset() - block_.begin;
    if (entry.host != map_.back().host) map_.push_back(entry);
}

/// Maps what follows to instruction i.
void BlockCompiler::map_here(size_t i, FlagsAt flags, bool valid) {
    const HostMapEntry entry{e_.offset() - block_.begin, static_cast<u16>(rips_[i] - block_.rip), flags,
                             valid};
    // Most instructions begin with their access, or have none.
    if (!map_.empty() && map_.back().host == entry.host && map_.back().guest == entry.guest) {
        map_.back() = entry;
    } else {
        map_.push_back(entry);
    }
}

void BlockCompiler::emit_instruction(size_t i) {
    begin_instruction(i);
    switch (treatment_[i]) {
        case Treatment::skip: break;
        case Treatment::copy: copy(i); break;
        case Treatment::lea: lea(i); break;
        case Treatment::bit_string: bit_string(i); break;
        case Treatment::moffs: moffs(i); break;
        case Treatment::push: push(i); break;
        case Treatment::pop: pop(i); break;
        case Treatment::leave: leave(i); break;
        case Treatment::jump:
            exit_to(branch_target(i), e_.jump_forward(), exit_flags());
            ended_ = true;
            break;
        case Treatment::jump_indirect: jump_indirect(i); break;
        case Treatment::conditional: conditional(i); break;
        case Treatment::loop: loop(i); break;
        case Treatment::call: call(i); break;
        case Treatment::call_indirect: call_indirect(i); break;
        case Treatment::ret: ret(i); break;
        case Treatment::string: string(i); break;
        case Treatment::cli: set_rflags(i, x86::flag::if_, false); break;
        case Treatment::cld: set_rflags(i, x86::flag::df, false); break;
        case Treatment::std: set_rflags(i, x86::flag::df, true); break;
        case Treatment::sti: sti(i); break;
        case Treatment::pushf: pushf(i); break;
        case Treatment::swapgs: swapgs(); break;
        case Treatment::rdtsc: rdtsc(i); break;
        case Treatment::read_segment: read_segment(i); break;
        case Treatment::load_segment: load_segment(i); break;
        case Treatment::push_all: push_all(i); break;
        case Treatment::pop_all: pop_all(i); break;
        case Treatment::set_ac: set_ac(i); break;
        case Treatment::system: system(i); break;
        case Treatment::decline: break;  // the scanner ends a block before it
    }
    switch (treatment_[i]) {
        case Treatment::skip:
        case Treatment::copy:
        case Treatment::lea:
        case Treatment::moffs:
        case Treatment::push:
        case Treatment::pop:
        case Treatment::conditional: break;  // they say themselves what becomes of the scratch registers
        default: forget_scratch();
    }
}

void BlockCompiler::exit_to(u64 target, u32 patch, FlagsAt flags) {
    DirectExit x;
    x.block = block_.id;
    x.patch = patch;
    x.target = target;
    x.flags = flags;
    x.lane = static_cast<u8>(lane());
    x.same_page = (narrow() ? narrow()->linear(target) : target) >> 12 == block_.linear >> 12;
    x.polls = options_.poll_everywhere || sti_ || target <= current_rip_;
    Cold c{ColdKind::link};
    c.patch = patch;
    c.exit_id = static_cast<u32>(exits_.size());
    exits_.push_back(x);
    cold_.push_back(c);
}

void BlockCompiler::emit_cold() {
    u32 entry = 0, string_entry = 0;
    u64 string_rip = 0;
    for (size_t k = 0; k < cold_.size(); ++k) {  // grows while it is walked
        const Cold c = cold_[k];
        if (c.kind == ColdKind::leave_entry && entry) {
            e_.set_target(c.patch, entry);
            continue;
        }
        if (c.kind == ColdKind::string && string_entry && string_rip == c.rip) {
            e_.set_target(c.patch, string_entry);
            continue;
        }
        e_.set_target_here(c.patch);
        switch (c.kind) {
            case ColdKind::group: emit_group_cold(c); break;
            case ColdKind::unmerged: go_on_unmerged(c.rip, e_.jump_forward()); break;
            case ColdKind::probe:
                if (c.constant) e_.load_constant(t0(), c.address);
                if (c.stack) look_up_stack(c);
                call_miss_helper(c.info | (c.constant || c.stack ? TlbMissInfo::value_is_address : 0));
                if (c.indexed) e_.xor_(t1().cvt32(), t1().cvt32());
                e_.jump_to(c.back);
                break;
            case ColdKind::link: {
                DirectExit& x = exits_[c.exit_id];
                x.stub = e_.offset();
                e_.mov(t1().cvt32(), c.exit_id);
                e_.jump_to(s_.stubs.leave_link[static_cast<u32>(x.flags)]);
                break;
            }
            case ColdKind::jump_miss: emit_jump_miss(c); break;
            case ColdKind::string:
                string_entry = e_.offset();
                current_rip_ = string_rip = c.rip;
                call_string_helper(c.info);
                e_.jump_to(c.back);
                break;
            case ColdKind::leave_entry:
                entry = e_.offset();
                e_.mov(t1().cvt32(), block_.id);
                e_.jump_to(s_.stubs.leave_entry);
                break;
            case ColdKind::leave:
                e_.store_constant(s_.data.rip, c.rip);
                e_.jump_to(s_.stubs.leave[static_cast<u32>(c.reason)]);
                break;
        }
    }
}

}  // namespace triune::hypervisor::soft::bt
