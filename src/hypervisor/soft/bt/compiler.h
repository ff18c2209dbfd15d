// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "hypervisor/soft/bt/block.h"
#include "hypervisor/soft/bt/bt.h"
#include "hypervisor/soft/bt/classify.h"
#include "hypervisor/soft/bt/merge.h"
#include "hypervisor/soft/bt/stubs.h"
#include "hypervisor/soft/bt/table.h"

namespace triune::hypervisor::soft::bt {

/// Memory that compiling a block takes, to be used again by the next.
struct CompilerScratch {
    enum class ColdKind : u8 { probe, group, unmerged, link, leave, leave_entry, jump_miss, string };
    struct Cold {
        ColdKind kind;
        u32 patch = 0, back = 0;
        u32 info = 0;  ///< probe, string
        u64 rip = 0;   ///< unmerged, group, leave, jump_miss, string
        bool constant = false, indexed = false;
        bool stack = false;  ///< probe, group: of Tlb::stack
        u64 address = 0;     ///< probe of a constant address
        u32 exit_id = 0;     ///< link
        LeaveReason reason = LeaveReason::declined;
        AccessPlan plan{};  ///< group: its leader
    };
    std::vector<u64> rips;
    std::vector<u32> live;
    std::vector<Treatment> treatment;
    std::vector<Cold> cold;
    std::vector<HostMapEntry> map;
    AccessPlanner planner;
};

/// Turns the decoded instructions of one block into host code at the emitter's position: entries and
/// body. The cold paths (TLB misses, unlinked exits) go to `cold_at`, far away, so that what runs often
/// is dense in the host's caches. Fills in `block` and appends its exits.
///
///     entry_host_full / entry_host:  save flags        (where flags are wanted in memory)
///     entry_checked:                 mapping still holds?
///     entry_memory:                  signals pending?  vector state loaded?
///                                    restore flags     (where flags are wanted in the host's)
///     entry_host:                    body
class BlockCompiler {
public:
    BlockCompiler(Emitter& emitter, Surroundings& s, Block& block, std::span<const x86::Insn> insns,
                  Table<DirectExit>& exits, const Options& options, CompilerScratch& scratch)
        : e_(emitter),
          s_(s),
          block_(block),
          insns_(insns),
          exits_(exits),
          options_(options),
          rips_(scratch.rips),
          live_(scratch.live),
          treatment_(scratch.treatment),
          cold_(scratch.cold),
          map_(scratch.map),
          planner_(scratch.planner) {}

    /// `declined_after`: the instruction behind the last one is for the reference engine. `cold_at`: where
    /// the cold paths go; moves behind them.
    void compile(bool declined_after, CodeOffset& cold_at);

private:
    enum class Flags : u8 { dead, memory, host };
    using ColdKind = CompilerScratch::ColdKind;
    using Cold = CompilerScratch::Cold;
    /// What a scratch register is known to hold.
    struct Held {
        enum class What : u8 { nothing, pointer, guest } what = What::nothing;
        int number = 0;  ///< pointer: the group; guest: the register
        bool operator==(const Held&) const = default;
    };

    // entries (compiler.cpp)
    [[nodiscard]] FlagsNeed flags_need() const;
    void emit_entries();
    void emit_instruction(size_t i);
    void begin_instruction(size_t i);
    void emit_cold();
    void check_vector(u64 rip);
    void leave_if(u8 condition, LeaveReason reason, u64 rip);
    void leave_entry_if(u8 condition);
    void map_here(size_t i, FlagsAt flags, bool valid);
    void access_here();
    void pack_map();

    // flags (compiler.cpp)
    [[nodiscard]] bool clobbers(size_t i) const;
    [[nodiscard]] bool needs_host_flags(size_t i) const;
    void before_clobber(size_t i);
    void before_execute(size_t i);
    void after_execute(size_t i);

    // memory (compile_memory.cpp)
    void address(const x86::Insn& insn, const x86::Operand& mem, u64 next_rip, bool with_segment,
                 int adjust = 0, const Xbyak::Reg& target = t0());
    Xbyak::Reg64 address_register(i8 guest, const Xbyak::Reg64& scratch);
    void probe(unsigned size, bool write, const AccessPlan& plan = {}, bool indexed = false);
    void index_tlb();
    void probe_stack(unsigned size, bool write, const AccessPlan& plan);
    void look_up_stack(const Cold& c);
    void probe_constant(u64 gva, unsigned size, bool write, const AccessPlan& plan);
    void miss(u32 patch, unsigned size, bool write, const AccessPlan& plan, std::optional<u64> constant);
    int access(size_t i, const x86::Operand& mem, unsigned size, bool write, bool* indexed = nullptr);
    [[nodiscard]] bool leaves_scratch1(size_t i) const;
    int access_stack(size_t i, const Xbyak::Reg64& base, int displacement, bool write);
    // 16- and 32-bit code (compile_narrow.cpp)
    void narrow_offset(const x86::Insn& insn, const x86::Operand& mem, int adjust,
                       const Xbyak::Reg32& target);
    enum class Range : u8 { access, leader, whole };  ///< whole: a range that must not wrap, without a leader
    void narrow_linear(unsigned seg, unsigned address_bits, unsigned bytes, bool write, Range range);
    void narrow_fixed(unsigned seg, u32 offset, unsigned bytes, bool write);
    int narrow_access(size_t i, const x86::Operand& mem, unsigned size, bool write, bool* indexed);
    void narrow_lea(size_t i);
    void narrow_loop(size_t i);
    void narrow_leave(size_t i);
    void load_segment(size_t i);
    void push_all(size_t i);
    void pop_all(size_t i);
    void all_registers(size_t i, int displacement, bool write);
    void check_branch_target();
    void load_key();
    int keep_pointer(const AccessPlan& plan);
    int use_pointer(const AccessPlan& plan);
    void emit_group_cold(const Cold& c);
    void call_miss_helper(u32 info);
    void go_on_unmerged(u64 rip, u32 patch);
    [[nodiscard]] const AccessPlan& plan(size_t i, AccessKind kind) const {
        return planner_.plans()[i][static_cast<size_t>(kind)];
    }
    /// Needs no probe of its own.
    [[nodiscard]] bool follows(size_t i, AccessKind kind) const {
        return plan(i, kind).group >= 0 && !plan(i, kind).leader;
    }

