// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/bt/merge.h"

#include <algorithm>
#include <optional>

#include "x86/vcpu_state.h"

namespace triune::hypervisor::soft::bt {

using x86::Insn;
using x86::Operand;
using x86::OperandKind;

namespace {

/// The longer a range, the more often it lies across a page boundary.
constexpr i64 max_range = 256;
/// Displacements further than this from a root are not worth tracking.
constexpr i64 max_offset = i64{1} << 30;
/// Canonical addresses are well within this.
constexpr i64 max_address = i64{1} << 60;

/// A register's value: an unknown one (`root`) plus a constant.
struct Value {
    u32 root = 0;
    i64 offset = 0;
};

}  // namespace

/// The values of the guest's registers in the course of a block.
class AccessPlanner::Values {
public:
    explicit Values(const NarrowMode* narrow) : narrow_(narrow) {
        for (Value& v : gpr_) v = fresh();
        forget_segments();
    }
    void forget() {
        for (Value& v : gpr_) v = fresh();
        forget_segments();
    }
    void forget_segments() {
        for (u32& s : segments_) s = next_++;
    }

    [[nodiscard]] Address stack(u8 reg, i64 offset) const {
        Key key{gpr_[reg].root, 0, 0, 0};
        if (narrow_) {
            key.segment = segment(x86::ss);
            key.bits = narrow_->stack_bits;
        }
        return {key, gpr_[reg].offset + offset};
    }

    [[nodiscard]] std::optional<Address> of(const Insn& insn, const Operand& mem, u64 next_rip) const {
        if (mem.vsib || mem.disp > max_address || mem.disp < -max_address) return std::nullopt;
        if (narrow_) return narrow(insn, mem);
        if (insn.address_bits != 64) return std::nullopt;
        if ((mem.base >= 0 || mem.index >= 0) && (mem.disp > max_offset || mem.disp < -max_offset))
            return std::nullopt;
        Address a{{}, mem.disp};
        if (mem.base == x86::base_rip) {
            a.offset = static_cast<i64>(next_rip + static_cast<u64>(mem.disp));
        } else if (mem.base >= 0) {
            a.key.base = gpr_[static_cast<u8>(mem.base)].root;
            a.offset += gpr_[static_cast<u8>(mem.base)].offset;
        }
        if (mem.index >= 0) {
            a.key.index = gpr_[static_cast<u8>(mem.index)].root;
            a.key.scale = mem.scale;
            a.offset += gpr_[static_cast<u8>(mem.index)].offset * mem.scale;
        }
        if (mem.segment >= x86::fs) a.key.segment = segments_[mem.segment];
        return a;
    }

    void execute(const Insn& insn, Treatment treatment) {
        switch (treatment) {
            case Treatment::push:
            case Treatment::pushf: gpr_[x86::rsp].offset -= slot(insn); return;
            case Treatment::pop:
                gpr_[x86::rsp].offset += slot(insn);
                gpr_[insn.op[0].reg] = fresh();
                return;
            case Treatment::leave:
                gpr_[x86::rsp] = gpr_[x86::rbp];
                gpr_[x86::rsp].offset += slot(insn);
                gpr_[x86::rbp] = fresh();
                return;
            case Treatment::swapgs: forget_segments(); return;
            case Treatment::pop_all:
                for (Value& v : gpr_) v = fresh();
                return;
            case Treatment::push_all: gpr_[x86::rsp] = fresh(); return;
            case Treatment::load_segment: forget_segments(); break;
            default: break;
        }
        if (const auto v = result(insn)) {
            gpr_[insn.op[0].reg] = *v;
            return;
        }
        for (u8 n = 0; n < insn.operand_count; ++n)
            if (insn.op[n].kind == OperandKind::gpr && insn.op[n].written) gpr_[insn.op[n].reg] = fresh();
    }

    /// Bytes that the instruction pushes or pops.
    [[nodiscard]] unsigned slot(const Insn& insn) const { return narrow_ ? insn.operand_bits / 8u : 8; }

private:
    Value fresh() { return {next_++, 0}; }
    [[nodiscard]] u32 segment(u8 seg) const { return narrow_->is_flat(seg) ? 0 : segments_[seg]; }
    /// SP changes without ESP.
    [[nodiscard]] bool untracked(i8 reg) const { return reg == x86::rsp && narrow_->stack_bits == 16; }

    [[nodiscard]] std::optional<Address> narrow(const Insn& insn, const Operand& mem) const {
        Address a{{}, mem.disp};
        a.key.segment = segment(mem.segment);
        a.key.bits = insn.address_bits;
        if (mem.base < 0 && mem.index < 0) {
            a.offset = insn.address_bits == 16 ? static_cast<u16>(mem.disp) : static_cast<u32>(mem.disp);
            if (insn.address_bits == 32) a.key.bits = 64;
            return a;
        }
        if (mem.disp > max_offset || mem.disp < -max_offset || untracked(mem.base) || untracked(mem.index))
            return std::nullopt;
        if (mem.base >= 0) {
            a.key.base = gpr_[static_cast<u8>(mem.base)].root;
            a.offset += gpr_[static_cast<u8>(mem.base)].offset;
        }
        if (mem.index >= 0) {
            a.key.index = gpr_[static_cast<u8>(mem.index)].root;
            a.key.scale = mem.scale;
            a.offset += gpr_[static_cast<u8>(mem.index)].offset * mem.scale;
        }
        return a;
    }

