// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <span>
#include <vector>

#include "hypervisor/soft/bt/classify.h"
#include "x86/insn.h"

namespace triune::hypervisor::soft::bt {

/// What an instruction does to memory through its ModRM operand, and through RSP (or LEAVE's RBP).
enum class AccessKind : u8 { operand, stack };

/// How one access gets its host address. Accesses whose addresses differ by a constant known at
/// translation time form a group: the first one (its leader) probes the TLB for the range that covers
/// them all, and the host address of the range's low end serves the others until the block ends or
/// calls. A group never mixes a leader that only reads with members that write.
///
///     mov rax, [rbx+8]     leader: probes [rbx+8, rbx+32)      0xc: its low end
///     mov rcx, [rbx+16]    member: offset 8
///     add rbx, 8
///     mov edx, [rbx+20]    member: offset 20
struct AccessPlan {
    i16 group = -1;  ///< -1: on its own
    bool leader = false;
    u8 slot = 0;     ///< where the group's host address is kept
    u16 offset = 0;  ///< of this access from the range's low end
    u16 bytes = 0;   ///< leader: length of the range
};

using AccessPlans = std::vector<std::array<AccessPlan, 2>>;

/// Plans by instruction and AccessKind. `rip`: of the first instruction. `narrow`: null for 64-bit code.
/// `slots`: how many groups there is room for.
///
/// In 16- and 32-bit code distances are modulo the address size. A range that wraps is no problem: at 4 GiB
/// there is a page boundary, and code that uses 16-bit addresses looks for it.
class AccessPlanner {
public:
    const AccessPlans& plan(std::span<const x86::Insn> insns, std::span<const Treatment> treatment, u64 rip,
                            const NarrowMode* narrow, unsigned slots);
    /// Every access is on its own.
    void plan_none(size_t insns) { plans_.assign(insns, {}); }
    [[nodiscard]] const AccessPlans& plans() const { return plans_; }

private:
    /// What an address is relative to. Root 0: no register.
    struct Key {
        u32 base = 0, index = 0;
        u8 scale = 0;
        u32 segment = 0;  ///< 0: base zero
        u8 bits = 64;     ///< of the address; a constant one of 32 bits counts as 64
        bool operator==(const Key&) const = default;
    };
    struct Address {
        Key key;
        i64 offset = 0;
    };
    struct Member {
        u16 insn;
        AccessKind kind;
        u16 group;
        i64 offset;
    };
    struct Group {
        Key key;
        bool write;
        bool led;  ///< a member has been seen
        u16 members;
        i16 number;  ///< of those with more than one member, -1: none
        i64 low, high;
    };
    class Values;
    void access(const Address& a, unsigned size, bool write, size_t insn, AccessKind kind);
    /// Other code runs before the block goes on: host addresses do not outlive it.
    void close() { open_ = groups_.size(); }
    void finish(unsigned slots);

    AccessPlans plans_;
    // Kept for the next block.
    std::vector<Group> groups_;
    std::vector<Member> members_;
    size_t open_ = 0;
};

}  // namespace triune::hypervisor::soft::bt
