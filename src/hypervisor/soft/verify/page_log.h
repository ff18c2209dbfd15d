// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <memory>
#include <span>
#include <vector>

#include "hypervisor/soft/cpu/page_hook.h"
#include "hypervisor/soft/mmu/tlb.h"

namespace triune::hypervisor::soft::verify {

/// The guest pages that one step writes: what they held before, and what the reference engine makes of
/// them. The checked engine writes guest memory itself; the reference sees the pages as they were and
/// writes to copies, so that neither devices nor other vCPUs ever see its work.
///
///     page before the step --- checked engine ---> guest memory
///            `----------------- reference --------> its copy       (to be equal)
class PageLog {
public:
    struct Page {
        Gpa gpa = 0;
        u8* real = nullptr;       ///< guest memory
        u8* before = nullptr;     ///< its bytes when the step began
        u8* reference = nullptr;  ///< the reference's copy; valid if `copied`
        bool copied = false;
        bool only_reference = false;  ///< the checked engine did not ask for it
    };

    /// The two engines' TLBs.
    PageLog(mmu::Tlb& checked, mmu::Tlb& reference);

    cpu::PageHook& checked_hook() { return checked_; }
    cpu::PageHook& reference_hook() { return reference_; }

    /// From now on pages that the checked engine may write to are kept.
    void begin();
    /// The reference starts (again) from what memory held at begin().
    void begin_reference();
    /// Forgets the step and takes back what TLB entries it handed out.
    void end();

    [[nodiscard]] std::span<Page> pages() { return {pages_.data(), count_}; }
    /// More pages were written than there is room for: nothing can be said about this step.
    [[nodiscard]] bool overflown() const { return overflown_; }
    /// Page-table entries in logged pages that the reference's walks used: accessed and dirty bits
    /// differ there, for the checked engine's TLB may have saved it the walk.
    struct WalkedEntry {
        Gpa gpa;
        unsigned bytes;
    };
    [[nodiscard]] std::span<const WalkedEntry> walked() const { return {walked_.data(), walked_count_}; }

private:
    struct Granted {
        u8 set;
        u16 index;
    };
    /// TLB entries that end with the step.
    struct Grants {
        explicit Grants(mmu::Tlb& t) : tlb(t) {}
        void add(unsigned set, unsigned index);
        void revoke(bool reads);
        mmu::Tlb& tlb;
        std::array<Granted, 1024> list{};
        size_t count = 0;
        bool all = false;
    };
    class Checked final : public cpu::PageHook {
    public:
        explicit Checked(PageLog& l) : log_(l) {}
        u8* page(Gpa gpa, u8* host, bool write) override;
        u8* entry(Gpa, unsigned, u8* host) override { return host; }
        void filled(unsigned set, unsigned index) override;

    private:
        PageLog& log_;
    };
    class Reference final : public cpu::PageHook {
    public:
        explicit Reference(PageLog& l) : log_(l) {}
        u8* page(Gpa gpa, u8* host, bool write) override;
        u8* entry(Gpa gpa, unsigned bytes, u8* host) override;
        void filled(unsigned set, unsigned index) override;

    private:
        PageLog& log_;
    };

    Page* find(Gpa gpa);
    Page* add(Gpa gpa, u8* host);
    u8* copy_of(Page& page);

    static constexpr size_t capacity = 256;
    /// A TLB entry holds a host address without its low bits.
    struct alignas(page_size) Buffer {
        std::array<u8, page_size> bytes;
    };
    std::unique_ptr<Buffer[]> buffers_;
    std::array<Page, capacity> pages_{};
    size_t count_ = 0;
    bool active_ = false, overflown_ = false;
    std::array<WalkedEntry, 64> walked_{};
    size_t walked_count_ = 0;
    Grants checked_grants_, reference_grants_;
    Checked checked_{*this};
    Reference reference_{*this};
};

}  // namespace triune::hypervisor::soft::verify
