// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "boot/aml.h"

#include <cassert>

namespace triune::boot::aml {

namespace {

constexpr u8 zero_op = 0x00, one_op = 0x01, name_op = 0x08, byte_prefix = 0x0a, word_prefix = 0x0b,
             dword_prefix = 0x0c, qword_prefix = 0x0e, scope_op = 0x10, buffer_op = 0x11, package_op = 0x12,
             dual_name_prefix = 0x2e, multi_name_prefix = 0x2f, ext_op_prefix = 0x5b, device_op = 0x82;

void append(Bytes& to, const Bytes& more) { to.insert(to.end(), more.begin(), more.end()); }

void put(Bytes& to, u64 value, unsigned size) {
    for (unsigned i = 0; i < size; ++i) to.push_back(static_cast<u8>(value >> (8 * i)));
}

/// PkgLength counts itself (ACPI 6.4, 20.2.4).
Bytes with_length(const Bytes& body) {
    Bytes out;
    if (body.size() + 1 < 0x40) {
        out.push_back(static_cast<u8>(body.size() + 1));
    } else {
        unsigned extra = 1;
        while (body.size() + 1 + extra >= u64{1} << (4 + 8 * extra)) ++extra;
        const u64 length = body.size() + 1 + extra;
        out.push_back(static_cast<u8>(extra << 6 | (length & 15)));
        put(out, length >> 4, extra);
    }
    append(out, body);
    return out;
}

Bytes term(std::initializer_list<u8> op, const Bytes& body) {
    Bytes out(op);
    append(out, with_length(body));
    return out;
}

}  // namespace

Bytes join(std::initializer_list<Bytes> parts) {
    Bytes out;
    for (const Bytes& p : parts) append(out, p);
    return out;
}

Bytes path(std::string_view text) {
    Bytes out;
    if (text.starts_with('\\')) {
        out.push_back('\\');
        text.remove_prefix(1);
    }
    assert(text.size() % 5 == 4);
    const size_t segments = (text.size() + 1) / 5;
    if (segments == 2) out.push_back(dual_name_prefix);
    if (segments > 2) out.insert(out.end(), {multi_name_prefix, static_cast<u8>(segments)});
    for (size_t i = 0; i < text.size(); ++i)
        if (i % 5 != 4) out.push_back(static_cast<u8>(text[i]));
    return out;
}

Bytes integer(u64 value) {
    if (value == 0) return {zero_op};
    if (value == 1) return {one_op};
    const unsigned size = value <= 0xff ? 1 : value <= 0xffff ? 2 : value <= 0xffff'ffff ? 4 : 8;
    Bytes out{size == 1 ? byte_prefix : size == 2 ? word_prefix : size == 4 ? dword_prefix : qword_prefix};
    put(out, value, size);
    return out;
}

Bytes eisa_id(std::string_view id) {
    assert(id.size() == 7);
    const auto letter = [&](unsigned i) { return static_cast<u32>(id[i] - 'A' + 1) & 31; };
    const auto digit = [&](unsigned i) {
        return static_cast<u32>(id[i] <= '9' ? id[i] - '0' : id[i] - 'A' + 10);
    };
    // Big-endian: three letters of five bits, four hexadecimal digits.
    const u32 v = letter(0) << 26 | letter(1) << 21 | letter(2) << 16 | digit(3) << 12 | digit(4) << 8 |
                  digit(5) << 4 | digit(6);
    Bytes out{dword_prefix};
    for (int shift = 24; shift >= 0; shift -= 8) out.push_back(static_cast<u8>(v >> shift));
    return out;
}

Bytes package(std::span<const Bytes> elements) {
    assert(elements.size() < 256);
    Bytes body{static_cast<u8>(elements.size())};
    for (const Bytes& e : elements) append(body, e);
    return term({package_op}, body);
}

Bytes package(std::initializer_list<Bytes> elements) {
    return package(std::span(elements.begin(), elements.size()));
}

Bytes buffer(const Bytes& content) {
    Bytes body = integer(content.size());
    append(body, content);
    return term({buffer_op}, body);
}

Bytes name(std::string_view n, const Bytes& object) { return join({{name_op}, path(n), object}); }
Bytes scope(std::string_view n, const Bytes& body) { return term({scope_op}, join({path(n), body})); }
Bytes device(std::string_view n, const Bytes& body) {
    return term({ext_op_prefix, device_op}, join({path(n), body}));
}

Bytes resources(std::initializer_list<Bytes> descriptors) {
    Bytes all = join(descriptors);
    all.insert(all.end(), {0x79, 0});  // end tag; a checksum of zero means "not computed"
    return buffer(all);
}

Bytes io_ports(u16 first, u8 count) {
    Bytes out{0x47, 1};  // decodes 16 bits
    put(out, first, 2);
    put(out, first, 2);
    put(out, 1, 1);
    put(out, count, 1);
    return out;
}

Bytes isa_irq(unsigned irq) {
    Bytes out{0x22};
    put(out, u64{1} << irq, 2);
    return out;
}

namespace {

/// Address space descriptor (ACPI 6.4, 6.4.3.5) whose numbers have `width` bytes.
Bytes window(u8 tag, unsigned width, u8 kind, u8 type_flags, u64 first, u64 last) {
    constexpr u8 min_and_max_fixed = 0x0c;
    Bytes out{tag};
    put(out, 3 + 5 * width, 2);
    out.insert(out.end(), {kind, min_and_max_fixed, type_flags});
    for (const u64 v : {u64{0}, first, last, u64{0}, last - first + 1}) put(out, v, width);
    return out;
}

}  // namespace

Bytes bus_numbers(u16 first, u16 last) { return window(0x88, 2, 2, 0, first, last); }
Bytes io_window(u16 first, u16 last) { return window(0x88, 2, 1, 3, first, last); }      // whole range
Bytes memory_window(u32 first, u32 last) { return window(0x87, 4, 0, 1, first, last); }  // read-write

}  // namespace triune::boot::aml
