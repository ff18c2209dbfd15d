// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/bt/cache.h"

#include <algorithm>

namespace triune::hypervisor::soft::bt {

using mmu::TlbMode;

namespace {

/// One block's code with all its cold paths is well below this.
constexpr u32 room_for_block = 64 << 10;
constexpr u64 large_page = u64{2} << 20;
/// A block and its entries in the tables.
constexpr u64 bytes_per_block = sizeof(Block) + 40;

}  // namespace

BlockCache::Key BlockCache::key(const Block& b) { return {b.rip, b.gpa, b.narrow, b.mode, b.unmerged}; }

Block* BlockCache::find(u64 rip, const NarrowMode* narrow, const mmu::Mmu::CodePage& page, bool unmerged) {
    const Gva linear = narrow ? narrow->linear(rip) : rip;
    const Key wanted{rip, page.gpa | (linear & page_mask), narrow, page.mode, unmerged};
    const u32 id = map_.find(hash(wanted), [&](u32 other) { return key(blocks_[other]) == wanted; });
    return id ? &blocks_[id] : nullptr;
}

u32 BlockCache::cookie(Gva linear, Gpa gpa) {
    const PagePair pair{linear & ~page_mask, gpa & ~page_mask};
    return cookies_.try_emplace(pair, static_cast<u32>(cookies_.size() + 1)).first->second;
}

Block& BlockCache::create(u64 rip, const NarrowMode* narrow, const mmu::Mmu::CodePage& page,
                          const mmu::Mmu::CodePage* second) {
    Block& b = blocks_.push_back({});
    b.id = blocks_.size() - 1;
    b.rip = rip;
    b.linear = narrow ? narrow->linear(rip) : rip;
    b.gpa = page.gpa | (b.linear & page_mask);
    b.mode = page.mode;
    b.narrow = narrow;
    b.checked = page.mode == TlbMode::user || !page.global;
    if (second) {
        b.crosses = true;
        b.second_page = second->gpa;
        b.checked |= !second->global;
        b.second_cookie = cookie(b.linear + page_size, second->gpa);
    }
    if (b.checked) b.cookie = cookie(b.linear, b.gpa);
    return b;
}

void BlockCache::add(Block& b) {
    table_bytes_ += bytes_per_block + b.exit_count * sizeof(DirectExit);
    map_.add(hash(key(b)), b.id, [&](u32 id) { return hash(key(blocks_[id])); });
    pages_[b.gpa & ~page_mask].push_back(b.id);
    if (b.crosses) pages_[b.second_page].push_back(b.id);
    used_[b.lane()] = true;
    if (!b.declines_first) by_code_.emplace_back(b.begin, b.id);
    const Gva page = b.linear & ~page_mask;
    if (b.checked) {
        checked_pages_.insert(page);
        if (b.crosses) checked_pages_.insert(page + page_size);
        supervisor_checked_ |= b.mode != TlbMode::user;
    } else {
        supervisor_pages_[page] = b.gpa & ~page_mask;
        supervisor_regions_.insert(page & ~(large_page - 1));
        if (b.crosses) {
            supervisor_pages_[page + page_size] = b.second_page;
            supervisor_regions_.insert((page + page_size) & ~(large_page - 1));
        }
    }
}

void BlockCache::remember(const Block& b) {
    if (b.checked) s_.data.cookie[EngineData::cookie_index(b.linear)] = b.cookie;
    if (b.checked && b.crosses)
        s_.data.cookie[EngineData::cookie_index(b.linear + page_size)] = b.second_cookie;
    if (b.unmerged) return;
    auto& jump = s_.data.jump[b.lane()];
    const unsigned i = EngineData::jump_index(b.rip);
    jump.rip[i] = b.key();
    jump.host[i] = reinterpret_cast<u64>(arena_.code() + (b.crosses ? b.entry_checked : b.entry_memory));
}

void BlockCache::link(u32 exit_id, Block& target) {
    DirectExit& x = exits_[exit_id];
    if (x.target_block || x.lane != target.lane() || blocks_[x.block].narrow != target.narrow) return;
    const bool check = target.checked && (!x.same_page || target.crosses);
    CodeOffset entry;
    if (x.flags == FlagsAt::memory) {
        entry = check ? target.entry_checked : x.polls ? target.entry_memory : target.entry_forward;
    } else {
        const bool full = check || (x.polls && target.need == FlagsNeed::host);
        entry = full ? target.entry_host_full : target.entry_host;
        if (!check && !x.polls && target.need == FlagsNeed::none) entry = target.entry_forward;
    }
    e_.set_target(x.patch, entry);
    x.target_block = target.id;
    x.next_incoming = target.incoming;
    target.incoming = exit_id;
}

void BlockCache::unlink(DirectExit& x) {
    e_.set_target(x.patch, x.stub);
    x.target_block = x.next_incoming = 0;
}

/// Takes exit `id` out of its target's list.
void BlockCache::forget_incoming(DirectExit& x, u32 id) {
    u32* at = &blocks_[x.target_block].incoming;
    while (*at && *at != id) at = &exits_[*at].next_incoming;
    if (*at) *at = x.next_incoming;
}

void BlockCache::kill(Block& b) {
    if (!b.alive) return;
    b.alive = false;
    map_.remove(hash(key(b)), b.id);
    while (b.incoming) {
        DirectExit& x = exits_[b.incoming];
        b.incoming = x.next_incoming;
        unlink(x);
    }
    for (u32 id = b.first_exit; id < b.first_exit + b.exit_count; ++id) {
        DirectExit& x = exits_[id];
        if (!x.target_block) continue;
        forget_incoming(x, id);
        unlink(x);
    }
    auto& jump = s_.data.jump[b.lane()];
    const unsigned i = EngineData::jump_index(b.rip);
    if (jump.rip[i] == b.key()) jump.rip[i] = EngineData::empty_key(i);
    reset_shadow(b.lane());
    s_.vcpu.counters.add(observe::Counter::blocks_invalidated);
}

void BlockCache::invalidate(Gpa gpa, u64 size) {
    const Gpa end = gpa + size;
    for (Gpa page = gpa & ~page_mask; page < end; page += page_size) {
        const auto it = pages_.find(page);
        if (it == pages_.end()) continue;
        std::erase_if(it->second, [&](u32 id) {
            Block& b = blocks_[id];
            if (!b.alive) return true;
            // A block that declines its first instruction covers at least that one's bytes.
            const u64 bytes = b.declines_first ? 15 : b.guest_bytes;
            if (!b.crosses && (b.gpa >= end || b.gpa + bytes <= gpa)) return false;
            kill(b);
            return true;
        });
        if (it->second.empty()) pages_.erase(it);
    }
}

void BlockCache::clear_jump(unsigned lane) {
    auto& rip = s_.data.jump[lane].rip;
    rip.fill(0);
    rip[0] = EngineData::empty_key(0);
    reset_shadow(lane);
}

void BlockCache::reset_shadow(unsigned lane) {
    auto& slots = s_.data.shadow[lane].slots;
    slots.back() = reinterpret_cast<u64>(arena_.code() + s_.stubs.underflow[lane]);
    s_.data.shadow_sp_of_lane[lane] = reinterpret_cast<u64>(&slots.back());
}

void BlockCache::flush() {
    blocks_.clear();
    exits_.clear();
    table_memory_.clear();
    blocks_.push_back({});
    exits_.push_back({});
    by_code_.clear();
    map_.clear();
    pages_.clear();
    supervisor_pages_.clear();
    supervisor_regions_.clear();
    cookies_.clear();
    checked_pages_.clear();
    supervisor_checked_ = false;
    used_.fill(false);
    table_bytes_ = 0;
    s_.data.cookie.fill(0);
    for (unsigned lane = 0; lane < EngineData::lanes; ++lane) clear_jump(lane);
    e_.set_offset(s_.stubs.end);
    cold_at_ = cold_start();
    s_.vcpu.counters.add(observe::Counter::code_flushes);
}

void BlockCache::verify_supervisor_pages() {
    std::vector<Gva> stale;
    for (const auto& [page, gpa] : supervisor_pages_) {
        const auto now = mmu_.fill(page, mmu::Access::execute, TlbMode::supervisor);
        if (!now || now->gpa != gpa || !now->global) stale.push_back(page);
    }
    for (const Gva page : stale) {
        const Gpa gpa = supervisor_pages_[page];
        supervisor_pages_.erase(page);
        const auto it = pages_.find(gpa);
        if (it == pages_.end()) continue;
        std::erase_if(it->second, [&](u32 id) {
            Block& b = blocks_[id];
            if (!b.alive) return true;
            const Gva first = b.linear & ~page_mask;
            if (b.checked || (first != page && !(b.crosses && first + page_size == page))) return false;
            kill(b);
            return true;
        });
    }
}

void BlockCache::apply(const mmu::Mmu::Flushes& f) {
    bool checked = f.all || f.not_global;
    bool supervisor = f.all;
    for (u8 i = 0; i < f.page_count; ++i) {
        checked |= checked_pages_.contains(f.pages[i]);
        // A large page's translation goes with any address in it.
        supervisor |= supervisor_regions_.contains(f.pages[i] & ~(large_page - 1));
    }
    if (checked) {
        s_.data.cookie.fill(0);
        for (unsigned lane = 0; lane < EngineData::lanes; ++lane) {
            const bool user = lane % mmu::tlb_modes == static_cast<unsigned>(TlbMode::user);
            if ((user || supervisor_checked_) && used_[lane]) clear_jump(lane);
        }
    }
    if (supervisor) verify_supervisor_pages();
}

bool BlockCache::full() const {
    // Code in both halves, and the tables about it.
    const u64 used = e_.offset() + (cold_at_ - cold_start()) + table_bytes_;
    return cold_start() - e_.offset() < room_for_block || arena_.code_bytes() - cold_at_ < room_for_block ||
           used > arena_.code_bytes();
}

const Block* BlockCache::at(CodeOffset offset) const {
    auto it = std::ranges::upper_bound(by_code_, offset, {}, &std::pair<CodeOffset, u32>::first);
    if (it == by_code_.begin()) return nullptr;
    const Block& b = blocks_[std::prev(it)->second];
    return offset < b.end ? &b : nullptr;
}

const Block* BlockCache::at_cold(CodeOffset offset) const {
    // They lie in the same order.
    const auto begin = [&](const std::pair<CodeOffset, u32>& c) { return blocks_[c.second].cold_begin; };
    auto it = std::ranges::upper_bound(by_code_, offset, {}, begin);
    if (it == by_code_.begin()) return nullptr;
    const Block& b = blocks_[std::prev(it)->second];
    return offset < b.cold_end ? &b : nullptr;
}

}  // namespace triune::hypervisor::soft::bt
