// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
//
// Page tables full of anything, every paging mode and every control bit: the walker against a second one
// that is written straight from Intel SDM 3A 4.3-4.7, slow and separate.
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "hypervisor/soft/mmu/mmu.h"
#include "hypervisor/soft/mmu/walk.h"

namespace {

using namespace triune;
using namespace triune::hypervisor::soft;
using mmu::Access;
using mmu::TlbMode;

constexpr u64 ram = 64 << 10;
constexpr unsigned phys_bits = 40;

struct Input {
    const u8* at;
    const u8* end;
    u8 byte() { return at == end ? u8{0} : *at++; }
    u64 number(unsigned bytes) {
        u64 v = 0;
        for (unsigned i = 0; i < bytes; ++i) v |= u64{byte()} << 8 * i;
        return v;
    }
};

struct Expected {
    bool fault = false;
    u32 code = 0;
    u64 gpa = 0, page = 0;
};

/// One step of a walk, kept for what is checked only at the end.
struct Step {
    u64 address, entry;
};

class Model {
public:
    Model(const x86::VcpuState& s, const u8* memory) : s_(s), memory_(memory) {}

    Expected translate(u64 gva, Access access, TlbMode mode) {
        const bool long_mode = s_.efer & x86::efer::lma, pae = s_.cr4 & x86::cr4::pae;
        const bool nxe = (s_.efer & x86::efer::nxe) && (long_mode || pae);
        u32 code = 0;
        if (access == Access::write) code |= 2;
        if (mode == TlbMode::user) code |= 4;
        if (access == Access::execute && (nxe || (s_.cr4 & x86::cr4::smep))) code |= 16;
        const auto fault = [&](u32 more) { return Expected{true, code | more, 0, 0}; };

        const unsigned width = long_mode || pae ? 8 : 4;
        const unsigned bits = width == 8 ? 9 : 10;
        unsigned level = long_mode ? 4 : pae ? 3 : 2;
        u64 table = long_mode ? s_.cr3 & 0xff'ffff'f000 : pae ? s_.cr3 & 0xffff'ffe0 : s_.cr3 & 0xffff'f000;
        bool writable = true, user_page = true, no_execute = false;
        for (;; --level) {
            const unsigned shift = 12 + bits * (level - 1);
            const bool pointer = level == 3 && !long_mode;  // a PDPTE of PAE paging: no rights
            const u64 index = gva >> shift & (pointer ? 3 : (1u << bits) - 1);
            // The processor holds the four PDPTEs that the last load of CR3 found (SDM 3A 4.4.1).
            const u64 e = pointer ? s_.pdpte[index] : load(table + index * width, width);
            if (!(e & 1)) return fault(0);
            const bool big =
                (e & 0x80) && (level == 2 ? width == 8 || (s_.cr4 & x86::cr4::pse) : level == 3 && long_mode);
            if (width == 8) {
                for (unsigned b = phys_bits; b < 52; ++b)
                    if (e >> b & 1) return fault(1 | 8);
                if (!long_mode && (e >> 52 & 0x7ff)) return fault(1 | 8);
                if ((e >> 63) && (!nxe || pointer)) return fault(1 | 8);
                if (pointer && (e & 0x1e6)) return fault(1 | 8);
                if (level == 4 && (e & 0x80)) return fault(1 | 8);
                if (big)
                    for (unsigned b = 13; b < shift; ++b)
                        if (e >> b & 1) return fault(1 | 8);
            } else if (big && (e >> 21 & 1)) {
                return fault(1 | 8);
            }
            if (!pointer) {
                if (!(e & 2)) writable = false;
                if (!(e & 4)) user_page = false;
                if (nxe && (e >> 63)) no_execute = true;
                touched_[count_++] = {table + index * width, width == 4 ? e & 0xffffffff : e};
            }
            if (level > 1 && !big) {
                table = width == 8 ? e & 0xff'ffff'f000 : e & 0xffff'f000;
                continue;
            }
            // Rights, SDM 3A 4.6.
            bool ok = true;
            if (mode == TlbMode::user) {
                ok = user_page && (access != Access::write || writable);
            } else {
                if (access == Access::write && !writable && (s_.cr0 & x86::cr0::wp)) ok = false;
                if (user_page && access == Access::execute && (s_.cr4 & x86::cr4::smep)) ok = false;
                if (user_page && access != Access::execute && mode == TlbMode::supervisor) ok = false;
            }
            if (access == Access::execute && no_execute) ok = false;
            if (!ok) return fault(1);
            const u64 page = u64{1} << shift;
            u64 frame = (width == 8 ? e & 0xff'ffff'ffff : e & 0xffff'ffff) & ~(page - 1);
            if (width == 4 && big) frame |= (e >> 13 & 0xff) << 32;
            leaf_write_ = access == Access::write;
            return {false, 0, frame | (gva & (page - 1)), page};
        }
    }

    /// Accessed and dirty bits as they must be after a walk that succeeded.
    void check_bits(const u8* after) const {
        for (unsigned i = 0; i < count_; ++i) {
            const Step& t = touched_[i];
            if (t.address + 8 > ram) continue;
            const u64 now = after[t.address];
            const bool leaf = i + 1 == count_;
            if (!(now & 0x20) || (leaf && leaf_write_ && !(now & 0x40))) {
                std::fprintf(stderr, "accessed or dirty bit missing at %#llx\n",
                             static_cast<unsigned long long>(t.address));
                std::abort();
            }
        }
    }

private:
    u64 load(u64 address, unsigned width) const {
        u64 v = ~u64{0};
        if (address <= ram - width) {
            v = 0;
            std::memcpy(&v, memory_ + address, width);
        }
        return width == 4 ? v & 0xffffffff : v;
    }

    const x86::VcpuState& s_;
    const u8* memory_;
    std::array<Step, 4> touched_{};
    unsigned count_ = 0;
    bool leaf_write_ = false;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const u8* data, size_t size) {
    static const auto memory = [] {
        auto m = std::move(*memory::GuestMemory::create(ram));
        if (!m->add_slot(0, ram, 0)) std::abort();
        return m;
    }();
    static const auto vcpu = std::make_unique<cpu::VcpuContext>();
    static const x86::CpuModel model = [] {
        x86::CpuModel m;
        m.phys_bits = phys_bits;
        m.pages_1g = true;
        return m;
    }();
    u8* const host = memory->host(0, ram);
    std::memset(host, 0, ram);
    vcpu->memory = memory.get();
    vcpu->model = &model;
    x86::VcpuState& s = vcpu->state;
    s = {};

    Input in{data, data + size};
    const u8 control = in.byte(), more = in.byte();
    const unsigned paging = control & 3;  // 32-bit, PAE, 4-level
    s.cr0 = x86::cr0::pe | x86::cr0::pg | (control & 4 ? x86::cr0::wp : 0);
    s.cr4 = (paging >= 1 ? x86::cr4::pae : 0) | (control & 8 ? x86::cr4::pse : 0) |
            (control & 16 ? x86::cr4::smep : 0) | (control & 32 ? x86::cr4::smap : 0) |
            (control & 64 ? x86::cr4::pge : 0);
    s.efer = (paging >= 2 ? x86::efer::lme | x86::efer::lma : 0) | (control & 128 ? x86::efer::nxe : 0);
    s.cr3 = in.number(2);
    const u64 gva = paging >= 2 ? static_cast<u64>(static_cast<i64>(in.number(8) << 16) >> 16) : in.number(4);
    const Access access = static_cast<Access>(more % 3);
    TlbMode mode = static_cast<TlbMode>(more / 3 % mmu::tlb_modes);
    while (in.at != in.end) {
        const u64 at = in.number(2) & ~u64{3};
        u64 v = in.number(3);
        const u8 shape = in.byte();
        if (shape & 1) v |= 7;          // mostly present, writable, user
        if (shape & 2) v &= 0xffff;     // mostly within RAM
        v |= u64{shape & 0xf0u} << 56;  // NX and the ignored bits beside it
        if (shape & 8) v |= in.number(2) << 36;
        if (at <= ram - 8) std::memcpy(host + at, &v, 8);
    }

    // As MOV CR3 does; what it would refuse with #GP is not there.
    for (unsigned i = 0; paging == 1 && i < 4; ++i) {
        u64 e = 0;
        std::memcpy(&e, host + (s.cr3 & 0xffe0) + i * 8, 8);
        s.pdpte[i] = e & ((~u64{0} << phys_bits) | 0x1e6) ? 0 : e;
    }

    std::array<u8, ram> before;
    std::memcpy(before.data(), host, ram);
    Model oracle(s, before.data());
    const Expected want = oracle.translate(gva, access, mode);
    const auto got = mmu::walk(*vcpu, gva, access, mode);
    const bool same = want.fault ? !got && got.error().error_code == want.code && got.error().address == gva
                                 : got && got->gpa == want.gpa && got->page_bytes == want.page;
    if (!same) {
        std::fprintf(stderr, "paging %u gva %#llx access %u mode %u: want %s %#llx, got %s %#llx\n", paging,
                     static_cast<unsigned long long>(gva), static_cast<unsigned>(access),
                     static_cast<unsigned>(mode), want.fault ? "fault" : "address",
                     static_cast<unsigned long long>(want.fault ? want.code : want.gpa),
                     got ? "address" : "fault",
                     static_cast<unsigned long long>(got ? got->gpa : got.error().error_code));
        std::abort();
    }
    if (got) oracle.check_bits(host);
    return 0;
}
