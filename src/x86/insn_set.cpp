// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "x86/insn_set.h"

#include <Zydis/Zydis.h>

#include <algorithm>
#include <utility>

#include "x86/cpu_features.h"
#include "x86/cpu_model.h"

namespace triune::x86 {
namespace {

constexpr u8 always = 0xff, never = 0xfe;

/// Index of a feature; a name that cpu_features lacks does not compile.
consteval u8 index(std::string_view name) {
    for (size_t n = 0; n < cpu_features.size(); ++n)
        if (cpu_features[n].name == name) return static_cast<u8>(n);
    throw "no such feature";
}
static_assert(cpu_features.size() < never);

/// Both must be there.
struct Needs {
    constexpr Needs(u8 a, u8 b = always) : first(a), second(b) {}
    u8 first, second;
};

/// By Zydis' sets. What is not named here no processor of ours has: AVX-512, VMX, SVM, SGX, MPX…
constexpr auto needs_of_set = [] {
    constexpr size_t sets = ZYDIS_ISA_SET_MAX_VALUE + 1;
    auto t = []<size_t... n>(std::index_sequence<n...>) {
        return std::array<Needs, sizeof...(n)>{((void)n, Needs(never))...};
    }(std::make_index_sequence<sets>());
    for (const auto set :
         {ZYDIS_ISA_SET_I86, ZYDIS_ISA_SET_I186, ZYDIS_ISA_SET_I286PROTECTED, ZYDIS_ISA_SET_I286REAL,
          ZYDIS_ISA_SET_I386, ZYDIS_ISA_SET_I486, ZYDIS_ISA_SET_I486REAL, ZYDIS_ISA_SET_PAUSE,
          ZYDIS_ISA_SET_LAHF, ZYDIS_ISA_SET_LONGMODE})
        t[set] = {always};
    t[ZYDIS_ISA_SET_X87] = {index("fpu")};
    t[ZYDIS_ISA_SET_FCMOV] = {index("cmov"), index("fpu")};
    t[ZYDIS_ISA_SET_CMOV] = {index("cmov")};
    t[ZYDIS_ISA_SET_PPRO] = {index("cmov"), index("fpu")};  // FCOMI and its like; others: by_mnemonic()
    t[ZYDIS_ISA_SET_FAT_NOP] = {index("p6")};
    t[ZYDIS_ISA_SET_SSE_PREFETCH] = {index("p6")};  // without SSE they are multi-byte NOPs
    t[ZYDIS_ISA_SET_RDPMC] = {index("p6")};
    t[ZYDIS_ISA_SET_PREFETCH_NOP] = {index("3dnowprefetch")};
    t[ZYDIS_ISA_SET_PREFETCHWT1] = {index("3dnowprefetch")};  // an alias of PREFETCH without its own
    t[ZYDIS_ISA_SET_AMD] = {index("syscall")};
    t[ZYDIS_ISA_SET_PENTIUMMMX] = {index("mmx")};
    t[ZYDIS_ISA_SET_CLFSH] = {index("clflush")};
    t[ZYDIS_ISA_SET_FXSAVE] = {index("fxsr")};
    t[ZYDIS_ISA_SET_FXSAVE64] = {index("fxsr")};
    t[ZYDIS_ISA_SET_SSE] = {index("sse")};
    t[ZYDIS_ISA_SET_SSEMXCSR] = {index("sse")};
    t[ZYDIS_ISA_SET_SSE2] = {index("sse2")};
    t[ZYDIS_ISA_SET_SSE2MMX] = {index("sse2")};
    t[ZYDIS_ISA_SET_SSE3] = {index("sse3")};
    t[ZYDIS_ISA_SET_SSE3X87] = {index("sse3"), index("fpu")};
    t[ZYDIS_ISA_SET_SSSE3] = {index("ssse3")};
    t[ZYDIS_ISA_SET_SSSE3MMX] = {index("ssse3")};
    t[ZYDIS_ISA_SET_SSE4] = {index("sse4_1")};
    t[ZYDIS_ISA_SET_SSE42] = {index("sse4_2")};
    t[ZYDIS_ISA_SET_POPCNT] = {index("popcnt")};
    t[ZYDIS_ISA_SET_CMPXCHG16B] = {index("cx16")};
    t[ZYDIS_ISA_SET_AES] = {index("aes")};
    t[ZYDIS_ISA_SET_PCLMULQDQ] = {index("pclmulqdq")};
    t[ZYDIS_ISA_SET_SHA] = {index("sha_ni")};
    t[ZYDIS_ISA_SET_MOVBE] = {index("movbe")};
    t[ZYDIS_ISA_SET_XSAVE] = {index("xsave")};
    t[ZYDIS_ISA_SET_AVX] = {index("avx")};
    t[ZYDIS_ISA_SET_AVXAES] = {index("avx"), index("aes")};
    t[ZYDIS_ISA_SET_AVX2] = {index("avx2")};
    t[ZYDIS_ISA_SET_AVX2GATHER] = {index("avx2")};
    t[ZYDIS_ISA_SET_FMA] = {index("fma")};
    t[ZYDIS_ISA_SET_F16C] = {index("f16c")};
    t[ZYDIS_ISA_SET_VAES] = {index("vaes")};
    t[ZYDIS_ISA_SET_VPCLMULQDQ] = {index("vpclmulqdq")};
    t[ZYDIS_ISA_SET_BMI1] = {index("bmi1")};
    t[ZYDIS_ISA_SET_BMI2] = {index("bmi2")};
    t[ZYDIS_ISA_SET_LZCNT] = {index("abm")};
    t[ZYDIS_ISA_SET_ADOX_ADCX] = {index("adx")};
    t[ZYDIS_ISA_SET_RDRAND] = {index("rdrand")};
    t[ZYDIS_ISA_SET_RDSEED] = {index("rdseed")};
    t[ZYDIS_ISA_SET_RDTSCP] = {index("rdtscp")};
    t[ZYDIS_ISA_SET_RDPID] = {index("rdpid")};
    t[ZYDIS_ISA_SET_RDWRFSGS] = {index("fsgsbase")};
    t[ZYDIS_ISA_SET_INVPCID] = {index("invpcid")};
    t[ZYDIS_ISA_SET_SMAP] = {index("smap")};
    t[ZYDIS_ISA_SET_PKU] = {index("pku")};
    t[ZYDIS_ISA_SET_CLFLUSHOPT] = {index("clflushopt")};
    t[ZYDIS_ISA_SET_CLWB] = {index("clwb")};
    return t;
}();

/// Where Zydis' sets are too coarse for CPUID.
Needs by_mnemonic(const ZydisDecodedInstruction& z) {
    switch (z.mnemonic) {
        case ZYDIS_MNEMONIC_UD0:  // their whole meaning is #UD
        case ZYDIS_MNEMONIC_UD1:
        case ZYDIS_MNEMONIC_UD2:
        case ZYDIS_MNEMONIC_RSM:  // nobody is in system management mode
            return {never};
        case ZYDIS_MNEMONIC_VMCALL:  // hypercalls
        case ZYDIS_MNEMONIC_VMMCALL: return {always};
        case ZYDIS_MNEMONIC_CPUID: return {index("cpuid")};
        case ZYDIS_MNEMONIC_RDTSC: return {index("tsc")};
        case ZYDIS_MNEMONIC_RDMSR:
        case ZYDIS_MNEMONIC_WRMSR: return {index("msr")};
        case ZYDIS_MNEMONIC_CMPXCHG8B: return {index("cx8")};
        case ZYDIS_MNEMONIC_SYSENTER:
        case ZYDIS_MNEMONIC_SYSEXIT: return {index("sep")};
        case ZYDIS_MNEMONIC_SYSCALL:
        case ZYDIS_MNEMONIC_SYSRET: return {index("syscall")};
        case ZYDIS_MNEMONIC_NOP:
            if (z.meta.isa_set == ZYDIS_ISA_SET_PPRO) return {index("p6")};
            break;
        case ZYDIS_MNEMONIC_LAHF:
        case ZYDIS_MNEMONIC_SAHF:
            if (z.machine_mode == ZYDIS_MACHINE_MODE_LONG_64) return {index("lahf_lm")};
            break;
        case ZYDIS_MNEMONIC_VPCLMULQDQ:
            if (z.meta.isa_set == ZYDIS_ISA_SET_AVX) return {index("avx"), index("pclmulqdq")};
            break;
        // MMX registers, but SSE brought them (Intel SDM 1 5.4, 10.4.5, 10.4.6).
        case ZYDIS_MNEMONIC_MASKMOVQ:
        case ZYDIS_MNEMONIC_MOVNTQ:
        case ZYDIS_MNEMONIC_PAVGB:
        case ZYDIS_MNEMONIC_PAVGW:
        case ZYDIS_MNEMONIC_PEXTRW:
        case ZYDIS_MNEMONIC_PINSRW:
        case ZYDIS_MNEMONIC_PMAXSW:
        case ZYDIS_MNEMONIC_PMAXUB:
        case ZYDIS_MNEMONIC_PMINSW:
        case ZYDIS_MNEMONIC_PMINUB:
        case ZYDIS_MNEMONIC_PMOVMSKB:
        case ZYDIS_MNEMONIC_PMULHUW:
        case ZYDIS_MNEMONIC_PSADBW:
        case ZYDIS_MNEMONIC_PSHUFW:
            if (z.meta.isa_set == ZYDIS_ISA_SET_PENTIUMMMX) return {index("sse")};
            break;
        default: break;
    }
    return needs_of_set[static_cast<size_t>(z.meta.isa_set)];
}

Needs needs(const ZydisDecodedInstruction& z) {
    if (z.encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY && z.encoding != ZYDIS_INSTRUCTION_ENCODING_VEX)
        return {never};
    return by_mnemonic(z);
}

}  // namespace

InsnSet InsnSet::of(const CpuModel& model) {
    InsnSet s;
    s.words_ = {};
    const auto add = [&s](size_t n) { s.words_[n / 64] |= u64{1} << (n % 64); };
    for (size_t n = 0; n < cpu_features.size(); ++n)
        if (model.has(cpu_features[n].name)) add(n);
    // In 64-bit mode SYSCALL is always there (Intel SDM 2B SYSCALL), and processors with long mode
    // execute PREFETCHW at least as a NOP (Intel SDM 2B PREFETCHW, AMD APM 3 PREFETCH).
    if (model.has("lm")) {
        add(index("syscall"));
        add(index("3dnowprefetch"));
    }
    s.decoder_ = (model.has("abm") ? 1u : 0u) | (model.has("bmi1") ? 2u : 0u);
    return s;
}

bool InsnSet::has(const ZydisDecodedInstruction& z) const {
    const Needs n = needs(z);
    if (n.first == never) return false;
    return (n.first == always || feature(n.first)) && (n.second == always || feature(n.second));
}

InsnFeatures features_of(const ZydisDecodedInstruction& z) {
    const Needs n = needs(z);
    if (n.first == never) return {};
    InsnFeatures r{true, {}};
    if (n.first != always) r.names[0] = cpu_features[n.first].name;
    if (n.second != always) r.names[1] = cpu_features[n.second].name;
    return r;
}

}  // namespace triune::x86
