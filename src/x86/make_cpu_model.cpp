// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <optional>
#include <utility>

#include "base/bits.h"
#include "x86/cpu_features.h"
#include "x86/cpu_leaves.h"
#include "x86/cpu_model.h"
#include "x86/fixed_models.h"
#include "x86/host_cpuid.h"

namespace triune::x86 {
namespace {

/// A named model: a real processor, or a level of the x86-64 psABI (section 3.1.1, "Processor
/// Architecture") of the host's vendor, with what the engines and chips add.
struct NamedModel {
    std::string_view name;
    Level level = Level::host;
    const FixedModel* fixed = nullptr;
};
std::optional<NamedModel> find_model(std::string_view name) {
    constexpr std::array<NamedModel, 3> levels{
        {{"host", Level::host}, {"x86-64-v2", Level::v2}, {"x86-64-v3", Level::v3}}};
    if (const auto* m = std::ranges::find(levels, name, &NamedModel::name); m != levels.end()) return *m;
    if (const FixedModel* f = find_fixed_model(name)) return NamedModel{f->name, Level::host, f};
    return std::nullopt;
}

constexpr unsigned max_cpus = 255;
/// 1 TiB: more address bits only make guests lay out larger tables.
constexpr unsigned max_phys_bits = 40;

bool host_has(const Feature& f) {
    if (f.leaf == leaf_unseen) return true;  // every x86-64 processor has those
    const CpuidResult r = host_cpuid(f.leaf);
    const std::array<u32, 4> regs{r.eax, r.ebx, r.ecx, r.edx};
    return base::bit(regs[static_cast<size_t>(f.reg)], f.bit);
}

bool can_offer(const Feature& f, const CpuIdentity& id) {
    switch (f.offer) {
        // AVX also needs the host's kernel; __builtin_cpu_supports() asks for both.
        case Offer::native: return host_has(f) && (f.name != "avx" || __builtin_cpu_supports("avx"));
        case Offer::emulated: return true;
        case Offer::intel: return id.intel();
        case Offer::amd: return !id.intel();
    }
    return false;
}

CpuIdentity identity(const NamedModel& model) {
    CpuIdentity id;
    if (model.fixed) {
        id.vendor = {0, 0x756e6547, 0x6c65746e, 0x49656e69};  // "GenuineIntel"
        id.signature = model.fixed->signature;
        id.brand = model.fixed->brand;
        id.fixed = model.fixed;
        return id;
    }
    id.vendor = host_cpuid(0);
    if (model.level == Level::host) {
        id.signature = host_cpuid(1).eax;
        for (u32 leaf = 0x80000002; leaf <= 0x80000004; ++leaf) {
            const CpuidResult r = host_cpuid(leaf);
            std::array<char, sizeof r> text;
            std::memcpy(text.data(), &r, sizeof r);
            id.brand.append(text.data(), text.size());
        }
        id.brand.resize(std::strlen(id.brand.c_str()));
    } else {
        // Ice Lake server and Zen 3: recent enough that guests know no errata to work around.
        id.signature = id.intel() ? 0x000606a6 : 0x00a00f11;
        id.brand = fmt::format("Triune Virtual CPU ({})", model.name);
    }
    return id;
}

/// "sse4.1", "SSE4-1" and "sse4_1" are one name.
std::string normalised(std::string_view name) {
    std::string s(name);
    for (char& c : s) c = c == '.' || c == '-' ? '_' : c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    return s;
}

size_t feature_index(std::string_view name) {
    return static_cast<size_t>(std::ranges::find(cpu_features, name, &Feature::name) - cpu_features.begin());
}

/// Steps of one letter (insert, delete, replace) from `a` to `b`.
size_t distance(std::string_view a, std::string_view b) {
    std::vector<size_t> row(b.size() + 1);
    std::iota(row.begin(), row.end(), size_t{0});
    for (size_t i = 0; i < a.size(); ++i) {
        size_t diagonal = std::exchange(row[0], i + 1);
        for (size_t k = 0; k < b.size(); ++k) {
            const size_t replaced = diagonal + (a[i] != b[k]);
            diagonal = row[k + 1];
            row[k + 1] = std::min({replaced, row[k] + 1, diagonal + 1});
        }
    }
    return row.back();
}

/// ", did you mean "b"?" when a known name is near.
std::string suggestion(std::string_view given, const std::vector<std::string>& known) {
    if (given.size() > 40) return {};
    const std::string* best = nullptr;
    size_t nearest = std::max<size_t>(given.size() / 3, 1) + 1;
    for (const std::string& k : known)
        if (const size_t d = distance(given, k); d < nearest) best = &k, nearest = d;
    return best ? fmt::format(", did you mean \"{}\"?", *best) : std::string{};
}

/// Applies "+a" and "-b"; `asked` collects what was asked for by name.
Result<void> apply(std::string_view item, const CpuIdentity& id, std::vector<bool>& enabled,
                   std::vector<bool>& asked) {
    if (item.size() < 2 || (item[0] != '+' && item[0] != '-'))
        return fail(fmt::format("CPU feature \"{}\": write +name or -name", item));
    const size_t i = feature_index(normalised(item.substr(1)));
    if (i == cpu_features.size())
        return fail(fmt::format("CPU feature \"{}\" is unknown{}; known are: {}", item.substr(1),
                                suggestion(normalised(item.substr(1)), cpu_feature_names()),
                                fmt::join(cpu_feature_names(), " ")));
    const bool on = item[0] == '+';
    if (on && !can_offer(cpu_features[i], id))
        return fail(
            fmt::format("CPU feature \"{}\" cannot be offered: this host's processor does not have it",
                        cpu_features[i].name));
    if (!on && cpu_features[i].name == "fpu")
        return fail("CPU feature \"fpu\" is part of every model and cannot be taken away");
    enabled[i] = asked[i] = on;
    return {};
}

/// Takes away what lacks a feature that it needs; an error where that was asked for.
Result<void> settle_dependencies(std::vector<bool>& enabled, const std::vector<bool>& asked) {
    for (bool changed = true; changed;) {
        changed = false;
        for (const FeatureDependency& d : feature_dependencies) {
            const size_t by = feature_index(d.by);
            if (!enabled[by] || enabled[feature_index(d.needed)]) continue;
            if (asked[by])
                return fail(fmt::format("CPU feature \"{}\" needs \"{}\", which is off: add +{}", d.by,
                                        d.needed, d.needed));
            enabled[by] = false;
            changed = true;
        }
    }
    return {};
}

/// What the model has before "+" and "-".
Result<std::vector<bool>> base_features(const NamedModel& model, const CpuIdentity& id) {
    std::vector<bool> enabled(cpu_features.size());
    if (model.fixed) {
        for (const std::string_view name : model.fixed->features) {
            const size_t i = feature_index(name);
            if (!can_offer(cpu_features[i], id))
                return fail(
                    fmt::format("CPU model {} needs \"{}\", which this host's processor does not have",
                                model.name, name));
            enabled[i] = true;
        }
        return enabled;
    }
    for (size_t i = 0; i < cpu_features.size(); ++i) {
        const Feature& f = cpu_features[i];
        const bool required = f.level <= Level::v3 && f.level <= model.level && model.level != Level::host;
        const bool wanted =
            required || f.level == Level::any || (model.level == Level::host && f.level != Level::named);
        const bool possible = can_offer(f, id);
        if (required && !possible)
            return fail(
                fmt::format("CPU model {} needs \"{}\", which this host's processor does not have: use host",
                            model.name, f.name));
        enabled[i] = wanted && possible;
    }
    return enabled;
}

}  // namespace

std::vector<std::string> cpu_model_names() {
    std::vector<std::string> names;
    for (const FixedModel& m : fixed_models()) names.emplace_back(m.name);
    for (const char* level : {"x86-64-v2", "x86-64-v3", "host"}) names.emplace_back(level);
    return names;
}

std::vector<std::string> cpu_feature_names() {
    std::vector<std::string> names;
    for (const Feature& f : cpu_features) names.emplace_back(f.name);
    return names;
}

Result<CpuModel> make_cpu_model(std::string_view spec, unsigned cpus) {
    if (cpus == 0 || cpus > max_cpus)
        return fail(fmt::format("{} processors: choose 1 to {}", cpus, max_cpus));
    const std::string_view name = spec.substr(0, spec.find(','));
    const auto named = find_model(name);
    if (!named)
        return fail(fmt::format("CPU model \"{}\" is unknown{}; known are: {}", name,
                                suggestion(normalised(name), cpu_model_names()),
                                fmt::join(cpu_model_names(), " ")));
    const CpuIdentity id = identity(*named);
    auto enabled = base_features(*named, id);
    if (!enabled) return std::unexpected(enabled.error());
    std::vector<bool> asked(cpu_features.size());
    for (std::string_view rest = spec.substr(name.size()); !rest.empty();) {
        rest.remove_prefix(1);  // the comma
        const std::string_view item = rest.substr(0, rest.find(','));
        rest.remove_prefix(item.size());
        if (auto r = apply(item, id, *enabled, asked); !r) return std::unexpected(r.error());
    }
    if (auto r = settle_dependencies(*enabled, asked); !r) return std::unexpected(r.error());

    CpuModel m;
    m.name = spec;
    m.cpus = cpus;
    m.tsc_hz = host_tsc_hz();
    const unsigned host_bits = host_cpuid(0x80000008).eax & 0xff;
    m.phys_bits = std::min(host_bits ? host_bits : 36, max_phys_bits);
    m.pages_1g = (*enabled)[feature_index("pdpe1gb")];
    if (named->fixed) m.phys_bits = std::min(m.phys_bits, named->fixed->phys_bits);
    const auto has = [&enabled](std::string_view f) { return (*enabled)[feature_index(f)]; };
    m.xcr0_mask = !has("xsave") ? 1 : 3 | (has("avx") ? xcr0_avx : 0) | (has("pku") ? xcr0_pkru : 0);
    add_leaves(m, id, *enabled);
    m.has_cpuid = m.has("cpuid");
    m.insns = InsnSet::of(m);
    return m;
}

}  // namespace triune::x86
