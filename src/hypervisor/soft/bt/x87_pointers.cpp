// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/bt/x87_pointers.h"

#include <cstring>
#include <optional>

#include "hypervisor/soft/bt/host_map.h"

namespace triune::hypervisor::soft::bt {
namespace {

/// In the XSAVE area (Intel SDM 1 13.4.1) and in FNSTENV's 32-bit image (8.1.10).
constexpr unsigned fsw_at = 2, fop_at = 6, fip_at = 8, fdp_at = 16, header_at = 512;
constexpr unsigned env_fip = 3, env_fop = 4, env_fdp = 5;  // dwords
constexpr u16 summary = 0x80;

template <class T>
T get(const u8* at) {
    T v;
    std::memcpy(&v, at, sizeof v);
    return v;
}

}  // namespace

X87Pointers::Pointers X87Pointers::load() const {
    const u8* const area = vcpu_.state.xsave.data();
    return {get<u16>(area + fop_at), get<u64>(area + fip_at), get<u64>(area + fdp_at)};
}
void X87Pointers::store(const Pointers& p) {
    u8* const area = vcpu_.state.xsave.data();
    std::memcpy(area + fop_at, &p.fop, sizeof p.fop);
    std::memcpy(area + fip_at, &p.fip, sizeof p.fip);
    std::memcpy(area + fdp_at, &p.fdp, sizeof p.fdp);
}

void X87Pointers::enter() {
    entered_ = get<u64>(vcpu_.state.xsave.data() + header_at) & 1;
    if (!entered_) return;  // XRSTOR clears the pointers
    kept_ = load();
    store({0, stand_in_, stand_in_});
}

void X87Pointers::leave(bool look, const x86::InsnSet& set) {
    const u8* const area = vcpu_.state.xsave.data();
    if (!(get<u64>(area + header_at) & 1)) return;
    // What XSAVE has saved is whole; FNSTENV's is there always.
    const Pointers saved = load();
    Pointers host{static_cast<u16>(data_.x87[env_fop] >> 16 & 0x7ff), data_.x87[env_fip], data_.x87[env_fdp]};
    const bool whole = saved.fip != 0 && saved.fip == host.fip;
    if (whole) host.fdp = saved.fdp;
    const bool pending = get<u16>(area + fsw_at) & summary;
    const bool unchanged = entered_ && host.fip == stand_in_;
    store(unchanged ? kept_ : guests(host, whole, look || pending, set));
}

X87Pointers::Pointers X87Pointers::guests(const Pointers& host, bool whole_fdp, bool look,
                                          const x86::InsnSet& set) {
    const u64 code = reinterpret_cast<u64>(arena_.code());
    if (host.fip < code || host.fip >= code + arena_.code_bytes()) return {};
    const CodeOffset at = static_cast<CodeOffset>(host.fip - code);
    const Block* const block = cache_.at(at);
    if (!block) return {};
    std::optional<HostMapEntry> entry;
    HostMapReader map(arena_.code() + block->map);
    for (unsigned n = 0; n < block->map_entries; ++n) {
        const HostMapEntry m = map.next();
        if (m.host > at - block->begin) break;
        entry = m;
    }
    if (!entry) return {};
    Pointers p;
    p.fip = block->rip + entry->guest;
    // Which registers make its address is the guest's matter: FOP and the segment are in its bytes.
    std::array<u8, 15> bytes{};
    const Gpa gpa = block->gpa + entry->guest;
    const u64 in_page = page_size - (gpa & page_mask);
    const u64 first = std::min<u64>(bytes.size(), in_page);
    (void)vcpu_.memory->read(gpa, bytes.data(), first);
    if (block->crosses) (void)vcpu_.memory->read(block->second_page, &bytes[first], bytes.size() - first);
    x86::Insn insn;
    const x86::CodeSize size = block->narrow ? block->narrow->code : x86::CodeSize::bits64;
    if (x86::decode(bytes, size, insn, set) != x86::DecodeStatus::ok) return p;  // overwritten since
    p.fop = static_cast<u16>((insn.opcode & 7) << 8 | insn.modrm);
    const x86::Operand* const m = insn.memory();
    if (entered_ && host.fdp == stand_in_) {  // no instruction had a memory operand
        p.fdp = kept_.fdp;
        return p;
    }
    const Gva gva = gva_of(host.fdp, whole_fdp, block->mode, look);
    const unsigned segment = m ? m->segment : unsigned{x86::ds};
    const bool based = block->narrow || segment >= x86::fs;
    p.fdp = gva && based ? gva - vcpu_.state.seg[segment].base : gva;
    if (block->narrow) p.fdp = static_cast<u32>(p.fdp);
    return p;
}

Gva X87Pointers::gva_of(u64 host, bool whole, mmu::TlbMode mode, bool look) {
    if (host == 0) return 0;
    const u64 page = host & ~page_mask, relevant = whole ? ~u64{0} : u64{0xffffffff};
    const auto& set = tlb_.set[static_cast<unsigned>(mode)];
    const auto matches = [&](unsigned i, Gva& gva) {
        const mmu::TlbEntry& e = set[i];
        if ((e.host ^ page) & relevant) return false;
        for (const u64 tag : {e.read_tag, e.write_tag})
            if (mmu::Tlb::index(tag) == i) {
                gva = last_page_ = tag & ~page_mask;
                return true;
            }
        return false;
    };
    Gva gva = 0;
    bool found = matches(mmu::Tlb::index(last_page_), gva);
    for (unsigned i = 0; look && !found && i < mmu::Tlb::entries; ++i) found = matches(i, gva);
    return found ? gva | (host & page_mask) : 0;
}

}  // namespace triune::hypervisor::soft::bt
