// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "boot/multiboot_info.h"

#include <cstring>
#include <span>

#include "base/bits.h"

namespace triune::boot {

namespace {

constexpr std::string_view loader_name = "Triune";

/// Grows as things are appended; little-endian.
class Writer {
public:
    u64 size() const { return bytes_.size(); }
    void put(u64 value, unsigned size) {
        for (unsigned i = 0; i < size; ++i) bytes_.push_back(static_cast<u8>(value >> (8 * i)));
    }
    void append(std::span<const u8> more) { bytes_.insert(bytes_.end(), more.begin(), more.end()); }
    /// With a terminating zero.
    void text(std::string_view s) {
        append({reinterpret_cast<const u8*>(s.data()), s.size()});
        put(0, 1);
    }
    void align(u64 to) { bytes_.resize(base::align_up(bytes_.size(), to)); }
    void set32(u64 at, u64 value) {
        const u32 v = static_cast<u32>(value);
        std::memcpy(&bytes_[at], &v, sizeof v);
    }
    std::vector<u8> take() { return std::move(bytes_); }

private:
    std::vector<u8> bytes_;
};

}  // namespace

// Multiboot Specification 0.6.96, 3.3.
std::vector<u8> make_multiboot1_info(const MultibootFacts& facts, Gpa gpa) {
    constexpr u32 has_memory = 1 << 0, has_command_line = 1 << 2, has_modules = 1 << 3, has_sections = 1 << 5,
                  has_map = 1 << 6, has_loader_name = 1 << 9;
    constexpr u64 flags_at = 0, lower_at = 4, upper_at = 8, command_line_at = 16, modules_at = 20,
                  sections_at = 28, map_at = 44, loader_name_at = 64, info_size = 120;
    Writer w;
    for (u64 i = 0; i < info_size; i += 4) w.put(0, 4);
    u32 flags = has_memory | has_command_line | has_modules | has_map | has_loader_name;
    w.set32(lower_at, facts.lower_kb);
    w.set32(upper_at, facts.upper_kb);
    const auto here = [&] { return gpa + w.size(); };

    w.set32(modules_at, facts.modules.size());
    w.set32(modules_at + 4, here());
    const u64 list = w.size();
    for (const auto& m : facts.modules) {
        w.put(m.start, 4);
        w.put(m.start + m.size, 4);
        w.put(0, 8);  // its text, set below; reserved
    }
    w.set32(map_at + 4, here());
    const u64 map_start = w.size();
    for (const MapEntry& e : facts.map) {
        w.put(20, 4);  // bytes that follow
        w.put(e.base, 8);
        w.put(e.size, 8);
        w.put(static_cast<u32>(e.type), 4);
    }
    w.set32(map_at, w.size() - map_start);
    w.set32(command_line_at, here());
    w.text(facts.command_line);
    w.set32(loader_name_at, here());
    w.text(loader_name);
    for (u64 i = 0; i < facts.modules.size(); ++i) {
        w.set32(list + 16 * i + 8, here());
        w.text(facts.modules[i].text);
    }
    if (facts.sections) {
        flags |= has_sections;
        w.set32(sections_at, facts.sections->count);
        w.set32(sections_at + 4, facts.sections->entry_size);
        w.set32(sections_at + 8, facts.sections->gpa);
        w.set32(sections_at + 12, facts.sections->names);
    }
    w.set32(flags_at, flags);
    return w.take();
}

// Multiboot2 Specification 2.0, 3.6.
std::vector<u8> make_multiboot2_info(const MultibootFacts& facts) {
    constexpr u32 end = 0, command_line = 1, name = 2, module = 3, memory = 4, map = 6, sections = 9,
                  old_rsdp = 14, new_rsdp = 15, load_base = 21;
    constexpr u64 rsdp1_size = 20;
    Writer w;
    w.put(0, 8);  // total size, set below; reserved
    const auto tag = [&](u32 type, auto&& body) {
        w.align(8);
        const u64 at = w.size();
        w.put(type, 4);
        w.put(0, 4);
        body();
        w.set32(at + 4, w.size() - at);
    };
    tag(command_line, [&] { w.text(facts.command_line); });
    tag(name, [&] { w.text(loader_name); });
    for (const auto& m : facts.modules)
        tag(module, [&] {
            w.put(m.start, 4);
            w.put(m.start + m.size, 4);
            w.text(m.text);
        });
    tag(memory, [&] {
        w.put(facts.lower_kb, 4);
        w.put(facts.upper_kb, 4);
    });
    tag(map, [&] {
        w.put(24, 4);  // bytes of an entry
        w.put(0, 4);   // version
        for (const MapEntry& e : facts.map) {
            w.put(e.base, 8);
            w.put(e.size, 8);
            w.put(static_cast<u32>(e.type), 4);
            w.put(0, 4);
        }
    });
    if (facts.sections)
        tag(sections, [&] {
            w.put(facts.sections->count, 4);
            w.put(facts.sections->entry_size, 4);
            w.put(facts.sections->names, 4);
            w.append(facts.sections->table);
        });
    if (facts.rsdp.size() >= rsdp1_size) {
        tag(old_rsdp, [&] { w.append(std::span(facts.rsdp).first(rsdp1_size)); });
        if (facts.rsdp.size() > rsdp1_size) tag(new_rsdp, [&] { w.append(facts.rsdp); });
    }
    if (facts.load_base) tag(load_base, [&] { w.put(*facts.load_base, 4); });
    tag(end, [] {});
    w.set32(0, w.size());
    return w.take();
}

}  // namespace triune::boot
