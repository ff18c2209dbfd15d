// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "hypervisor/soft/bt/block.h"
#include "hypervisor/soft/bt/block_index.h"
#include "hypervisor/soft/bt/stubs.h"
#include "hypervisor/soft/bt/table.h"
#include "hypervisor/soft/mmu/arena.h"

namespace triune::hypervisor::soft::bt {

/// The blocks of one vCPU: where they are, how they are linked, and what makes them stale.
///
/// A block is keyed by guest-physical and virtual address and mode. Within a virtual page its
/// mapping holds as long as the page's code runs at all. Entries from other pages are of two kinds:
/// supervisor code in global pages is linked directly and verified whenever something is flushed;
/// everything else is `checked`: the entry compares a cookie that says the mapping was seen to hold
/// since the last flush.
class BlockCache {
public:
    BlockCache(Surroundings& s, Emitter& e, mmu::Mmu& mmu, mmu::VcpuArena& arena)
        : s_(s), e_(e), mmu_(mmu), arena_(arena) {}

    // flush() comes before anything else.

    /// The block for `rip` as `page` maps it, or null.
    Block* find(u64 rip, const NarrowMode* narrow, const mmu::Mmu::CodePage& page, bool unmerged);
    /// A new block, not yet compiled. `second`: the next page, for an instruction that crosses into it.
    Block& create(u64 rip, const NarrowMode* narrow, const mmu::Mmu::CodePage& page,
                  const mmu::Mmu::CodePage* second = nullptr);
    /// To be called once it is compiled.
    void add(Block& block);
    /// Enters it into the jump cache and its page into the cookies: it was just looked up.
    void remember(const Block& block);

    Table<DirectExit>& exits() { return exits_; }
    Block& block(u32 id) { return blocks_[id]; }
    /// Makes the exit jump to `target` directly.
    void link(u32 exit_id, Block& target);

    /// Drops blocks that overlap guest-physical [gpa, gpa+size).
    void invalidate(Gpa gpa, u64 size);
    /// Drops everything.
    void flush();
    /// Catches up with TLB flushes.
    void apply(const mmu::Mmu::Flushes& flushes);
    void reset_shadow(unsigned lane);

    /// No room for one more block: in the code, or in the bound of code and tables (blocks that only
    /// decline take no code).
    [[nodiscard]] bool full() const;
    /// Where the next block's cold paths go: the upper half of the code cache.
    CodeOffset& cold_at() { return cold_at_; }
    /// The block that holds host code at `offset`, or null.
    [[nodiscard]] const Block* at(CodeOffset offset) const;
    /// The same for its cold paths.
    [[nodiscard]] const Block* at_cold(CodeOffset offset) const;

private:
    struct Key {
        u64 rip;
        Gpa gpa;
        const NarrowMode* narrow;
        mmu::TlbMode mode;
        bool unmerged;
        bool operator==(const Key&) const = default;
    };
    static u64 hash(const Key& k) {
        return (k.rip ^ static_cast<u64>(k.mode) << 60 ^ static_cast<u64>(k.unmerged) << 62 ^
                (k.narrow ? u64{k.narrow->id} << 44 : 0)) *
                   0x9e3779b97f4a7c15 ^
               k.gpa * 0xc2b2ae3d27d4eb4f;
    }
    struct PagePair {
        Gva gva;
        Gpa gpa;
        bool operator==(const PagePair&) const = default;
    };
    struct PagePairHash {
        size_t operator()(const PagePair& p) const { return (p.gva * 0x9e3779b97f4a7c15) ^ p.gpa; }
    };
    void kill(Block& block);
    void unlink(DirectExit& exit);
    void clear_jump(unsigned lane);
    void verify_supervisor_pages();
    static Key key(const Block& b);
    void forget_incoming(DirectExit& exit, u32 id);
    u32 cookie(Gva linear, Gpa gpa);

    [[nodiscard]] CodeOffset cold_start() const { return static_cast<CodeOffset>(arena_.code_bytes() / 2); }

    Surroundings& s_;
    Emitter& e_;
    CodeOffset cold_at_ = 0;
    mmu::Mmu& mmu_;
    mmu::VcpuArena& arena_;
    TableMemory table_memory_;
    Table<Block> blocks_{table_memory_};  // by id, from 1 on
    Table<DirectExit> exits_{table_memory_};
    std::vector<std::pair<CodeOffset, u32>> by_code_;  // begin, id; ascending
    BlockIndex map_;
    std::unordered_map<Gpa, std::vector<u32>> pages_;
    std::unordered_map<Gva, Gpa> supervisor_pages_;  // unchecked virtual pages and what they map to
    std::unordered_set<Gva> supervisor_regions_;     // 2 MiB regions that hold any of those
    std::unordered_map<PagePair, u32, PagePairHash> cookies_;
    std::unordered_set<Gva> checked_pages_;  // virtual pages that hold checked blocks
    u64 table_bytes_ = 0;                    ///< of the blocks' entries in all these, roughly
    bool supervisor_checked_ = false;
    std::array<bool, EngineData::lanes> used_{};  ///< lanes that have blocks
};

}  // namespace triune::hypervisor::soft::bt
