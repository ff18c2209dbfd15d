// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/bt/tlb_miss.h"

#include <algorithm>

#include "hypervisor/soft/bt/stubs.h"

// This file and what it calls are built without vector registers: the guest's are live.
namespace triune::hypervisor::soft::bt {
namespace {

/// An x87 exception waits for the next x87 or MMX instruction, and goes before its page fault (Intel SDM 3A
/// table 6-2). The guest's x87 state is live here if that is what runs.
bool x87_exception_pending() {
    u16 status;
    asm volatile("fnstsw %0" : "=a"(status));
    return status & 0x80;
}

/// Host address of `gva` for an access of one page's bytes, through the TLB; null when the access
/// must leave translated code: `data` then says why.
u8* host_address(mmu::Mmu& mmu, EngineData& data, u64 gva, bool write, mmu::TlbMode mode) {
    const mmu::TlbEntry& e = mmu.tlb().set[static_cast<unsigned>(mode)][mmu::Tlb::index(gva)];
    const u64 offset = gva ^ (write ? e.write_tag : e.read_tag);
    if (offset < page_size) return reinterpret_cast<u8*>(e.host + offset);
    data.reason = LeaveReason::declined;
    if (!mmu.canonical(gva)) return nullptr;
    mmu.vcpu().counters.add(observe::Counter::tlb_misses);
    const observe::TimedScope timed(mmu.vcpu().counters.time, observe::Activity::tlb_miss);
    const auto t = mmu.fill(gva, write ? mmu::Access::write : mmu::Access::read, mode);
    if (!t) {
        if (x87_exception_pending()) return nullptr;
        data.reason = LeaveReason::page_fault;
        data.fault_address = t.error().address;
        data.fault_code = t.error().error_code;
        return nullptr;
    }
    return t->host && (!write || t->writable) ? t->host : nullptr;
}

}  // namespace

u64 handle_tlb_miss(mmu::Mmu& mmu, EngineData& data, u64 value, u64 index, const u8* resume) {
    const u32 info = TlbMissInfo::at(resume);
    u64 gva = value;
    if (!(info & TlbMissInfo::value_is_address)) {
        const auto& set = mmu.tlb().set[static_cast<unsigned>(TlbMissInfo::mode(info))];
        const mmu::TlbEntry& probed = set[index / sizeof(mmu::TlbEntry)];
        gva ^= TlbMissInfo::write(info) ? probed.write_tag : probed.read_tag;
    }
    const unsigned size = TlbMissInfo::size(info);
    const u8* host = nullptr;
    if ((gva & page_mask) + size > page_size) {
        data.reason = LeaveReason::declined;
    } else {
        host = host_address(mmu, data, gva, TlbMissInfo::write(info), TlbMissInfo::mode(info));
        // Vector operands: the alignment is checked first (#GP), and the reference engine knows which.
        if (!host && size >= 16 && (gva & (size - 1))) data.reason = LeaveReason::declined;
    }
    if (!host) data.miss_at = reinterpret_cast<u64>(resume);
    return reinterpret_cast<u64>(host);
}

namespace {

/// RCX, RSI and RDI of a string instruction, as wide as its addresses.
struct Counters {
    u64 mask;
    [[nodiscard]] u64 get(u64 reg) const { return reg & mask; }
    void set(u64& reg, u64 value) const {
        reg = mask == 0xffff ? (reg & ~mask) | (value & mask) : value & mask;
    }
};

/// Linear address of [offset, offset + size) in `seg`, and how many bytes from there on the segment and the
/// address size allow. 0: not even those.
u64 in_segment(const EngineData& data, unsigned seg, u64 offset, u64 mask, unsigned size, bool write,
               Gva& linear) {
    const EngineData::SegmentBounds& b = data.segment[seg];
    linear = static_cast<u32>(b.base + offset);
    const i64 last = std::min(b.last[write][0], static_cast<i64>(mask));
    const i64 bytes = last - static_cast<i64>(offset) + 1;
    return bytes < static_cast<i64>(size) ? 0 : static_cast<u64>(bytes);
}

}  // namespace

// SAFETY (inline assembly): FNSTSW reads a register; both ranges lie within one page of guest RAM each, as
// host_address gave them.
u64 run_string(mmu::Mmu& mmu, EngineData& data, u32 info) {
    x86::VcpuState& s = mmu.vcpu().state;
    u64 &rcx = s.gpr[x86::rcx], &rsi = s.gpr[x86::rsi], &rdi = s.gpr[x86::rdi];
    const unsigned size = StringInfo::size(info);
    const bool movs = StringInfo::movs(info), rep = StringInfo::rep(info);
    const mmu::TlbMode mode = StringInfo::mode(info);
    data.reason = LeaveReason::declined;
    const bool down = s.rflags & x86::flag::df;
    const unsigned narrow = StringInfo::narrow_bits(info);
    if (down && narrow) return 0;
    const Counters wide{narrow == 16 ? 0xffff : narrow == 32 ? 0xffffffff : ~u64{0}};
    u64 left = rep ? wide.get(rcx) : 1;
    while (left) {
        Gva source = rsi, destination = rdi;
        u64 bytes = ~u64{0};
        if (narrow) {
            bytes = in_segment(data, x86::es, wide.get(rdi), wide.mask, size, true, destination);
            if (movs)
                bytes = std::min(bytes, in_segment(data, StringInfo::segment(info), wide.get(rsi), wide.mask,
                                                   size, false, source));
        }
        // Where the element lies and what of the page is ahead of its begin.
        const auto ahead = [&](Gva at) {
            const u64 offset = at & page_mask;
            return !down ? page_size - offset : offset + size > page_size ? 0 : offset + size;
        };
        bytes = std::min(bytes, ahead(destination));
        if (movs) bytes = std::min(bytes, ahead(source));
        const u64 count = std::min(left, bytes / size);
        if (count == 0) return 0;  // an element crosses a page
        u8* from = nullptr;
        if (movs) {
            from = host_address(mmu, data, source, false, mode);
            if (!from) return 0;
        }
        u8* to = host_address(mmu, data, destination, true, mode);
        if (!to) return 0;
        u64 n = count;
        const u64 rax = s.gpr[x86::rax];
        if (down) asm volatile("std" : : : "cc");
        switch (size | (movs ? 0x100 : 0)) {
            case 0x101: asm volatile("rep movsb" : "+S"(from), "+D"(to), "+c"(n) : : "memory"); break;
            case 0x102: asm volatile("rep movsw" : "+S"(from), "+D"(to), "+c"(n) : : "memory"); break;
            case 0x104: asm volatile("rep movsl" : "+S"(from), "+D"(to), "+c"(n) : : "memory"); break;
            case 0x108: asm volatile("rep movsq" : "+S"(from), "+D"(to), "+c"(n) : : "memory"); break;
            case 1: asm volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(rax) : "memory"); break;
            case 2: asm volatile("rep stosw" : "+D"(to), "+c"(n) : "a"(rax) : "memory"); break;
            case 4: asm volatile("rep stosl" : "+D"(to), "+c"(n) : "a"(rax) : "memory"); break;
            default: asm volatile("rep stosq" : "+D"(to), "+c"(n) : "a"(rax) : "memory"); break;
        }
        if (down) asm volatile("cld" : : : "cc");
        const u64 moved = down ? 0 - count * size : count * size;
        wide.set(rdi, rdi + moved);
        if (movs) wide.set(rsi, rsi + moved);
        left -= count;
        if (rep) wide.set(rcx, left);
        if (left && mmu.vcpu().signals.any()) {
            // An interrupt here finds RF set (Intel SDM 3B 18.3.1.1).
            mmu.vcpu().state.rflags |= x86::flag::rf;
            data.reason = LeaveReason::signalled;
            return 0;
        }
    }
    return 1;
}

}  // namespace triune::hypervisor::soft::bt
