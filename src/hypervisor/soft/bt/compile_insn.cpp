// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include <optional>

#include "hypervisor/soft/bt/compiler.h"

namespace triune::hypervisor::soft::bt {

using x86::Insn;
using x86::Operand;
using x86::OperandField;
using x86::OperandKind;

namespace {

/// Guest registers that live in memory get a scratch register for the time of one instruction.
class ScratchAssignment {
public:
    explicit ScratchAssignment(bool address_taken) : address_taken_(address_taken) {}

    /// For a value that the instruction reads (or keeps part of).
    std::optional<u8> for_source(u8 guest) {
        if (auto r = find(guest)) return r;
        const u8 first = address_taken_ ? scratch1 : scratch0;
        for (u8 r = first; r <= scratch1; ++r)
            if (!owner_[r - scratch0]) {
                owner_[r - scratch0] = guest + 1;
                return r;
            }
        return std::nullopt;
    }
    /// For a value that it only writes: the address and the sources are dead by then.
    std::optional<u8> for_destination(u8 guest) {
        if (auto r = find(guest)) return r;
        for (u8 r = scratch1; r >= scratch0; --r)
            if (!destination_[r - scratch0] || destination_[r - scratch0] == guest + 1) {
                destination_[r - scratch0] = guest + 1;
                return r;
            }
        return std::nullopt;
    }

private:
    [[nodiscard]] std::optional<u8> find(u8 guest) const {
        for (u8 k = 0; k < 2; ++k)
            if (owner_[k] == guest + 1) return static_cast<u8>(scratch0 + k);
        return std::nullopt;
    }
    bool address_taken_;
    std::array<u8, 2> owner_{}, destination_{};
};

bool keeps_part(const Operand& o) { return o.read || o.conditional_write || o.bits < 32; }

bool has_high_byte(const Insn& insn) {
    for (u8 n = 0; n < insn.operand_count; ++n)
        if (insn.op[n].kind == OperandKind::gpr && insn.op[n].high8 && insn.op[n].is_explicit) return true;
    return false;
}

void rename(Renaming& renaming, OperandField field, u8 host) {
    switch (field) {
        case OperandField::modrm_reg: renaming.reg = host; break;
        case OperandField::modrm_rm: renaming.rm = host; break;
        case OperandField::vvvv: renaming.vvvv = host; break;
        case OperandField::opcode: renaming.opcode = host; break;
        default: break;
    }
}

}  // namespace

void BlockCompiler::copy(size_t i) {
    const Insn& insn = insns_[i];
    const Operand* mem = insn.memory();
    if (mem) {
        before_clobber(i);
        access(i, *mem, mem->bits / 8, mem->written);
    }
    before_execute(i);
    Renaming renaming;
    if (mem) renaming.base = scratch0;
    if (mem && has_high_byte(insn)) {
        copy_high_byte(insn);
        after_execute(i);
        return;
    }

    ScratchAssignment scratch(mem != nullptr);
    std::array<i8, 10> host;
    host.fill(-1);
    for (const bool sources : {true, false}) {
        for (u8 n = 0; n < insn.operand_count; ++n) {
            const Operand& o = insn.op[n];
            if (o.kind != OperandKind::gpr || !o.is_explicit || o.high8 || keeps_part(o) != sources) continue;
            if (!lives_in_memory(o.reg)) {
                host[n] = host_of_guest[o.reg];
            } else {
                const auto r = sources ? scratch.for_source(o.reg) : scratch.for_destination(o.reg);
                // classify() lets no instruction through that needs more than there are.
                host[n] = static_cast<i8>(r.value_or(scratch1));
                if (sources) e_.mov(Xbyak::Reg64(host[n]), e_.qword_at(s_.vcpu.state.gpr[o.reg]));
            }
            rename(renaming, o.field, static_cast<u8>(host[n]));
        }
    }
    block_.map.back().host = e_.offset() - block_.begin;
    encode(e_, insn, renaming);
    for (u8 n = 0; n < insn.operand_count; ++n) {
        const Operand& o = insn.op[n];
        if (o.kind == OperandKind::gpr && o.is_explicit && o.written && host[n] >= 0 &&
            lives_in_memory(o.reg))
            e_.mov(e_.qword_at(s_.vcpu.state.gpr[o.reg]), Xbyak::Reg64(host[n]));
    }
    after_execute(i);
}

/// AH, CH, DH and BH cannot be named beside a REX prefix, which [scratch0] needs: RDI stands in.
void BlockCompiler::copy_high_byte(const Insn& insn) {
    using namespace Xbyak::util;
    e_.mov(e_.qword_at(s_.data.spill), rdi);
    e_.mov(rdi, t0());
    Renaming renaming;
    renaming.base = 7;
    encode(e_, insn, renaming);
    e_.mov(rdi, e_.qword_at(s_.data.spill));
}

void BlockCompiler::lea(size_t i) {
    const Insn& insn = insns_[i];
    const Operand& to = insn.op[0];
    const Operand& mem = insn.op[1];
    const bool plain = insn.address_bits == 64 && to.bits == 64 && !lives_in_memory(to.reg) &&
                       mem.base >= 0 && mem.base != x86::base_rip &&
                       !lives_in_memory(static_cast<u8>(mem.base)) &&
                       (mem.index < 0 || !lives_in_memory(static_cast<u8>(mem.index)));
    if (plain) {
        const Xbyak::Reg64 base = host_reg(static_cast<u8>(mem.base));
        const int disp = static_cast<int>(mem.disp);
        if (mem.index < 0) {
            e_.lea(host_reg(to.reg), e_.ptr[base + disp]);
        } else {
            e_.lea(host_reg(to.reg), e_.ptr[base + host_reg(static_cast<u8>(mem.index)) * mem.scale + disp]);
        }
        return;
    }
    address(insn, mem, next_rip(i), false);
    if (to.bits == 32) e_.mov(t0().cvt32(), t0().cvt32());
    if (!lives_in_memory(to.reg)) {
        if (to.bits == 16) {
            e_.mov(host_reg(to.reg).cvt16(), t0().cvt16());
        } else {
            e_.mov(host_reg(to.reg), t0());
        }
    } else if (to.bits == 16) {
        e_.mov(e_.word[reinterpret_cast<const void*>(&s_.vcpu.state.gpr[to.reg])], t0().cvt16());
    } else {
        e_.mov(e_.qword_at(s_.vcpu.state.gpr[to.reg]), t0());
    }
}

/// The register's upper bits select an operand-sized word relative to the address (Intel SDM 2A BT).
void BlockCompiler::bit_string(size_t i) {
    const Insn& insn = insns_[i];
    const Operand& mem = insn.op[0];
    const u8 bit_reg = insn.op[1].reg;
    const bool wide = insn.operand_bits == 64;
    before_clobber(i);
    const auto load_offset = [&] {
        if (wide) {
            if (lives_in_memory(bit_reg)) {
                e_.mov(t1(), e_.qword_at(s_.vcpu.state.gpr[bit_reg]));
            } else {
                e_.mov(t1(), host_reg(bit_reg));
            }
        } else if (lives_in_memory(bit_reg)) {
            e_.movsxd(t1(), e_.dword_at(s_.vcpu.state.gpr[bit_reg]));
        } else {
            e_.movsxd(t1(), host_reg(bit_reg).cvt32());
        }
    };
    load_offset();
    e_.and_(t1().cvt32(), wide ? 63 : 31);
    e_.mov(e_.qword_at(s_.data.spill), t1());
    address(insn, mem, next_rip(i), true);
    load_offset();
    e_.sar(t1(), wide ? 6 : 5);
    e_.lea(t0(), e_.ptr[t0() + t1() * (wide ? 8 : 4)]);
    if (insn.address_bits == 32) e_.mov(t0().cvt32(), t0().cvt32());
    probe(wide ? 8 : 4, insn.mnemonic != ZYDIS_MNEMONIC_BT);
    before_execute(i);
    e_.mov(t1(), e_.qword_at(s_.data.spill));
    block_.map.back().host = e_.offset() - block_.begin;
    Renaming renaming;
    renaming.reg = scratch1;
    renaming.base = scratch0;
    encode(e_, insn, renaming);
    after_execute(i);
}

void BlockCompiler::moffs(size_t i) {
    using namespace Xbyak::util;
    const Insn& insn = insns_[i];
    const Operand& mem = *insn.memory();
    before_clobber(i);
    access(i, mem, mem.bits / 8, mem.written);
    before_execute(i);
    const Xbyak::Reg accumulator = mem.bits == 8    ? Xbyak::Reg(al)
                                   : mem.bits == 16 ? Xbyak::Reg(ax)
                                   : mem.bits == 32 ? Xbyak::Reg(eax)
                                                    : Xbyak::Reg(rax);
    if (mem.written) {
        e_.mov(e_.ptr[t0()], accumulator);
    } else {
        e_.mov(accumulator, e_.ptr[t0()]);
    }
}

void BlockCompiler::leave(size_t i) {
    using namespace Xbyak::util;
    before_clobber(i);
    e_.mov(t0(), rbp);
    probe(8, false);
    before_execute(i);
    e_.lea(guest_rsp(), e_.ptr[rbp + 8]);
    e_.mov(rbp, e_.ptr[t0()]);
}

}  // namespace triune::hypervisor::soft::bt