    // MOVS and STOS (compile_string.cpp)
    void string(size_t i);
    void call_string_helper(u32 info);
    void to_string_helper(u8 condition);
    void single_string(unsigned size, bool movs);
    void repeated_string(unsigned size, bool movs);
    void probe_elements(const Xbyak::Reg64& address, unsigned size, bool write);

    // what the scratch registers hold (compile_memory.cpp)
    Held& held(u8 scratch) { return held_[scratch - scratch0]; }
    void forget(u8 scratch) { held(scratch) = {}; }
    void forget_scratch() { held_ = {}; }
    void forget_guest(u8 guest);
    void hold_guest(u8 scratch, u8 guest);
    [[nodiscard]] std::optional<u8> scratch_with(u8 guest) const;

    // instructions (compile_insn.cpp, compile_branch.cpp)
    void copy(size_t i);
    void copy_high_byte(const x86::Insn& insn, int displacement);
    bool move(size_t i);
    struct ScratchAssignment {
        std::array<i8, 10> host{-1, -1, -1, -1, -1, -1, -1, -1, -1, -1};  ///< by operand
    };
    [[nodiscard]] ScratchAssignment assign(const x86::Insn& insn, bool address_taken) const;
    void lea(size_t i);
    void bit_string(size_t i);
    void moffs(size_t i);
    void push(size_t i);
    void pop(size_t i);
    // runs of pushes and pops (compile_stack.cpp)
    [[nodiscard]] size_t run_length(size_t i) const;
    void emit_run(size_t i, size_t count);
    void store_pushed(const x86::Insn& insn, int displacement);
    void load_popped(const x86::Insn& insn, int displacement);
    void move_rsp(int bytes);
    void leave(size_t i);
    // compile_system.cpp
    void set_rflags(size_t i, u32 bits, bool set);
    void sti(size_t i);
    void pushf(size_t i);
    void swapgs();
    void rdtsc(size_t i);
    void read_segment(size_t i);
    void set_ac(size_t i);
    void system(size_t i);

    void jump_indirect(size_t i);
    void conditional(size_t i);
    void loop(size_t i);
    void call(size_t i);
    void call_indirect(size_t i);
    void ret(size_t i);
    void load_branch_target(size_t i);
    void check_canonical(u64 rip);
    void emit_jump_miss(const Cold& c);
    void load_narrow_target(const x86::Insn& insn, const Xbyak::Address& from);
    void push_return_address(size_t i);
    void return_site(size_t i);

    void exit_to(u64 target, u32 patch, FlagsAt flags);
    [[nodiscard]] const NarrowMode* narrow() const { return block_.narrow; }
    [[nodiscard]] u64 next_rip(size_t i) const {
        const u64 rip = rips_[i] + insns_[i].length;
        return narrow() ? static_cast<u32>(rip) : rip;
    }
    [[nodiscard]] u64 branch_target(size_t i) const { return bt::branch_target(insns_[i], rips_[i]); }
    /// What the instruction pushes or pops.
    [[nodiscard]] unsigned slot_bytes(size_t i) const { return narrow() ? insns_[i].operand_bits / 8u : 8; }
    [[nodiscard]] unsigned mode() const { return static_cast<unsigned>(block_.mode); }
    [[nodiscard]] unsigned lane() const { return block_.lane(); }
    [[nodiscard]] FlagsAt exit_flags() const {
        return flags_ == Flags::host ? FlagsAt::host : FlagsAt::memory;
    }

    static Xbyak::Reg64 t0() { return Xbyak::Reg64(scratch0); }
    static Xbyak::Reg64 t1() { return Xbyak::Reg64(scratch1); }
    static Xbyak::Reg64 guest_rsp() { return Xbyak::Reg64(host_of_rsp); }

    Emitter& e_;
    Surroundings& s_;
    Block& block_;
    std::span<const x86::Insn> insns_;
    Table<DirectExit>& exits_;
    const Options& options_;
    std::vector<u64>& rips_;
    std::vector<u32>& live_;
    std::vector<Treatment>& treatment_;
    std::vector<Cold>& cold_;
    std::vector<HostMapEntry>& map_;
    AccessPlanner& planner_;
    Flags flags_ = Flags::dead;
    bool ended_ = false;
    std::array<Held, 2> held_{};
    bool vector_ = false, avx_ = false;
    bool sti_ = false;  ///< the block contains STI: an interrupt may be due behind it
    u64 current_rip_ = 0;
};

}  // namespace triune::hypervisor::soft::bt
