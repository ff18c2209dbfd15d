// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>

#include "base/bits.h"
#include "gdb/session.h"
#include "hypervisor/page_walk.h"

namespace triune::gdb {
namespace {

/// What a client may read or write at once: its hexadecimal digits fit a packet.
constexpr u64 most_bytes = packet_size / 2;

std::span<const u8> bytes_of(std::string_view text) {
    return {reinterpret_cast<const u8*>(text.data()), text.size()};
}

}  // namespace

// -- registers ------------------------------------------------------------------------------------

void Session::read_registers() {
    std::string out;
    if (!with_state([&](const x86::VcpuState& s) {
            for (size_t n = 0; n < registers().count(); ++n) out += to_hex(registers().read(n, s));
        }))
        return error();
    reply(out);
}

void Session::write_registers(std::string_view digits) {
    const auto bytes = from_hex(digits);
    if (!bytes || bytes->size() != registers().bytes()) return error();
    target_->with_vcpu(current_, [&](hypervisor::Vcpu& v) {
        x86::VcpuState s = v.state();
        std::span<const u8> left = bytes_of(*bytes);
        for (size_t n = 0; n < registers().count(); ++n) {
            const size_t size = registers().at(n).bytes;
            // Those that cannot be written keep their value, as with 'P'.
            (void)registers().write(n, s, left.first(size));
            left = left.subspan(size);
        }
        v.set_state(s);
    });
    reply("OK");
}

void Session::read_register(std::string_view p) {
    const auto n = take_number(p);
    if (!n || !p.empty() || *n >= registers().count()) return error();
    std::string out;
    if (!with_state([&](const x86::VcpuState& s) { out = to_hex(registers().read(*n, s)); })) return error();
    reply(out);
}

void Session::write_register(std::string_view p) {
    const auto n = take_number(p);
    if (!n || !take(p, '=') || *n >= registers().count()) return error();
    const auto value = from_hex(p);
    if (!value) return error();
    bool done = false;
    target_->with_vcpu(current_, [&](hypervisor::Vcpu& v) {
        x86::VcpuState s = v.state();
        done = registers().write(*n, s, bytes_of(*value));
        if (done) v.set_state(s);
    });
    done ? reply("OK") : error();
}

// -- memory ---------------------------------------------------------------------------------------

std::optional<Gpa> Session::physical(u64 address) {
    if (physical_) return address;
    std::optional<Gpa> gpa;
    with_state([&](const x86::VcpuState& s) { gpa = hypervisor::translate(s, target_->memory(), address); });
    return gpa;
}

/// As many bytes as there are, up to the first that is not RAM. Device registers are not read: that
/// may change the device.
std::string Session::memory_at(u64 address, u64 size) {
    std::string out;
    size = std::min(size, most_bytes);
    while (out.size() < size) {
        const u64 at = address + out.size();
        const u64 part = std::min(size - out.size(), page_size - (at & page_mask));
        const auto gpa = physical(at);
        std::string bytes(part, '\0');
        if (!gpa || !target_->memory().read(*gpa, bytes.data(), part)) break;
        out += bytes;
    }
    return out;
}

bool Session::write_memory_at(u64 address, std::string_view bytes) {
    while (!bytes.empty()) {
        const u64 part = std::min<u64>(bytes.size(), page_size - (address & page_mask));
        const auto gpa = physical(address);
        if (!gpa || !target_->memory().write(*gpa, bytes.data(), part)) return false;
        address += part;
        bytes.remove_prefix(part);
    }
    return true;
}

void Session::read_memory(std::string_view p) {
    const auto address = take_number(p);
    if (!address || !take(p, ',')) return error();
    const auto size = take_number(p);
    if (!size || !p.empty()) return error();
    const std::string bytes = memory_at(*address, *size);
    if (bytes.empty() && *size != 0) return error();
    reply(to_hex(std::string_view(bytes)));
}

void Session::write_memory(std::string_view p, bool binary) {
    const auto address = take_number(p);
    if (!address || !take(p, ',')) return error();
    const auto size = take_number(p);
    if (!size || !take(p, ':')) return error();
    const auto bytes = binary ? std::string(p) : from_hex(p);
    if (!bytes || bytes->size() != *size) return error();
    write_memory_at(*address, *bytes) ? reply("OK") : error();
}

// -- break- and watchpoints -----------------------------------------------------------------------

void Session::point(std::string_view p, bool insert) {
    const auto kind = take_number(p);
    if (!kind || *kind > 4) return reply("");
    if (!take(p, ',')) return error();
    const auto address = take_number(p);
    if (!address || !take(p, ',')) return error();
    const auto size = take_number(p);
    if (!size) return error();
    const auto k = static_cast<Points::Kind>(*kind);
    const bool watch = k > Points::Kind::hardware;
    // Outside 64-bit code the breakpoint's "kind" says nothing that we need; a watchpoint needs a size.
    const u64 length = watch ? *size : 1;
    if (watch && (length == 0 || length > page_size || *address + (length - 1) < *address)) return error();
    if (!insert) {
        points_.remove(k, *address, length);
    } else if (!points_.add(k, *address, length)) {
        return error();
    }
    if (!arm({})) {
        points_.remove(k, *address, length);
        (void)arm({});
        return error();
    }
    reply("OK");
}

}  // namespace triune::gdb
