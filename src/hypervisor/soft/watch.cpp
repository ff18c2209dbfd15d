// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/watch.h"

#include "base/bits.h"
#include "hypervisor/describe.h"

namespace triune::hypervisor::soft {
namespace {

using base::low_mask;

Gva linear_address(const x86::VcpuState& s, const x86::Insn& insn, const x86::Operand& op) {
    u64 offset = static_cast<u64>(op.disp);
    if (op.base == x86::base_rip)
        offset += s.rip + insn.length;
    else if (op.base >= 0)
        offset += s.gpr[static_cast<size_t>(op.base)];
    if (op.index >= 0 && !op.vsib) offset += s.gpr[static_cast<size_t>(op.index)] * op.scale;
    offset &= low_mask(insn.address_bits);
    const u64 base = s.seg[op.segment].base;
    if (insn.code == x86::CodeSize::bits64) return op.segment >= x86::fs ? base + offset : offset;
    return (base + offset) & low_mask(32);
}

}  // namespace

void Watch::before(const x86::VcpuState& s, mmu::Mmu& mmu) {
    accesses_.clear();
    const auto fetched = mmu.fetch(code_address(s));
    x86::Insn insn;
    const x86::CodeSize size = s.code64()            ? x86::CodeSize::bits64
                               : s.seg[x86::cs].db() ? x86::CodeSize::bits32
                                                     : x86::CodeSize::bits16;
    if (!fetched ||
        x86::decode({fetched->bytes.data(), fetched->available}, size, insn) != x86::DecodeStatus::ok)
        return;
    rcx_ = s.gpr[x86::rcx];
    backwards_ = s.rflags & x86::flag::df;
    for (u8 i = 0; i < insn.operand_count; ++i) {
        const x86::Operand& op = insn.op[i];
        if (op.kind != x86::OperandKind::mem || op.agen) continue;
        const u64 bytes = op.bits / 8;
        Gva at = linear_address(s, insn, op);
        // A push's operand is described as it is before the stack pointer goes down.
        if (!op.is_explicit && op.base == x86::rsp && op.written) at -= bytes;
        accesses_.push_back({at, bytes, op.read, op.written, insn.rep || insn.repne});
    }
}

std::optional<Debug> Watch::after(const x86::VcpuState& s) {
    for (const Access& a : accesses_) {
        // One step may be several iterations of a string instruction.
        const u64 count = a.repeats ? rcx_ - s.gpr[x86::rcx] : 1;
        if (count == 0) continue;
        const u64 bytes = a.bytes * count;
        const Gva first = backwards_ && a.repeats ? a.address - (bytes - a.bytes) : a.address;
        for (const Watchpoint& w : points_) {
            const bool wanted = (a.write && w.write) || (a.read && w.read);
            if (wanted && (first - w.address < w.size || w.address - first < bytes))
                return Debug{Debug::Cause::watchpoint, w.address, a.write && w.write};
        }
    }
    accesses_.clear();
    return {};
}

}  // namespace triune::hypervisor::soft
