// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "x86/cpu_model.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "base/bits.h"
#include "x86/cpu_features.h"
#include "x86/cpu_leaves.h"
#include "x86/host_cpuid.h"
#include "x86/vcpu_state.h"

namespace triune::x86 {
namespace {

u32 reg(const CpuidResult& r, CpuidRegister which) {
    const std::array<u32, 4> regs{r.eax, r.ebx, r.ecx, r.edx};
    return regs[static_cast<size_t>(which)];
}

CpuModel make(std::string_view spec, unsigned cpus = 1) {
    auto m = make_cpu_model(spec, cpus);
    EXPECT_TRUE(m) << m.error().message;
    return m ? *m : CpuModel{};
}

/// A model of the other vendor too, whatever the host is.
CpuModel synthetic(bool intel, unsigned cpus, u64 tsc_hz = 2'400'000'000) {
    CpuIdentity id;
    const char* vendor = intel ? "GenuineIntel" : "AuthenticAMD";
    std::memcpy(&id.vendor.ebx, vendor, 4);
    std::memcpy(&id.vendor.edx, vendor + 4, 4);
    std::memcpy(&id.vendor.ecx, vendor + 8, 4);
    id.signature = 0x606a6;
    id.brand = "Brand";
    CpuModel m;
    m.cpus = cpus;
    m.tsc_hz = tsc_hz;
    m.xcr0_mask = 7;
    std::vector<bool> all;
    for (const Feature& f : cpu_features) all.push_back(f.offer != (intel ? Offer::amd : Offer::intel));
    add_leaves(m, id, all);
    return m;
}

TEST(CpuModel, TableHasNoDuplicates) {
    for (size_t a = 0; a < cpu_features.size(); ++a)
        for (size_t b = a + 1; b < cpu_features.size(); ++b) {
            const Feature &x = cpu_features[a], &y = cpu_features[b];
            EXPECT_NE(x.name, y.name);
            EXPECT_FALSE(x.leaf == y.leaf && x.reg == y.reg && x.bit == y.bit) << x.name << ' ' << y.name;
        }
    for (const FeatureDependency& d : feature_dependencies) {
        EXPECT_NE(std::ranges::find(cpu_features, d.needed, &Feature::name), cpu_features.end()) << d.needed;
        EXPECT_NE(std::ranges::find(cpu_features, d.by, &Feature::name), cpu_features.end()) << d.by;
    }
}

TEST(CpuModel, NothingNativeBeyondTheHost) {
    for (const std::string& name : cpu_model_names()) {
        const auto m = make_cpu_model(name, 2);
        if (!m) continue;  // a host below that level
        for (const Feature& f : cpu_features)
            if (f.offer == Offer::native && m->has(f.name)) {
                EXPECT_TRUE(base::bit(reg(host_cpuid(f.leaf), f.reg), f.bit)) << name << ' ' << f.name;
            }
    }
}

TEST(CpuModel, NoBitOutsideTheTable) {
    const CpuModel m = make("host", 2);
    // Bits that follow the host's x87 or the number of processors.
    const CpuidResult extra{.eax = 0, .ebx = 0x2040, .ecx = 2, .edx = 1u << 28};
    for (u32 leaf : {1u, 7u, 0x80000001u}) {
        CpuidResult allowed;
        for (const Feature& f : cpu_features) {
            if (f.leaf != leaf) continue;
            (f.reg == CpuidRegister::ebx   ? allowed.ebx
             : f.reg == CpuidRegister::ecx ? allowed.ecx
                                           : allowed.edx) |= 1u << f.bit;
        }
        const CpuidResult r = m.lookup(leaf, 0);
        EXPECT_EQ(r.ecx & ~allowed.ecx & ~(leaf == 0x80000001 ? extra.ecx : 0), 0u) << std::hex << leaf;
        if (leaf == 7) {
            EXPECT_EQ(r.ebx & ~allowed.ebx & ~extra.ebx, 0u);
        }
        const u32 mirrored = leaf == 0x80000001 ? m.lookup(1, 0).edx : 0;
        EXPECT_EQ(r.edx & ~allowed.edx & ~(leaf == 1 ? extra.edx : 0) & ~mirrored, 0u) << std::hex << leaf;
    }
}

TEST(CpuModel, LevelsDifferByAvx) {
    const auto v2 = make_cpu_model("x86-64-v2", 1), v3 = make_cpu_model("x86-64-v3", 1);
    if (!v2 || !v3) GTEST_SKIP() << "host below x86-64-v3";
    EXPECT_TRUE(v2->has("sse4_2"));
    EXPECT_FALSE(v2->has("avx"));
    EXPECT_EQ(v2->xcr0_mask, 1u);
    EXPECT_TRUE(v3->has("avx2"));
    EXPECT_TRUE(v3->has("abm"));
    EXPECT_FALSE(v3->has("sha_ni"));
    EXPECT_EQ(v3->xcr0_mask, 7u);
    for (const char* always :
         {"lm", "nx", "syscall", "x2apic", "tsc_deadline", "pcid", "smep", "hypervisor"}) {
        EXPECT_TRUE(v2->has(always)) << always;
        EXPECT_TRUE(v3->has(always)) << always;
    }
}

TEST(CpuModel, StatesAnotherTscRateWherever) {
    CpuModel m = synthetic(true, 1, 2'400'000'000);
    state_tsc_rate(m, 19'200'000'000);
    EXPECT_EQ(m.tsc_hz, 19'200'000'000u);
    const CpuidResult ratio = m.lookup(0x15, 0);
    EXPECT_EQ(u64{ratio.ecx} * ratio.ebx / ratio.eax, 19'200'000'000u);
    EXPECT_EQ(m.lookup(0x16, 0).eax, 19'200u);
    EXPECT_EQ(m.lookup(0x40000010, 0).eax, 19'200'000u);
}

TEST(CpuModel, PlusAndMinus) {
    const CpuModel m = make("host,-x2apic,-PCID,-sse4.2");
    EXPECT_FALSE(m.has("x2apic"));
    EXPECT_FALSE(m.has("pcid"));
    EXPECT_FALSE(m.has("invpcid")) << "needs PCID";
    EXPECT_FALSE(m.has("sse4_2"));
    EXPECT_FALSE(m.has("avx2")) << "needs AVX, which needs SSE4.2";
    EXPECT_TRUE(m.has("sse4_1"));
    EXPECT_TRUE(make("host,-smap,+smap").has("smap"));
    EXPECT_EQ(make("host,-xsave").lookup(0xd, 0).ecx, 0u);
    EXPECT_EQ(make("host,-hypervisor").lookup(0x40000000, 0).ebx, 0u);
}

TEST(CpuModel, RealProcessors) {
    struct {
        const char* name;
        u32 highest, signature, edx, ecx, extended_edx, highest_extended;
    } const all[] = {
        {"486", 1, 0x480, 0x3, 0, 0, 0},
        {"pentium", 1, 0x52c, 0x3bf, 0, 0, 0},
        {"pentium3", 2, 0x673, 0x0383fbff, 0, 0, 0},
        {"core2", 0xa, 0x6f6, 0x078bfbff, 0x2201, 0x20100800, 0x80000008},
    };
    for (const auto& e : all) {
        const CpuModel m = make(e.name);
        const CpuidContext c;
        SCOPED_TRACE(e.name);
        EXPECT_EQ(m.vendor(), "GenuineIntel");
        EXPECT_EQ(cpuid(m, c, 0, 0).eax, e.highest);
        EXPECT_EQ(cpuid(m, c, 1, 0).eax, e.signature);
        EXPECT_EQ(cpuid(m, c, 1, 0).edx, e.edx);
        EXPECT_EQ(cpuid(m, c, 1, 0).ecx, e.ecx);
        EXPECT_EQ(m.lookup(0x80000000, 0).eax, e.highest_extended);
        EXPECT_EQ(m.lookup(0x80000001, 0).edx, e.extended_edx);
        EXPECT_EQ(m.xcr0_mask, 1u);
        EXPECT_EQ(m.lookup(0x40000000, 0).ebx, 0u) << "no hypervisor";
        EXPECT_EQ(make(std::string(e.name) + ",+hypervisor").lookup(0x40000000, 0).ebx, 0x4b4d564bu);
        // Beyond the range: the highest basic leaf.
        EXPECT_EQ(cpuid(m, c, 0x80000009, 0).eax, cpuid(m, c, e.highest, 0).eax);
        EXPECT_EQ(cpuid(m, c, leaf_unseen, 0).eax, cpuid(m, c, e.highest, 0).eax) << "is not for guests";
    }
    EXPECT_EQ(make("486,-cpuid").lookup(leaf_unseen, 0).eax, 0u);
    EXPECT_EQ(make("core2").lookup(4, 2).ebx, 0x03c0003fu);
    EXPECT_EQ(make("core2").lookup(4, 2).ecx, 0x00000fffu);
    EXPECT_EQ(make("core2", 2).lookup(4, 2).eax, 0x04004143u) << "as the dump shows it";
    EXPECT_EQ(make("core2").phys_bits, 36u);
    EXPECT_EQ(cpuid(make("core2"), {}, 2, 0).edx, 0x2cb43049u);
    EXPECT_FALSE(make("pentium3", 4).lookup(1, 0).edx & 1u << 28) << "a package each";
}

TEST(CpuModel, FeaturesOfRealProcessorsChange) {
    const CpuModel m = make("core2,+aes,-pge");
    EXPECT_TRUE(m.has("aes"));
    EXPECT_FALSE(m.has("pge"));
    EXPECT_TRUE(m.has("sse3"));
    EXPECT_EQ(m.lookup(0, 0).eax, 0xau);
    // A feature's leaf comes with it.
    EXPECT_EQ(make("core2,+smep").lookup(0, 0).eax, 0xau);
    EXPECT_TRUE(make("core2,+smep").has("smep"));
    EXPECT_EQ(make("486,+smep").lookup(0, 0).eax, 7u);
    EXPECT_EQ(make("core2,+xsave").lookup(0, 0).eax, 0xdu);
    EXPECT_EQ(make("core2,+xsave").lookup(0xd, 0).ecx, 576u);
    EXPECT_EQ(make("core2,+xsave").xcr0_mask, 3u);
    EXPECT_TRUE(make("pentium3,+nx").has("nx"));
    EXPECT_EQ(make("pentium3,+nx").lookup(0x80000000, 0).eax, 0x80000001u);
    EXPECT_FALSE(make("core2,-pae").has("lm")) << "needs PAE";
}

TEST(CpuModel, Errors) {
    const auto message = [](std::string_view spec, unsigned cpus = 1) {
        const auto m = make_cpu_model(spec, cpus);
        return m ? std::string() : m.error().message;
    };
    EXPECT_NE(message("vax").find("x86-64-v3"), std::string::npos) << "lists the models";
    EXPECT_NE(message("core-2").find("did you mean \"core2\"?"), std::string::npos);
    EXPECT_NE(message("pentium4").find("did you mean \"pentium\"?"), std::string::npos);
    EXPECT_NE(message("host,+aess").find("did you mean \"aes\"?"), std::string::npos);
    EXPECT_EQ(message("zzzzzzzzzz").find("did you mean"), std::string::npos);
    EXPECT_NE(message("core2," + std::string(5000, '+')), "");
    EXPECT_NE(message("").find("host"), std::string::npos);
    EXPECT_NE(message("host,+sse9").find("sse4_2"), std::string::npos) << "lists the features";
    EXPECT_NE(message("host,+sse9").find("sse9"), std::string::npos);
    EXPECT_NE(message("host,-avx512f"), "") << "not implemented";
    EXPECT_NE(message("host,"), "");
    EXPECT_NE(message("host,sse2"), "");
    EXPECT_NE(message("host,-fpu"), "");
    EXPECT_NE(message("486,+avx2").find("avx"), std::string::npos) << "needs more than that";
    EXPECT_NE(message("host,-pcid,+invpcid").find("pcid"), std::string::npos);
    EXPECT_NE(message("host", 0), "");
    EXPECT_NE(message("host", 256), "");
    const bool amd = make("host").vendor() != "GenuineIntel";
    EXPECT_NE(message(amd ? "host,+arch_capabilities" : "host,+autoibrs"), "");
    for (const Feature& f : cpu_features)
        if (f.offer == Offer::native && !base::bit(reg(host_cpuid(f.leaf), f.reg), f.bit)) {
            EXPECT_NE(message("host,+" + std::string(f.name)), "") << f.name;
        }
}

TEST(CpuModel, ProtectionKeys) {
    for (const std::string& name : cpu_model_names())
        if (const auto m = make_cpu_model(name, 1)) {
            EXPECT_FALSE(m->has("pku")) << name;
            EXPECT_FALSE(m->xcr0_mask & xcr0_pkru) << name;
        }
    EXPECT_FALSE(make("host,+pku,-pku").has("pku"));
    EXPECT_FALSE(make("host,+pku,-pku").xcr0_mask & xcr0_pkru);
    EXPECT_FALSE(make_cpu_model("core2,+pku", 1)) << "needs XSAVE";
    for (const char* name : {"host,+pku", "core2,+xsave,+pku"}) {
        const CpuModel m = make(name);
        CpuidContext c;
        EXPECT_EQ(cpuid(m, c, 7, 0).ecx & 3u << 3, 1u << 3) << name;
        c.cr4 = cr4::pke;
        EXPECT_EQ(cpuid(m, c, 7, 0).ecx & 3u << 3, 3u << 3) << name;
        EXPECT_TRUE(cpuid(m, c, 0xd, 0).eax & xcr0_pkru) << name;
        const CpuidResult component = cpuid(m, c, 0xd, 9);
        EXPECT_EQ(component.eax, 8u) << name;
        EXPECT_EQ(component.ebx, m.pkru_offset) << name;
        EXPECT_EQ(component.ecx, 0u) << name;
        EXPECT_GE(component.ebx, xsave_size) << name << ": AVX's part lies before";
        EXPECT_EQ(cpuid(m, c, 0xd, 0).ecx, component.ebx + 8) << name;
        EXPECT_EQ(cpuid(m, c, 0xd, 0).ebx, 576u) << name;
        c.xcr0 = 3 | xcr0_pkru;
        EXPECT_EQ(cpuid(m, c, 0xd, 0).ebx, component.ebx + 8) << name;
    }
}

TEST(CpuModel, RunTimeBits) {
    const CpuModel m = make("host", 4);
    CpuidContext c{.apic_id = 3};
    EXPECT_EQ(cpuid(m, c, 1, 0).ebx >> 24, 3u);
    EXPECT_FALSE(cpuid(m, c, 1, 0).ecx & 1u << 27);
    c.cr4 = cr4::osxsave;
    EXPECT_TRUE(cpuid(m, c, 1, 0).ecx & 1u << 27);
    EXPECT_TRUE(cpuid(m, c, 1, 0).edx & 1u << 9);
    c.apic_enabled = false;
    EXPECT_FALSE(cpuid(m, c, 1, 0).edx & 1u << 9);
    EXPECT_FALSE(cpuid(m, c, 0x80000001, 0).edx & 1u << 9);
    EXPECT_EQ(cpuid(m, c, 0xb, 0).edx, 3u);
    EXPECT_EQ(cpuid(m, c, 0xb, 1).ebx, 4u);
    EXPECT_EQ(cpuid(m, c, 0xb, 1).eax, 2u);
    EXPECT_EQ(cpuid(m, c, 0xb, 5).ecx, 5u);
    EXPECT_EQ(cpuid(m, c, 0xb, 5).ebx, 0u);
    if (m.xcr0_mask == 7) {
        EXPECT_EQ(cpuid(m, c, 0xd, 0).ebx, 576u);
        c.xcr0 = 7;
        EXPECT_EQ(cpuid(m, c, 0xd, 0).ebx, xsave_size);
        EXPECT_EQ(cpuid(m, c, 0xd, 0).ecx, xsave_size);
        EXPECT_EQ(cpuid(m, c, 0xd, 1).eax, 0u);
        EXPECT_EQ(cpuid(m, c, 0xd, 2).eax, 256u);
        EXPECT_EQ(cpuid(m, c, 0xd, 2).ebx, 576u);
        EXPECT_EQ(cpuid(m, c, 0xd, 3).eax, 0u);
    }
}

TEST(CpuModel, OutOfRangeIntelRepeatsTheHighestBasicLeaf) {
    const CpuModel m = synthetic(true, 1);
    const CpuidContext c;
    const u32 mhz = cpuid(m, c, 0x16, 0).eax;
    EXPECT_EQ(mhz, 2400u);
    EXPECT_EQ(cpuid(m, c, 0x17, 0).eax, mhz);
    EXPECT_EQ(cpuid(m, c, 0x80000009, 0).eax, mhz);
    EXPECT_EQ(cpuid(m, c, 0xc0000000, 0).eax, mhz);
    EXPECT_EQ(cpuid(m, c, 0x40000011, 0).eax, 0u);
    EXPECT_EQ(cpuid(m, c, 0xa, 0).eax, 0u) << "inside the range, not there";
}

TEST(CpuModel, OutOfRangeAmdIsZero) {
    const CpuModel m = synthetic(false, 1);
    const CpuidContext c;
    EXPECT_EQ(cpuid(m, c, 0xe, 0).eax, 0u);
    EXPECT_EQ(cpuid(m, c, 0xffffffff, 0).eax, 0u);
    EXPECT_EQ(cpuid(m, c, 0x80000022, 0).eax, 0u);
    EXPECT_EQ(cpuid(m, c, 0x80000000, 0).eax, 0x80000021u);
}

TEST(CpuModel, Topology) {
    for (unsigned cpus : {1u, 2u, 3u, 4u, 64u, 255u}) {
        const unsigned shift = static_cast<unsigned>(std::bit_width(cpus - 1));
        const CpuModel intel = synthetic(true, cpus), amd = synthetic(false, cpus);
        const CpuidContext c{.apic_id = cpus - 1};
        EXPECT_EQ(cpuid(intel, c, 0xb, 1).eax, shift);
        EXPECT_GE(((cpuid(intel, c, 4, 3).eax >> 14) & 0xfff) + 1, cpus) << "L3 is everybody's";
        EXPECT_EQ((cpuid(intel, c, 4, 0).eax >> 14) & 0xfff, 0u) << "L1 is one core's";
        EXPECT_EQ(cpuid(intel, c, 4, 4).eax & 31, 0u) << "list ends";
        EXPECT_EQ((cpuid(amd, c, 0x80000008, 0).ecx & 0xff) + 1, cpus);
        EXPECT_EQ(cpuid(amd, c, 0x80000008, 0).ecx >> 12 & 15, shift);
        EXPECT_EQ(cpuid(amd, c, 0x8000001e, 0).eax, cpus - 1);
        EXPECT_EQ(cpuid(amd, c, 0x8000001d, 4).eax & 31, 0u);
        EXPECT_EQ(bool(cpuid(amd, c, 1, 0).edx & 1u << 28), cpus > 1);
        EXPECT_EQ(bool(cpuid(amd, c, 0x80000001, 0).ecx & 2), cpus > 1);
    }
}

TEST(CpuModel, CachesMultiplyOut) {
    const CpuModel m = synthetic(true, 1);
    const auto bytes = [&m](u32 i) {
        const CpuidResult r = m.lookup(4, i);
        return ((r.ebx >> 22) + 1) * ((r.ebx & 0xfff) + 1) * (r.ecx + 1);
    };
    EXPECT_EQ(bytes(0), 32u << 10);
    EXPECT_EQ(bytes(2), 512u << 10);
    EXPECT_EQ(bytes(3), 16u << 20);
    EXPECT_EQ(synthetic(false, 1).lookup(0x80000006, 0).ecx >> 16, 512u) << "KiB, as in leaf 0x8000001D";
}

TEST(CpuModel, HypervisorLeaves) {
    const CpuModel m = make("host");
    const CpuidResult id = m.lookup(0x40000000, 0);
    EXPECT_EQ(id.eax, 0x40000010u);
    std::array<char, 13> text{};
    std::memcpy(&text[0], &id.ebx, 4);
    std::memcpy(&text[4], &id.ecx, 4);
    std::memcpy(&text[8], &id.edx, 4);
    EXPECT_STREQ(text.data(), "KVMKVMKVM");
    EXPECT_EQ(m.lookup(0x40000001, 0).eax, 0x0100000au);
    EXPECT_EQ(m.lookup(0x40000010, 0).eax, host_tsc_hz() / 1000);
    EXPECT_EQ(m.lookup(0x40000010, 0).ebx, 1'000'000u);
}

TEST(CpuModel, ArchCapabilitiesOnlyWhereAnnounced) {
    EXPECT_EQ(arch_capabilities(synthetic(false, 1)), 0u);
    const u64 v = arch_capabilities(synthetic(true, 1));
    EXPECT_EQ(v & 0x133, 0x133u) << "RDCL_NO, IBRS_ALL, SSB_NO, MDS_NO, TAA_NO";
    EXPECT_FALSE(v & 1 << 2) << "RSBA would ask for retpolines";
}

TEST(CpuModel, BrandAndIdentity) {
    const CpuModel host = make("host");
    for (u32 leaf = 0x80000002; leaf <= 0x80000004; ++leaf) {
        EXPECT_EQ(host.lookup(leaf, 0).eax, host_cpuid(leaf).eax);
    }
    EXPECT_EQ(host.lookup(1, 0).eax, host_cpuid(1).eax);
    EXPECT_EQ(host.lookup(0, 0).ebx, host_cpuid(0).ebx);
    std::array<char, 49> text{};
    const auto v2 = make_cpu_model("x86-64-v2", 1);
    ASSERT_TRUE(v2) << v2.error().message;
    for (u32 i = 0; i < 3; ++i) {
        const CpuidResult r = v2->lookup(0x80000002 + i, 0);
        std::memcpy(&text[i * 16], &r, 16);
    }
    EXPECT_STREQ(text.data(), "Triune Virtual CPU (x86-64-v2)");
    EXPECT_EQ(v2->vendor(), host.vendor());
}

TEST(CpuModel, PhysicalBits) {
    const CpuModel m = make("host");
    EXPECT_EQ(m.lookup(0x80000008, 0).eax, m.phys_bits | 48u << 8);
    EXPECT_LE(m.phys_bits, host_cpuid(0x80000008).eax & 0xff);
}

TEST(TscRatio, ExactWhereItCanBe) {
    for (u64 hz :
         {1'000'000'000ull, 2'400'000'000ull, 2'445'000'000ull, 3'700'000'000ull, 2'999'000'000ull}) {
        const TscRatio r = tsc_ratio(hz);
        EXPECT_EQ(u64{1'000'000'000} * r.numerator / r.denominator, hz);
    }
    for (u64 hz : {2'445'425'123ull, 2'999'500'000ull, 3'999'600'000ull, 1'992'001'337ull, 4'299'999'999ull,
                   333'333'333ull}) {
        const TscRatio r = tsc_ratio(hz);
        EXPECT_LE(u64{1'000'000} * r.numerator, 0xffffffffu) << "32-bit kHz arithmetic";
        const double got = 1e9 * r.numerator / r.denominator;
        EXPECT_LT(std::abs(got - double(hz)) / double(hz), 150e-6) << hz;
    }
}

TEST(HostTsc, IsTheRateThatTheClockShows) {
    const u64 hz = host_tsc_hz();
    EXPECT_EQ(hz, host_tsc_hz());
    timespec a, b;
    clock_gettime(CLOCK_MONOTONIC_RAW, &a);
    const u64 t0 = __builtin_ia32_rdtsc();
    const timespec wait{0, 50'000'000};
    nanosleep(&wait, nullptr);
    clock_gettime(CLOCK_MONOTONIC_RAW, &b);
    const u64 t1 = __builtin_ia32_rdtsc();
    const double seconds = double(b.tv_sec - a.tv_sec) + double(b.tv_nsec - a.tv_nsec) * 1e-9;
    EXPECT_NEAR(double(t1 - t0) / seconds / double(hz), 1.0, 1e-2);
}

}  // namespace
}  // namespace triune::x86
