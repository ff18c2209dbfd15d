// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/bt/listing.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "hypervisor/soft/mmu/arena.h"
#include "x86/insn.h"

namespace triune::hypervisor::soft::bt {
namespace {

std::string list(const std::vector<u8>& code, u64 rip = 0x1000, bool user = false) {
    auto text = list_translation(code, rip, user);
    EXPECT_TRUE(text) << (text ? "" : text.error().message);
    return text.value_or("");
}

size_t count(const std::string& text, const std::string& what) {
    size_t n = 0;
    for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++n;
    return n;
}

TEST(Listing, GuestThenHost) {
    const std::string text = list({0x49, 0x89, 0xc2, 0xc3});  // mov r10, rax; ret
    const size_t mov = text.find("0x1000  mov r10, rax\n"), home = text.find("mov qword ptr [guest.r10], r"),
                 ret = text.find("0x1003  ret"), probe = text.find("xor r10, qword ptr [stack.tag]");
    ASSERT_NE(probe, std::string::npos) << text;
    EXPECT_LT(mov, home);
    EXPECT_LT(home, ret);
    EXPECT_LT(ret, probe);
    EXPECT_NE(text.find("jmp leave.entry"), std::string::npos) << text;
    EXPECT_EQ(text.find("cookie"), std::string::npos) << text;
    EXPECT_NE(list({0xc3}, 0x1000, true).find("[cookie[0x1]]"), std::string::npos);
}

TEST(Listing, MergedPushesShareTheirHostCode) {
    const std::string text = list({0x55, 0x53, 0xc3});  // push rbp; push rbx; ret
    EXPECT_NE(text.find("0x1000  push rbp\n0x1001  push rbx\n            lea r10, [r15-0x10]\n"),
              std::string::npos)
        << text;
}

TEST(Listing, SaysWhereABlockEnds) {
    EXPECT_EQ(list({}), "0x1000  ; the code ends here\n");
    EXPECT_EQ(list({0xf4}), "0x1000  ; the reference engine executes the next instruction\n");  // hlt
    EXPECT_EQ(list({0x0f}), "0x1000  ; an incomplete instruction follows\n");
    EXPECT_NE(list({0x90, 0xf4}).find("0x1001  ; the reference engine"), std::string::npos);
    EXPECT_EQ(list({0xc3, 0x90}).find("0x1001"), std::string::npos);
    EXPECT_NE(list(std::vector<u8>(80, 0x90)).find("0x1040  ; as many"), std::string::npos);
    EXPECT_NE(list({0x90, 0x90}, 0x1fff).find("0x2000  ; the page ends"), std::string::npos);
    EXPECT_NE(list({0x90, 0x89, 0xc8}, 0x1ffe).find("0x1fff  ; the next instruction crosses"),
              std::string::npos);
    EXPECT_NE(list({0x89, 0xc8}, 0x1fff, true).find("[cookie[0x2]]"), std::string::npos);
    list({0x90, 0x90}, ~u64{0});
}

// Whatever the code, and wherever the vCPU's memory lies, the text is the same and names everything.
TEST(Listing, StableForRandomCode) {
    constexpr unsigned seed = 20261122;
    std::mt19937_64 random(seed);
    for (unsigned round = 0; round < 400; ++round) {
        std::vector<u8> code;
        while (code.size() < 200) {
            std::array<u8, 15> bytes;
            for (u8& b : bytes) b = static_cast<u8>(random());
            x86::Insn insn;
            if (x86::decode(bytes, x86::CodeSize::bits64, insn) == x86::DecodeStatus::ok)
                code.insert(code.end(), bytes.begin(), bytes.begin() + insn.length);
        }
        const u64 rip = random() & 0x7fff'ffff'ffff;
        const bool user = round & 1;
        const std::string text = list(code, rip, user);
        const auto elsewhere = mmu::VcpuArena::create(u64{1} << 20);
        ASSERT_TRUE(elsewhere);
        EXPECT_EQ(text, list(code, rip, user)) << "seed " << seed << " round " << round;
        EXPECT_EQ(count(text, "arena+") + count(text, "elsewhere") + count(text, "(bad)"), 0u)
            << "seed " << seed << " round " << round << "\n"
            << text;
    }
}

}  // namespace
}  // namespace triune::hypervisor::soft::bt
