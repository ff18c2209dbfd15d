// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "x86/decode_cache.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "x86/cpu_model.h"
#include "x86/every_encoding.h"

namespace triune::x86 {
namespace {

class DecodeCacheTest : public testing::Test {
protected:
    /// What the cache says of `code` is what decode() says.
    void compare(std::span<const u8> code, const InsnSet& set = every_insn) {
        Insn wanted, got;
        std::memset(static_cast<void*>(&wanted), 0, sizeof wanted);
        std::memset(static_cast<void*>(&got), 0, sizeof got);
        const DecodeStatus status = decode(code, CodeSize::bits64, wanted, set);
        ASSERT_EQ(cache.decode(code, got, set), status) << text(code);
        ASSERT_EQ(std::memcmp(&wanted, &got, sizeof got), 0) << text(code);
    }
    static std::string text(std::span<const u8> code) {
        std::string s = disassemble(code, CodeSize::bits64, 0) + ":";
        for (const u8 b : code) s += ' ' + std::to_string(b);
        return s;
    }

    DecodeCache cache;
    std::mt19937_64 random{20261124};
};

TEST_F(DecodeCacheTest, EveryEncodingWithAnyValues) {
    for_every_encoding(CodeSize::bits64, [&](const std::vector<u8>& bytes) {
        for (unsigned round = 0; round < 3 && !HasFatalFailure(); ++round) {
            std::vector<u8> code = bytes;
            // ModRM is the last byte that is given.
            size_t head = code.size();
            while (head > 1 && code[head - 1] == 0) --head;
            for (size_t i = head; i < code.size(); ++i) code[i] = static_cast<u8>(random());
            compare(code);
        }
    });
}

TEST_F(DecodeCacheTest, RandomBytes) {
    for (unsigned n = 0; n < 400000 && !HasFatalFailure(); ++n) {
        std::array<u8, 15> code;
        for (u8& b : code) b = static_cast<u8>(random());
        if (n % 2) code[0] = static_cast<u8>(0x48 | (code[0] & 7));
        if (n % 3 == 0) code[n % 2] = 0x0f;
        for (unsigned round = 0; round < 2; ++round) {
            compare(code);
            for (size_t i = 4; i < code.size(); ++i) code[i] = static_cast<u8>(random());
        }
    }
}

/// The bytes may end anywhere, also within an instruction whose head is known.
TEST_F(DecodeCacheTest, CutShort) {
    const std::vector<std::vector<u8>> code = {{0x48, 0x8b, 0x84, 0x24, 1, 2, 3, 4},
                                               {0x48, 0xc7, 0x44, 0x24, 8, 1, 2, 3, 4},
                                               {0xe8, 1, 2, 3, 4},
                                               {0x0f, 0x84, 1, 2, 3, 4},
                                               {0x48, 0xb8, 1, 2, 3, 4, 5, 6, 7, 8},
                                               {0x66, 0x90},
                                               {0xf3, 0x0f, 0x1e, 0xfa}};
    for (const auto& c : code) {
        compare(c);
        for (size_t n = 1; n <= c.size(); ++n) compare(std::span(c).first(n));
    }
}

/// Another processor has other instructions.
TEST_F(DecodeCacheTest, AnotherSetIsAnotherAnswer) {
    const auto old = make_cpu_model("486", 1);
    ASSERT_TRUE(old);
    const std::vector<std::vector<u8>> code = {{0x0f, 0x44, 0xc1}, {0xf3, 0x0f, 0xbc, 0xc1}, {0x0f, 0xc8}};
    for (const auto& c : code)
        for (unsigned round = 0; round < 3; ++round) {
            compare(c);
            compare(c, old->insns);
        }
}

}  // namespace
}  // namespace triune::x86
