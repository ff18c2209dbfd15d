// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/verify/page_log.h"

// Built without vector registers: translated code calls in here with the guest's in them.
namespace triune::hypervisor::soft::verify {
namespace {

// SAFETY: both are whole pages that do not overlap; REP MOVSQ uses no vector register.
void copy_page(u8* to, const u8* from) {
    u64 n = page_size / 8;
    asm volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
}

}  // namespace

PageLog::PageLog(mmu::Tlb& checked, mmu::Tlb& reference)
    : buffers_(new Buffer[2 * capacity + 1]), checked_grants_(checked), reference_grants_(reference) {
    for (size_t i = 0; i < capacity; ++i) {
        pages_[i].before = buffers_[2 * i].bytes.data();
        pages_[i].reference = buffers_[2 * i + 1].bytes.data();
    }
}

void PageLog::Grants::add(unsigned set, unsigned index) {
    if (count == list.size()) {
        all = true;
        return;
    }
    list[count++] = {static_cast<u8>(set), static_cast<u16>(index)};
}

void PageLog::Grants::revoke(bool reads) {
    tlb.drop_stack();
    const auto drop = [&](unsigned set, unsigned index) {
        mmu::TlbEntry& e = tlb.set[set][index];
        e.write_tag = mmu::Tlb::invalid_tag(index);
        if (reads) e.read_tag = mmu::Tlb::invalid_tag(index);
    };
    if (all) {
        for (unsigned set = 0; set < mmu::tlb_modes; ++set)
            for (unsigned i = 0; i < mmu::Tlb::entries; ++i) drop(set, i);
    } else {
        for (size_t i = 0; i < count; ++i) drop(list[i].set, list[i].index);
    }
    count = 0;
    all = false;
}

void PageLog::begin() {
    checked_grants_.revoke(false);
    count_ = 0;
    overflown_ = false;
    active_ = true;
}

void PageLog::begin_reference() {
    active_ = false;
    reference_grants_.revoke(true);
    walked_count_ = 0;
    size_t kept = 0;
    for (size_t i = 0; i < count_; ++i) {
        pages_[i].copied = false;
        if (!pages_[i].only_reference) kept = i + 1;
    }
    count_ = kept;
}

void PageLog::end() {
    active_ = false;
    checked_grants_.revoke(false);
    reference_grants_.revoke(true);
    count_ = 0;
}

PageLog::Page* PageLog::find(Gpa gpa) {
    for (size_t i = 0; i < count_; ++i)
        if (pages_[i].gpa == gpa) return &pages_[i];
    return nullptr;
}

PageLog::Page* PageLog::add(Gpa gpa, u8* host) {
    if (count_ == capacity) {
        overflown_ = true;
        return nullptr;
    }
    Page& p = pages_[count_++];
    p.gpa = gpa;
    p.real = host;
    p.copied = p.only_reference = false;
    copy_page(p.before, host);
    return &p;
}

u8* PageLog::copy_of(Page& p) {
    if (!p.copied) {
        copy_page(p.reference, p.before);
        p.copied = true;
    }
    return p.reference;
}

u8* PageLog::Checked::page(Gpa gpa, u8* host, bool write) {
    if (write && log_.active_ && !log_.find(gpa)) log_.add(gpa, host);
    return host;
}

void PageLog::Checked::filled(unsigned set, unsigned index) { log_.checked_grants_.add(set, index); }

u8* PageLog::Reference::page(Gpa gpa, u8* host, bool write) {
    Page* p = log_.find(gpa);
    if (!p && write) {
        p = log_.add(gpa, host);
        if (!p) return log_.buffers_[2 * capacity].bytes.data();  // never to guest memory
        p->only_reference = true;
    }
    return p ? log_.copy_of(*p) : host;
}

u8* PageLog::Reference::entry(Gpa gpa, unsigned bytes, u8* host) {
    Page* p = log_.find(gpa & ~page_mask);
    if (!p) return host;
    if (log_.walked_count_ < log_.walked_.size()) log_.walked_[log_.walked_count_++] = {gpa, bytes};
    return log_.copy_of(*p) + (gpa & page_mask);
}

void PageLog::Reference::filled(unsigned set, unsigned index) { log_.reference_grants_.add(set, index); }

}  // namespace triune::hypervisor::soft::verify
