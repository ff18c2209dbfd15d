// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/mmu/tlb.h"

#include <gtest/gtest.h>

#include <memory>

namespace triune::hypervisor::soft::mmu {
namespace {

class TlbTest : public testing::Test {
protected:
    TlbTest() { tlb_->clear(); }

    void fill(TlbMode mode, Gva gva, bool large) {
        const unsigned i = Tlb::index(gva);
        tlb_->set[static_cast<unsigned>(mode)][i] = {gva, gva, 0x1000, 0x1000};
        tlb_->note_page_size(mode, i, gva, large);
    }
    [[nodiscard]] bool hits(TlbMode mode, Gva gva) const {
        const TlbEntry& e = tlb_->set[static_cast<unsigned>(mode)][Tlb::index(gva)];
        return (gva ^ e.read_tag) < page_size && (gva ^ e.write_tag) < page_size;
    }

    std::unique_ptr<Tlb> tlb_ = std::make_unique<Tlb>();
};

constexpr Gva gigabyte = Gva{1} << 30;
constexpr Gva kernel = 0xffff'8880'0000'0000;

// INVLPG drops a large page's translation whichever of its addresses it names (Intel SDM 3A 4.10.4.1).
TEST_F(TlbTest, EntriesOfALargePageGoTogetherInEveryMode) {
    fill(TlbMode::user, kernel + 0x3000, true);
    fill(TlbMode::supervisor, kernel + 0x1f'f000, true);
    fill(TlbMode::supervisor_ac, kernel + gigabyte - page_size, true);
    ASSERT_TRUE(tlb_->may_be_large(kernel + 0x10'0000));
    tlb_->clear_large(kernel + 0x10'0000);
    EXPECT_FALSE(hits(TlbMode::user, kernel + 0x3000));
    EXPECT_FALSE(hits(TlbMode::supervisor, kernel + 0x1f'f000));
    EXPECT_FALSE(hits(TlbMode::supervisor_ac, kernel + gigabyte - page_size));
}

TEST_F(TlbTest, SmallPagesAndOtherGigabytesStay) {
    fill(TlbMode::supervisor, kernel + 0x5000, false);
    fill(TlbMode::supervisor, kernel + gigabyte + 0x6000, true);
    fill(TlbMode::supervisor, kernel + 0x7000, true);
    tlb_->clear_large(kernel);
    EXPECT_TRUE(hits(TlbMode::supervisor, kernel + 0x5000));
    EXPECT_TRUE(hits(TlbMode::supervisor, kernel + gigabyte + 0x6000));
    EXPECT_FALSE(hits(TlbMode::supervisor, kernel + 0x7000));
}

TEST_F(TlbTest, ASlotThatASmallPageTookOverIsNoLongerLarge) {
    fill(TlbMode::user, 0x40'0000, true);
    fill(TlbMode::user, 0x40'0000, false);
    tlb_->clear_large(0x40'1000);
    EXPECT_TRUE(hits(TlbMode::user, 0x40'0000));
}

TEST_F(TlbTest, OnlyGigabytesWithLargePagesAreLookedAt) {
    EXPECT_FALSE(tlb_->may_be_large(0));
    fill(TlbMode::user, 5 * gigabyte, true);
    EXPECT_TRUE(tlb_->may_be_large(6 * gigabyte - 1));
    EXPECT_FALSE(tlb_->may_be_large(6 * gigabyte));
    tlb_->clear();
    EXPECT_FALSE(tlb_->may_be_large(5 * gigabyte));
}

// Protection keys: what has one other than 0 goes, and what has none or 0 stays.
TEST_F(TlbTest, EntriesWithKeysGoByThemselves) {
    const auto keyed = [&](TlbMode mode, Gva gva, int key) {
        fill(mode, gva, false);
        tlb_->note_key(mode, Tlb::index(gva), key);
    };
    keyed(TlbMode::user, 0x1000, 3);
    keyed(TlbMode::user, 0x2000, 0);
    keyed(TlbMode::supervisor, 0x3000, -1);
    keyed(TlbMode::supervisor_ac, 0xfff'f000, 15);
    EXPECT_EQ(tlb_->keys, 1u << 3 | 1u << 0 | 1u << 15);
    keyed(TlbMode::user, 0x1000 + Tlb::entries * page_size, 0);  // takes the place of the first
    keyed(TlbMode::user, 0x4000, 4);
    tlb_->clear_keyed();
    EXPECT_TRUE(hits(TlbMode::user, 0x1000 + Tlb::entries * page_size));
    EXPECT_TRUE(hits(TlbMode::user, 0x2000));
    EXPECT_TRUE(hits(TlbMode::supervisor, 0x3000));
    EXPECT_FALSE(hits(TlbMode::supervisor_ac, 0xfff'f000));
    EXPECT_FALSE(hits(TlbMode::user, 0x4000));
    EXPECT_EQ(tlb_->keys, 1u);
    tlb_->clear();
    EXPECT_EQ(tlb_->keys, 0u);
}

TEST_F(TlbTest, TheStacksPageGoesWithAnyEntryThatIsDropped) {
    const auto lives_through = [&](auto drop) {
        tlb_->stack.fill({0x5000, 0x1000});
        drop();
        for (const StackEntry& e : tlb_->stack)
            if (e.tag == 0x5000) return true;
        return false;
    };
    EXPECT_FALSE(lives_through([&] { tlb_->clear(); }));
    EXPECT_FALSE(lives_through([&] { tlb_->clear_not_global(); }));
    EXPECT_FALSE(lives_through([&] { tlb_->clear_large(0); }));
    EXPECT_FALSE(lives_through([&] { tlb_->clear_keyed(); }));
    fill(TlbMode::user, 0x5000, false);
    fill(TlbMode::user, 0x6000, false);
    EXPECT_TRUE(lives_through([&] { tlb_->invalidate(TlbMode::user, 6); }));
    EXPECT_FALSE(lives_through([&] { tlb_->invalidate(TlbMode::user, 5); }));
    EXPECT_FALSE(lives_through([&] { tlb_->drop_stack(0x5ff8); }));
}

}  // namespace
}  // namespace triune::hypervisor::soft::mmu
