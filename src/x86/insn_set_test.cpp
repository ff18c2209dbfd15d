// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "x86/insn_set.h"

#include <Zydis/Zydis.h>
#include <gtest/gtest.h>

#include <set>
#include <string_view>

#include "x86/cpu_features.h"
#include "x86/cpu_model.h"
#include "x86/every_encoding.h"
#include "x86/insn.h"

namespace triune::x86 {
namespace {

DecodeStatus status(const std::string& cpu, std::initializer_list<u8> bytes,
                    CodeSize size = CodeSize::bits64) {
    const auto model = make_cpu_model(cpu, 1);
    EXPECT_TRUE(model) << model.error().message;
    Insn i;
    std::vector<u8> code(bytes);
    code.resize(15);
    return decode(code, size, i, model->insns);
}

struct Case {
    const char* text;
    std::initializer_list<u8> bytes;
    const char *has, *lacks;  ///< models
};

TEST(InsnSet, EachModelHasWhatItShows) {
    const Case cases[] = {
        {"cpuid", {0x0f, 0xa2}, "486", "486,-cpuid"},
        {"rdtsc", {0x0f, 0x31}, "pentium", "486"},
        {"rdmsr", {0x0f, 0x32}, "pentium", "486"},
        {"cmpxchg8b [eax]", {0x0f, 0xc7, 0x08}, "pentium", "486"},
        {"cmove eax, ecx", {0x0f, 0x44, 0xc1}, "pentium3", "pentium"},
        {"fcmovb st0, st1", {0xda, 0xc1}, "pentium3", "pentium"},
        {"fcomi st0, st1", {0xdb, 0xf1}, "pentium3", "pentium"},
        {"nop [eax]", {0x0f, 0x1f, 0x00}, "pentium3", "pentium"},
        {"prefetcht0 [eax]", {0x0f, 0x18, 0x08}, "pentium3", "pentium"},
        {"sysenter", {0x0f, 0x34}, "pentium3", "pentium"},
        {"paddb mm0, mm1", {0x0f, 0xfc, 0xc1}, "pentium3", "pentium"},
        {"pavgb mm0, mm1", {0x0f, 0xe0, 0xc1}, "pentium3", "pentium3,-sse"},
        {"fxsave [eax]", {0x0f, 0xae, 0x00}, "pentium3", "pentium"},
        {"addps xmm0, xmm1", {0x0f, 0x58, 0xc1}, "pentium3", "pentium"},
        {"sfence", {0x0f, 0xae, 0xf8}, "pentium3", "pentium"},
        {"addpd xmm0, xmm1", {0x66, 0x0f, 0x58, 0xc1}, "core2", "pentium3"},
        {"mfence", {0x0f, 0xae, 0xf0}, "core2", "pentium3"},
        {"clflush [eax]", {0x0f, 0xae, 0x38}, "core2", "pentium3"},
        {"fisttp word [eax]", {0xdf, 0x08}, "core2", "pentium3"},
        {"pshufb xmm0, xmm1", {0x66, 0x0f, 0x38, 0x00, 0xc1}, "core2", "pentium3"},
        {"prefetchw [eax]", {0x0f, 0x0d, 0x08}, "core2", "pentium3"},
        {"pminsd xmm0, xmm1", {0x66, 0x0f, 0x38, 0x39, 0xc1}, "x86-64-v2", "core2"},
        {"pcmpgtq xmm0, xmm1", {0x66, 0x0f, 0x38, 0x37, 0xc1}, "x86-64-v2", "core2"},
        {"crc32 eax, al", {0xf2, 0x0f, 0x38, 0xf0, 0xc0}, "x86-64-v2", "core2"},
        {"popcnt eax, ecx", {0xf3, 0x0f, 0xb8, 0xc1}, "x86-64-v2", "core2"},
        {"movbe eax, [eax]", {0x0f, 0x38, 0xf0, 0x00}, "x86-64-v3", "x86-64-v2"},
        {"andn eax, ecx, edx", {0xc4, 0xe2, 0x70, 0xf2, 0xc2}, "x86-64-v3", "x86-64-v2"},
        {"rorx eax, ecx, 1", {0xc4, 0xe3, 0x7b, 0xf0, 0xc1, 0x01}, "x86-64-v3", "x86-64-v2"},
        {"vaddps xmm0, xmm0, xmm1", {0xc5, 0xf8, 0x58, 0xc1}, "x86-64-v3", "x86-64-v2"},
        {"vpaddb ymm0, ymm0, ymm1", {0xc5, 0xfd, 0xfc, 0xc1}, "x86-64-v3", "x86-64-v2"},
        {"vfmadd132ps xmm0, xmm0, xmm1", {0xc4, 0xe2, 0x79, 0x98, 0xc1}, "x86-64-v3", "x86-64-v3,-fma"},
        {"xgetbv", {0x0f, 0x01, 0xd0}, "x86-64-v3", "x86-64-v2"},
        {"aesenc xmm0, xmm1", {0x66, 0x0f, 0x38, 0xdc, 0xc1}, "core2,+aes", "core2"},
        {"rdfsbase (64)", {0xf3, 0x48, 0x0f, 0xae, 0xc0}, "core2,+fsgsbase", "core2"},
        {"rdpid", {0xf3, 0x0f, 0xc7, 0xf8}, "core2,+rdpid", "core2"},
        {"rdtscp", {0x0f, 0x01, 0xf9}, "core2,+rdtscp", "core2"},
        {"rdpkru", {0x0f, 0x01, 0xee}, "core2,+xsave,+pku", "core2,+xsave"},
        {"wrpkru", {0x0f, 0x01, 0xef}, "core2,+xsave,+pku", "core2,+xsave"},
        {"clac", {0x0f, 0x01, 0xca}, "core2,+smap", "core2"},
        {"syscall", {0x0f, 0x05}, "core2", "pentium3"},
    };
    for (const Case& c : cases)
        for (const CodeSize size : {CodeSize::bits64, CodeSize::bits32, CodeSize::bits16}) {
            if (size != CodeSize::bits64 && (c.text == std::string("rdfsbase (64)"))) continue;
            if (size == CodeSize::bits16 && c.bytes.begin()[0] == 0xc4) continue;
            EXPECT_EQ(status(c.has, c.bytes, size), DecodeStatus::ok) << c.text << ' ' << int(size);
            EXPECT_EQ(status(c.lacks, c.bytes, size), DecodeStatus::invalid) << c.text << ' ' << int(size);
        }
}

/// Every feature that CPUID shows either has instructions in the opcode space or is known to have none.
TEST(InsnSet, EveryFeatureIsAccountedFor) {
    std::set<std::string_view> with_instructions;
    for (const auto mode : {ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_MACHINE_MODE_LONG_64}) {
        const bool wide = mode == ZYDIS_MACHINE_MODE_LONG_64;
        ZydisDecoder d{};
        d.machine_mode = mode;
        d.stack_width = wide ? ZYDIS_STACK_WIDTH_64 : ZYDIS_STACK_WIDTH_32;
        d.decoder_mode[ZYDIS_DECODER_MODE_LZCNT] = d.decoder_mode[ZYDIS_DECODER_MODE_TZCNT] = ZYAN_TRUE;
        for_every_encoding(wide ? CodeSize::bits64 : CodeSize::bits32, [&](const std::vector<u8>& bytes) {
            ZydisDecodedInstruction z;
            ZydisDecoderContext context;
            if (!ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(&d, &context, bytes.data(), bytes.size(), &z)))
                return;
            for (const std::string_view name : features_of(z).names)
                if (!name.empty()) with_instructions.insert(name);
        });
    }
    const std::set<std::string_view> without = {"vme",
                                                "de",
                                                "pse",
                                                "pae",
                                                "mce",
                                                "apic",
                                                "mtrr",
                                                "pge",
                                                "mca",
                                                "pat",
                                                "pse36",
                                                "pcid",
                                                "x2apic",
                                                "tsc_deadline",
                                                "hypervisor",
                                                "arat",
                                                "smep",
                                                "erms",
                                                "umip",
                                                "la57",
                                                "fsrm",
                                                "spec_ctrl",
                                                "arch_capabilities",
                                                "topoext",
                                                "nx",
                                                "mmxext",
                                                "pdpe1gb",
                                                "lm",
                                                "invtsc",
                                                "ssb_no",
                                                "btc_no",
                                                "no_nested_data_bp",
                                                "lfence_serializing",
                                                "null_sel_clr_base",
                                                "autoibrs",
                                                "srso_no",
                                                "tsa_sq_no",
                                                "tsa_l1_no"};
    for (const Feature& f : cpu_features)
        EXPECT_NE(with_instructions.contains(f.name), without.contains(f.name))
            << f.name << ": no instruction of the table needs it, or it was thought to have none";
}

TEST(InsnSet, LahfIn64BitModeOnly) {
    EXPECT_EQ(status("core2,-lahf_lm", {0x9f}), DecodeStatus::invalid);
    EXPECT_EQ(status("core2,-lahf_lm", {0x9f}, CodeSize::bits32), DecodeStatus::ok);
    EXPECT_EQ(status("486", {0x9f}, CodeSize::bits32), DecodeStatus::ok);
}

TEST(InsnSet, CountsOfZerosAreBitScansWithoutThem) {
    const auto decoded = [](const char* cpu, std::initializer_list<u8> bytes) {
        const auto model = make_cpu_model(cpu, 1);
        Insn i;
        std::vector<u8> code(bytes);
        code.resize(15);
        EXPECT_EQ(decode(code, CodeSize::bits64, i, model->insns), DecodeStatus::ok);
        return i;
    };
    const Insn bsf = decoded("core2", {0xf3, 0x48, 0x0f, 0xbc, 0xc1});
    EXPECT_EQ(bsf.mnemonic, ZYDIS_MNEMONIC_BSF);
    EXPECT_EQ(bsf.length, 5);
    EXPECT_TRUE(bsf.op[0].conditional_write);
    for (u8 n = 0; n < bsf.length; ++n) EXPECT_NE(bsf.bytes[n], 0xf3) << "would be TZCNT on the host";
    EXPECT_EQ(decoded("core2", {0xf3, 0x0f, 0xbd, 0xc1}).mnemonic, ZYDIS_MNEMONIC_BSR);
    EXPECT_EQ(decoded("core2,+bmi1", {0xf3, 0x0f, 0xbc, 0xc1}).mnemonic, ZYDIS_MNEMONIC_TZCNT);
    EXPECT_EQ(decoded("core2,+bmi1", {0xf3, 0x0f, 0xbd, 0xc1}).mnemonic, ZYDIS_MNEMONIC_BSR);
    EXPECT_EQ(decoded("core2,+abm", {0xf3, 0x0f, 0xbd, 0xc1}).mnemonic, ZYDIS_MNEMONIC_LZCNT);
    EXPECT_EQ(decoded("core2,+abm", {0xf3, 0x0f, 0xbc, 0xc1}).mnemonic, ZYDIS_MNEMONIC_BSF);
    EXPECT_EQ(decoded("core2", {0x0f, 0xbc, 0xc1}).mnemonic, ZYDIS_MNEMONIC_BSF);
}

}  // namespace
}  // namespace triune::x86
