// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/interp/exec.h"

namespace triune::hypervisor::soft::interp {

bool Exec::check_alignment(Gva gva, unsigned size) {
    if (!(s.cr0 & x86::cr0::am) || !user() || size <= 1 || !std::has_single_bit(size)) return true;
    if (!(gva & (size - 1))) return true;
    return raise({x86::vec::ac, true, 0, 0});
}

bool Exec::check_canonical(Gva gva, unsigned size, unsigned seg) {
    if (!s.code64() || (mmu.canonical(gva) && mmu.canonical(gva + size - 1))) return true;
    return raise(seg == x86::ss ? Fault::ss() : Fault::gp());
}

namespace {
/// Outside 64-bit mode linear addresses wrap at 4 GiB, in the middle of an access too.
bool wraps(const Exec& e, Gva gva, unsigned size) {
    return !e.s.long_mode_active() && gva + size > (u64{1} << 32);
}
}  // namespace

bool Exec::load_bytes(Gva gva, void* to, unsigned size, unsigned seg) {
    if (!check_canonical(gva, size, seg)) return false;
    if (wraps(*this, gva, size)) [[unlikely]] {
        const unsigned first = static_cast<unsigned>((u64{1} << 32) - gva);
        return load_bytes(gva, to, first, seg) &&
               load_bytes(0, static_cast<u8*>(to) + first, size - first, seg);
    }
    if (size > 8) {
        const auto r = mmu.read_bytes(gva, to, size, sys.privilege());
        return r ? true : raise(Fault::pf(r.error()));
    }
    const auto r = mmu.read(gva, size, sys.privilege());
    if (!r) return raise(Fault::pf(r.error()));
    std::memcpy(to, &*r, size);
    return true;
}

bool Exec::store_bytes(Gva gva, const void* from, unsigned size, unsigned seg) {
    if (!check_canonical(gva, size, seg)) return false;
    if (wraps(*this, gva, size)) [[unlikely]] {
        const unsigned first = static_cast<unsigned>((u64{1} << 32) - gva);
        return probe(0, size - first, Access::write, seg) && store_bytes(gva, from, first, seg) &&
               store_bytes(0, static_cast<const u8*>(from) + first, size - first, seg);
    }
    u64 v = 0;
    if (size <= 8) std::memcpy(&v, from, size);
    const auto r = size <= 8 ? mmu.write(gva, v, size, sys.privilege())
                             : mmu.write_bytes(gva, from, size, sys.privilege());
    return r ? true : raise(Fault::pf(r.error()));
}

bool Exec::probe(Gva gva, unsigned size, Access access, unsigned seg) {
    if (!check_canonical(gva, size, seg)) return false;
    const auto r = mmu.probe(gva, size, access, sys.privilege());
    return r ? true : raise(Fault::pf(r.error()));
}

bool Exec::load_slow(Gva gva, u64& v, unsigned size, unsigned seg) {
    v = 0;
    return load_bytes(gva, &v, size, seg);
}

bool Exec::store_slow(Gva gva, u64 v, unsigned size, unsigned seg) { return store_bytes(gva, &v, size, seg); }

bool Exec::load_sized(Gva gva, u64& v, unsigned size, unsigned seg) {
    if (const u8* p = probe_read(gva, size)) {
        v = 0;
        memory::copy_guest(&v, p, size);
        return true;
    }
    return load_slow(gva, v, size, seg);
}

bool Exec::store_sized(Gva gva, u64 v, unsigned size, unsigned seg) {
    if (u8* p = probe_write(gva, size)) {
        memory::copy_guest(p, &v, size);
        return true;
    }
    return store_slow(gva, v, size, seg);
}

}  // namespace triune::hypervisor::soft::interp
