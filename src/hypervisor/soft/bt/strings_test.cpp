// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/bt/test_settings.h"

namespace triune::hypervisor::soft::bt {
namespace {

using namespace Xbyak::util;

class BtStrings : public BtTest {
protected:
    /// At any address, aligned or not.
    template <class T>
    T value(Gpa gpa) {
        T v{};
        EXPECT_TRUE(guest.memory().read(gpa, &v, sizeof v));
        return v;
    }
};
INSTANTIATE_TEST_SUITE_P(Settings, BtStrings, bt_settings);

TEST_P(BtStrings, StringInstructions) {
    for (u64 i = 0; i < 10000; ++i) guest.at<u8>(data + i) = static_cast<u8>(i * 7);
    a.mov(rsi, data + 3);
    a.mov(rdi, data + 0x4005);
    a.mov(ecx, 9000);
    a.rep();
    a.movsb();
    a.mov(r8, rdi);
    a.mov(eax, 0x5a5a5a5a);
    a.mov(rdi, data + 0x8008);
    a.mov(ecx, 5000);
    a.rep();
    a.stosd();
    a.movsb();
    ASSERT_TRUE(run());
    EXPECT_EQ(memcmp(&guest.at<u8>(data + 3), &guest.at<u8>(data + 0x4005), 9000), 0);
    EXPECT_EQ(reg(8), data + 0x4005 + 9000);
    EXPECT_EQ(guest.at<u32>(data + 0x8008 + 4 * 4999), 0x5a5a5a5au);
    EXPECT_EQ(reg(1), 0u);
    EXPECT_EQ(reg(6), data + 3 + 9001);
    EXPECT_EQ(reg(7), data + 0x8008 + 20000 + 1);
}

TEST_P(BtStrings, StringInstructionsDownwards) {
    std::vector<u8> wanted(0x9000);
    for (u64 i = 0; i < wanted.size(); ++i)
        guest.at<u8>(data + i) = wanted[i] = static_cast<u8>(i * 11 + i / 256);
    // Overlapping, over pages, by eights that never cross one; then by ones; then stored.
    a.std();
    a.mov(rsi, data + 0x3ff8);
    a.mov(rdi, data + 0x4ff8);
    a.mov(ecx, 0x700);
    a.rep();
    a.movsq();
    a.mov(r8, rsi);
    a.mov(r9, rdi);
    a.mov(rsi, data + 0x7005);
    a.mov(rdi, data + 0x8002);
    a.mov(ecx, 0x1234);
    a.rep();
    a.movsb();
    a.mov(eax, 0x12345678);
    a.mov(rdi, data + 0x8ffc);
    a.mov(ecx, 20);
    a.rep();
    a.stosd();
    a.cld();
    ASSERT_TRUE(run());
    for (u64 k = 0; k < 0x700; ++k) std::memcpy(&wanted[0x4ff8 - 8 * k], &wanted[0x3ff8 - 8 * k], 8);
    for (u64 k = 0; k < 0x1234; ++k) wanted[0x8002 - k] = wanted[0x7005 - k];
    const u32 stored = 0x12345678;
    for (u64 k = 0; k < 20; ++k) std::memcpy(&wanted[0x8ffc - 4 * k], &stored, 4);
    EXPECT_EQ(std::memcmp(wanted.data(), &guest.at<u8>(data), wanted.size()), 0);
    EXPECT_EQ(reg(8), data + 0x3ff8 - 8 * 0x700);
    EXPECT_EQ(reg(9), data + 0x4ff8 - 8 * 0x700);
    EXPECT_EQ(reg(1), 0u);
    EXPECT_EQ(reg(7), data + 0x8ffc - 4 * 20);
    // An element that crosses a page is left to the reference engine, where it is.
    a.reset();
    a.std();
    a.mov(rdi, data + 0x2004);
    a.mov(ecx, 4);
    a.rep();
    a.stosq();
    guest.load(TestGuest::code, a);
    guest.translator().invalidate(TestGuest::code, page_size);
    EXPECT_FALSE(guest.run());
    EXPECT_EQ(reg(1), 3u);
    EXPECT_EQ(reg(7), data + 0x1ffc);
}

TEST_P(BtStrings, PageFaultInTheMiddleOfAString) {
    guest.state().idtr = {0, 0, 0};  // no IDT: the fault cannot be delivered
    a.mov(rdi, TestGuest::bytes - 0x1000);
    a.mov(ecx, 0x3000);
    a.rep();
    a.stosb();
    guest.load(TestGuest::code, a);
    guest.state().rip = TestGuest::code;
    EXPECT_EQ(guest.translator().run(), cpu::EngineExit::shutdown);
    EXPECT_EQ(reg(1), 0x2000u);
    EXPECT_EQ(reg(7), TestGuest::bytes);
    EXPECT_EQ(guest.state().cr2, TestGuest::bytes);
}

/// Short ones, which are done inline: every size, at the end of a page, up to one element beyond it.
TEST_P(BtStrings, ShortOnesUpToAndBeyondTheEndOfAPage) {
    for (const unsigned size : {1u, 2u, 4u, 8u}) {
        for (const unsigned count : {0u, 1u, 2u, 5u, 6u}) {
            for (const bool movs : {false, true}) {
                SCOPED_TRACE(testing::Message()
                             << size << " bytes, " << count << (movs ? " moved" : " stored"));
                start_again();
                for (u64 i = 0; i < 0x3000; ++i) guest.at<u8>(data + i) = static_cast<u8>(i * 13 + i / 256);
                std::vector<u8> wanted(&guest.at<u8>(data), &guest.at<u8>(data) + 0x3000);
                const u64 from = 0x123, to = 0x2000 - 5 * size, value = 0x8877665544332211;
                for (u64 k = 0; k < u64{count} * size; ++k)
                    wanted[to + k] = movs ? wanted[from + k] : static_cast<u8>(value >> 8 * (k % size));
                a.mov(rsi, data + from);
                a.mov(rdi, data + to);
                a.mov(rax, value);
                a.mov(ecx, count);
                a.rep();
                switch (size) {
                    case 1: movs ? a.movsb() : a.stosb(); break;
                    case 2: movs ? a.movsw() : a.stosw(); break;
                    case 4: movs ? a.movsd() : a.stosd(); break;
                    default: movs ? a.movsq() : a.stosq(); break;
                }
                ASSERT_TRUE(run());
                EXPECT_EQ(std::memcmp(wanted.data(), &guest.at<u8>(data), wanted.size()), 0);
                EXPECT_EQ(reg(1), 0u);
                EXPECT_EQ(reg(6), data + from + (movs ? count * size : 0));
                EXPECT_EQ(reg(7), data + to + count * size);
                EXPECT_EQ(reg(0), value);
            }
        }
    }
}

TEST_P(BtStrings, SingleOnesOfEverySizeBothWays) {
    guest.at<u64>(data + 0x100) = 0x1122334455667788;
    for (const bool down : {false, true}) {
        start_again();
        std::memset(&guest.at<u8>(data + 0x200), 0, 0x100);
        a.mov(rsi, data + 0x100);
        a.mov(rdi, data + 0x200);
        a.mov(rax, 0x99aabbccddeeff00);
        if (down) a.std();
        const auto apart = [&](auto emit) {
            emit();
            a.mov(rsi, data + 0x100);
            a.add(rdi, 0x10);
        };
        apart([&] { a.movsb(); });
        apart([&] { a.movsw(); });
        apart([&] { a.movsd(); });
        apart([&] { a.movsq(); });
        a.mov(rdi, data + 0x280);
        a.stosb();
        a.stosw();
        a.stosd();
        a.stosq();
        a.cld();
        ASSERT_TRUE(run());
        const auto at = [&](u64 from, u64 moved) { return data + from + (down ? 0 - moved : moved); };
        EXPECT_EQ(value<u8>(at(0x200, 0)), 0x88);
        EXPECT_EQ(value<u16>(at(0x210, 1)), 0x7788);
        EXPECT_EQ(value<u32>(at(0x220, 3)), 0x55667788u);
        EXPECT_EQ(value<u64>(at(0x230, 7)), 0x1122334455667788u);
        EXPECT_EQ(reg(7), at(0x280, 15));
        EXPECT_EQ(value<u64>(at(0x280, 7)), 0x99aabbccddeeff00);
    }
}

/// The destination wraps around the address space's end: no inline copy of a negative length.
TEST_P(BtStrings, CountsThatWrapAreDeclinedWhereTheyFault) {
    guest.state().idtr = {0, 0, 0};
    for (const u64 count : {~u64{0}, u64{1} << 61, (u64{1} << 52) + 1}) {
        start_again();
        a.mov(rdi, TestGuest::bytes - 0x20);
        a.mov(rcx, count);
        a.rep();
        a.stosq();
        guest.load(TestGuest::code, a);
        guest.state().rip = TestGuest::code;
        EXPECT_EQ(guest.translator().run(), cpu::EngineExit::shutdown);
        EXPECT_EQ(reg(1), count - 4);
        EXPECT_EQ(reg(7), TestGuest::bytes);
    }
}

}  // namespace
}  // namespace triune::hypervisor::soft::bt
