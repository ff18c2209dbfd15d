// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "x86/cpu_leaves.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <span>

#include "x86/cpu_features.h"
#include "x86/host_cpuid.h"
#include "x86/vcpu_state.h"

namespace triune::x86 {
namespace {

constexpr u32 max_basic_intel = 0x16, max_basic_amd = 0xd;
constexpr u32 max_extended_intel = 0x80000008, max_extended_amd = 0x80000021;
constexpr u32 max_hypervisor = 0x40000010;
/// The local APIC timer's clock, also the "core crystal" of leaf 0x15.
constexpr u64 apic_bus_hz = 1'000'000'000;

/// Bits of leaf 1 EDX that AMD repeats in leaf 0x80000001 EDX.
constexpr u32 amd_mirrored = 0x0183f3ff;

/// One of the three leaves that tell the TSC's rate.
CpuidResult tsc_leaf(u32 leaf, u64 hz) {
    const u32 khz = static_cast<u32>(hz / 1000), mhz = static_cast<u32>((hz + 500'000) / 1'000'000);
    const TscRatio ratio = tsc_ratio(hz);
    switch (leaf) {
        case 0x15: return {ratio.denominator, ratio.numerator, apic_bus_hz, 0};
        case 0x16: return {mhz, mhz, 100, 0};
        default: return {khz, apic_bus_hz / 1000, 0, 0};
    }
}

class Leaves {
public:
    Leaves(CpuModel& model, const CpuIdentity& id, const std::vector<bool>& enabled)
        : model_(model), id_(id), enabled_(enabled), id_bits_(std::bit_width(model.cpus - 1)) {}

    void basic() {
        const u32 highest = id_.intel() ? max_basic_intel : max_basic_amd;
        add(0, {highest, id_.vendor.ebx, id_.vendor.ecx, id_.vendor.edx});
        CpuidResult one = features(1);
        one.eax = id_.signature;
        one.ebx = 8 << 8;  // CLFLUSH line of 64 bytes
        if (model_.cpus > 1) {
            one.ebx |= std::min(1u << id_bits_, 255u) << 16;
            one.edx |= 1u << 28;  // HTT: that count is valid
        }
        add(1, one);
        if (id_.intel()) {
            add(2, {0x00ff0301, 0, 0, 0});  // a TLB; caches: see leaf 4
            caches(4, round_caches, id_bits_);
        }
        add(6, features(6));
        CpuidResult seven = features(7);
        // How the host's x87 saves FCS, FDS and FDP shows through: it runs the guest's code.
        seven.ebx |= host_cpuid(7).ebx & (1u << 6 | 1u << 13);
        add(7, 0, seven);
        topology();
        if (one.ecx & 1u << 26) xsave();
        if (id_.intel()) {
            for (const u32 leaf : {0x15u, 0x16u}) add(leaf, tsc_leaf(leaf, model_.tsc_hz));
        }
    }

    /// What a fixed model shows. Features that were added to it may need leaves that it lacks.
    void fixed() {
        const FixedModel& f = *id_.fixed;
        u32 basic = f.max_basic, extended = f.max_extended;
        for (size_t i = 0; i < cpu_features.size(); ++i) {
            if (!enabled_[i] || cpu_features[i].leaf == leaf_unseen) continue;
            u32& highest = cpu_features[i].leaf & 0x80000000 ? extended : basic;
            highest = std::max(highest, cpu_features[i].leaf);
        }
        const CpuidResult leaf1 = features(1);
        if (leaf1.ecx & 1u << 21) basic = std::max(basic, 0xbu);  // x2APIC ids
        if (leaf1.ecx & 1u << 26) basic = std::max(basic, 0xdu);
        fixed_basic(f, leaf1, basic);
        if (extended) fixed_extended(f, extended);
    }

    /// KVM's leaves (Linux Documentation/virt/kvm/x86/cpuid.rst), and the timing leaf that VMware
    /// defined.
    void hypervisor() {
        if (!(features(1).ecx & 1u << 31)) return;
        constexpr u32 nop_io_delay = 1 << 1, clocksource2 = 1 << 3, clocksource_stable = 1 << 24;
        add(0x40000000, {max_hypervisor, 0x4b4d564b, 0x564b4d56, 0x4d});  // "KVMKVMKVM"
        add(0x40000001, {nop_io_delay | clocksource2 | clocksource_stable, 0, 0, 0});
        add(0x40000010, tsc_leaf(0x40000010, model_.tsc_hz));
    }

    void extended() {
        if (id_.intel())
            add(0x80000000, {max_extended_intel, 0, 0, 0});
        else
            add(0x80000000, {max_extended_amd, id_.vendor.ebx, id_.vendor.ecx, id_.vendor.edx});
        CpuidResult one = features(0x80000001);
        if (!id_.intel()) {
            one.eax = id_.signature;
            one.edx |= features(1).edx & amd_mirrored;
            if (model_.cpus > 1) one.ecx |= 1 << 1;  // CmpLegacy: those are cores
        }
        add(0x80000001, one);
        brand();
        if (!id_.intel()) add(0x80000005, {0xff40ff40, 0xff40ff40, 0x20080140, 0x20080140});
        add(0x80000006, {0, id_.intel() ? 0 : 0x68006800u, 0x02006140, id_.intel() ? 0 : 0x00808140u});
        add(0x80000007, features(0x80000007));
        CpuidResult eight = features(0x80000008);
        eight.eax = model_.phys_bits | (features(7).ecx & 1u << 16 ? 57u : 48u) << 8;
        if (!id_.intel()) {
            eight.ebx |= host_cpuid(0x80000008).ebx & 1u << 2;  // what FXSAVE does with error pointers
            eight.ecx = (model_.cpus - 1) | id_bits_ << 12;
        }
        add(0x80000008, eight);
        if (id_.intel()) return;
        if (one.ecx & 1u << 22) {
            caches(0x8000001d, round_caches, id_bits_);
            add(0x8000001e, {0, 0, 0, 0});  // ids are filled in by cpuid()
        }
        add(0x80000021, features(0x80000021));
    }

    /// CpuModel::has() looks there for features without a bit that guests see.
    void unseen() { add(leaf_unseen, features(leaf_unseen)); }

private:
    void fixed_basic(const FixedModel& f, CpuidResult one, u32 highest) {
        add(0, {highest, id_.vendor.ebx, id_.vendor.ecx, id_.vendor.edx});
        one.eax = f.signature;
        // CLFLUSH has lines of 64 bytes on every model that it is added to.
        one.ebx = (one.edx & 1u << 19 ? 8u : f.clflush_line) << 8;
        if (f.multi_core && model_.cpus > 1) {
            one.ebx |= std::min(1u << id_bits_, 255u) << 16;
            one.edx |= 1u << 28;
        }
        add(1, one);
        if (highest >= 2) add(2, {f.leaf2[0], f.leaf2[1], f.leaf2[2], f.leaf2[3]});
        if (!f.caches.empty()) caches(4, f.caches, f.multi_core ? id_bits_ : 0);
        if (highest >= 6) add(6, features(6));
        if (highest >= 7) add(7, 0, features(7));
        if (highest >= 0xb && one.ecx & 1u << 21) topology();
        if (one.ecx & 1u << 26) xsave();
    }
    void fixed_extended(const FixedModel& f, u32 highest) {
        add(0x80000000, {highest, 0, 0, 0});
        add(0x80000001, features(0x80000001));
        if (highest >= 0x80000004 && !id_.brand.empty()) brand();
        if (highest >= 0x80000006) add(0x80000006, {0, 0, f.l2, 0});
        if (highest >= 0x80000007) add(0x80000007, features(0x80000007));
        if (highest < 0x80000008) return;
        CpuidResult eight = features(0x80000008);
        eight.eax = model_.phys_bits | 48 << 8;
        add(0x80000008, eight);
    }
    void topology() {
        add(0xb, 0, {0, 1, 0x100, 0});  // one thread a core
        add(0xb, 1, {id_bits_, model_.cpus, 0x201, 0});
    }
    void xsave() {
        if (model_.xcr0_mask & xcr0_pkru) model_.pkru_offset = pkru_offset(id_.intel());
        state_xsave_components(model_);
    }
    /// The host's, so that the guest may run on the host's own XSAVE; else that of most processors: after
    /// what Intel's have of MPX and AVX-512, and after AVX on Zen 3, AMD's first with protection keys.
    static u32 pkru_offset(bool intel) {
        const CpuidResult host = host_cpuid(0xd, 9);
        return host.eax == 8 && host.ebx >= xsave_size && host.ebx < 4096 - 8 ? host.ebx : intel ? 2688 : 832;
    }

    void add(u32 function, CpuidResult r) { model_.leaves.push_back({function, 0, false, r}); }
    void add(u32 function, u32 index, CpuidResult r) { model_.leaves.push_back({function, index, true, r}); }

    [[nodiscard]] CpuidResult features(u32 leaf) const {
        std::array<u32, 4> r{};
        for (size_t i = 0; i < cpu_features.size(); ++i)
            if (cpu_features[i].leaf == leaf && enabled_[i])
                r[static_cast<size_t>(cpu_features[i].reg)] |= 1u << cpu_features[i].bit;
        return {r[0], r[1], r[2], r[3]};
    }

    /// Plausible round numbers: L1D and L1I of 32 KiB, L2 of 512 KiB each core's own, L3 of 16 MiB
    /// shared. Nothing here caches.
    static constexpr std::array<FixedModel::Cache, 4> round_caches{
        {{1, 1, 8, 64, false}, {2, 1, 8, 64, false}, {3, 2, 8, 1024, false}, {3, 3, 16, 16384, true}}};

    /// Deterministic cache parameters. `id_bits`: of what tells the cores of one package apart.
    void caches(u32 function, std::span<const FixedModel::Cache> all, u32 id_bits) {
        const u32 ids = std::min(1u << id_bits, 4096u);
        const u32 cores = function == 4 ? std::min(ids, 64u) - 1 : 0;
        for (u32 i = 0; i < all.size(); ++i) {
            const FixedModel::Cache& c = all[i];
            const u32 sharing = c.shared ? ids - 1 : 0;
            add(function, i,
                {c.type | static_cast<u32>(c.level) << 5 | 1 << 8 | sharing << 14 | cores << 26,
                 63 | (c.ways - 1u) << 22, c.sets - 1, 0});
        }
        add(function, static_cast<u32>(all.size()), {});  // no more
    }

    void brand() {
        std::array<u32, 12> text{};
        std::memcpy(text.data(), id_.brand.data(), std::min<size_t>(id_.brand.size(), 47));
        for (u32 i = 0; i < 3; ++i)
            add(0x80000002 + i, {text[i * 4], text[i * 4 + 1], text[i * 4 + 2], text[i * 4 + 3]});
    }

    CpuModel& model_;
    const CpuIdentity& id_;
    const std::vector<bool>& enabled_;
    u32 id_bits_;  ///< bits of an APIC id that tell cores apart
};

}  // namespace

TscRatio tsc_ratio(u64 hz) {
    // Linux computes crystal_khz * EBX in 32 bits (arch/x86/kernel/tsc.c).
    constexpr u64 limit = 0xffffffff / (apic_bus_hz / 1000);
    TscRatio best{1, 1};
    double best_error = 1e9;
    for (u64 d = 1; d <= limit; ++d) {
        const u64 n = (hz * d + apic_bus_hz / 2) / apic_bus_hz;
        if (n == 0 || n > limit) continue;
        const double error =
            std::abs(static_cast<double>(n) * apic_bus_hz / static_cast<double>(d) - static_cast<double>(hz));
        if (error >= best_error) continue;
        best = {static_cast<u32>(d), static_cast<u32>(n)};
        best_error = error;
    }
    return best;
}

void state_tsc_rate(CpuModel& model, u64 hz) {
    model.tsc_hz = hz;
    for (CpuModel::Leaf& leaf : model.leaves)
        if (leaf.function == 0x15 || leaf.function == 0x16 || leaf.function == 0x40000010)
            leaf.value = tsc_leaf(leaf.function, hz);
}

void state_xsave_components(CpuModel& m) {
    auto at = std::ranges::find(m.leaves, 0xdu, &CpuModel::Leaf::function) - m.leaves.begin();
    std::erase_if(m.leaves, [](const CpuModel::Leaf& l) { return l.function == 0xd; });
    const u32 size = m.xsave_bytes(m.xcr0_mask);
    const auto add = [&](u32 index, CpuidResult r) {
        m.leaves.insert(m.leaves.begin() + at++, {0xd, index, true, r});
    };
    add(0, {static_cast<u32>(m.xcr0_mask), size, size, 0});
    if (m.xcr0_mask & xcr0_avx) add(2, {xsave_size - 576, 576, 0, 0});
    if (m.xcr0_mask & xcr0_pkru) add(9, {8, m.pkru_offset, 0, 0});
}

void add_leaves(CpuModel& model, const CpuIdentity& id, const std::vector<bool>& enabled) {
    Leaves leaves(model, id, enabled);
    if (id.fixed) {
        leaves.fixed();
    } else {
        leaves.basic();
        leaves.extended();
    }
    leaves.hypervisor();
    leaves.unseen();
}

}  // namespace triune::x86