    /// What a 64-bit move, addition of a constant or LEA leaves in its first operand.
    [[nodiscard]] std::optional<Value> result(const Insn& insn) const {
        const Operand &to = insn.op[0], &from = insn.op[1];
        const unsigned bits = narrow_ ? 32 : 64;
        if (to.kind != OperandKind::gpr || to.bits != bits || insn.lock) return std::nullopt;
        if (narrow_ && untracked(static_cast<i8>(to.reg))) return std::nullopt;
        Value v = gpr_[to.reg];
        switch (insn.mnemonic) {
            case ZYDIS_MNEMONIC_MOV:
                if (from.kind != OperandKind::gpr || (narrow_ && untracked(static_cast<i8>(from.reg))))
                    return std::nullopt;
                return gpr_[from.reg];
            case ZYDIS_MNEMONIC_ADD:
                if (from.kind != OperandKind::imm) return std::nullopt;
                v.offset += from.disp;
                break;
            case ZYDIS_MNEMONIC_SUB:
                if (from.kind != OperandKind::imm) return std::nullopt;
                v.offset -= from.disp;
                break;
            case ZYDIS_MNEMONIC_INC: ++v.offset; break;
            case ZYDIS_MNEMONIC_DEC: --v.offset; break;
            case ZYDIS_MNEMONIC_LEA:
                if (insn.address_bits != bits || from.base < 0 || from.base == x86::base_rip ||
                    from.index >= 0 || (narrow_ && untracked(from.base)))
                    return std::nullopt;
                v = gpr_[static_cast<u8>(from.base)];
                v.offset += from.disp;
                break;
            default: return std::nullopt;
        }
        if (v.offset > max_offset || v.offset < -max_offset) return std::nullopt;
        return v;
    }

    const NarrowMode* narrow_;
    u32 next_ = 1;
    std::array<Value, 16> gpr_;
    std::array<u32, 6> segments_{};
};

void AccessPlanner::access(const Address& a, unsigned size, bool write, size_t insn, AccessKind kind) {
    const i64 end = a.offset + static_cast<i64>(size);
    Member member{static_cast<u16>(insn), kind, 0, a.offset};
    for (size_t g = groups_.size(); g-- > open_;) {
        Group& group = groups_[g];
        if (!(group.key == a.key) || (write && !group.write)) continue;
        const i64 low = std::min(group.low, a.offset), high = std::max(group.high, end);
        if (high - low > max_range) continue;
        // A constant address: here one knows whether the range crosses a page.
        if (group.key == Key{} && (low ^ (high - 1)) & ~static_cast<i64>(page_mask)) continue;
        group.low = low, group.high = high;
        ++group.members;
        member.group = static_cast<u16>(g);
        members_.push_back(member);
        return;
    }
    member.group = static_cast<u16>(groups_.size());
    members_.push_back(member);
    groups_.push_back({a.key, write, false, 1, -1, a.offset, end});
}

void AccessPlanner::finish(unsigned slots) {
    i16 number = 0;
    for (Group& g : groups_)
        if (g.members >= 2 && static_cast<unsigned>(number) < slots) g.number = number++;
    for (const Member& m : members_) {
        Group& g = groups_[m.group];
        if (g.number < 0) continue;
        AccessPlan& p = plans_[m.insn][static_cast<size_t>(m.kind)];
        p.group = g.number;
        p.slot = static_cast<u8>(g.number);
        p.leader = !g.led;
        g.led = true;
        p.offset = static_cast<u16>(m.offset - g.low);
        p.bytes = static_cast<u16>(g.high - g.low);
    }
}

const AccessPlans& AccessPlanner::plan(std::span<const Insn> insns, std::span<const Treatment> treatment,
                                       u64 rip, const NarrowMode* narrow, unsigned slots) {
    plan_none(insns.size());
    groups_.clear();
    members_.clear();
    open_ = 0;
    Values values(narrow);
    for (size_t i = 0; i < insns.size(); ++i) {
        const Insn& insn = insns[i];
        rip += insn.length;
        const Operand* mem = insn.memory();
        const auto operand = [&](unsigned size, bool write) {
            if (const auto a = values.of(insn, *mem, rip)) access(*a, size, write, i, AccessKind::operand);
        };
        const unsigned slot = values.slot(insn);
        const auto stack = [&](u8 reg, i64 offset, bool write) {
            access(values.stack(reg, offset), slot, write, i, AccessKind::stack);
        };
        const i64 pushed = -static_cast<i64>(slot);
        switch (treatment[i]) {
            case Treatment::copy:
            case Treatment::moffs:
                if (mem) operand(mem->bits / 8, mem->written);
                break;
            case Treatment::jump_indirect:
                if (insn.op[0].kind == OperandKind::mem) operand(slot, false);
                break;
            case Treatment::push:
                if (insn.op[0].kind == OperandKind::mem) operand(slot, false);
                stack(x86::rsp, pushed, true);
                break;
            case Treatment::pushf: stack(x86::rsp, pushed, true); break;
            case Treatment::pop:
            case Treatment::ret: stack(x86::rsp, 0, false); break;
            case Treatment::leave: stack(x86::rbp, 0, false); break;
            case Treatment::call_indirect:
                if (insn.op[0].kind == OperandKind::mem) operand(slot, false);
                [[fallthrough]];
            case Treatment::call:
                stack(x86::rsp, pushed, true);
                close();
                values.forget();
                continue;
            default: break;
        }
        values.execute(insn, treatment[i]);
    }
    finish(slots);
    return plans_;
}

}  // namespace triune::hypervisor::soft::bt
