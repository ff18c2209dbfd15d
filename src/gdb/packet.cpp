// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "gdb/packet.h"

namespace triune::gdb {
namespace {

constexpr std::string_view digits = "0123456789abcdef";

int digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

}  // namespace

PacketReader::Event PacketReader::read(std::span<const u8>& bytes) {
    while (!bytes.empty()) {
        const u8 byte = bytes.front();
        bytes = bytes.subspan(1);
        if (const Event e = take(byte); e != Event::none) return e;
    }
    return Event::none;
}

PacketReader::Event PacketReader::take(u8 byte) {
    const char c = static_cast<char>(byte);
    switch (at_) {
        case At::outside:
            if (c == 3) return Event::interrupt;
            if (c == '-') return Event::resend;
            if (c != '$') return Event::none;  // '+', or noise
            payload_.clear();
            sum_ = 0;
            too_long_ = false;
            at_ = At::payload;
            return Event::none;
        case At::payload:
        case At::escape:
            if (c == '$' && at_ == At::payload) {  // the last one was cut off
                payload_.clear();
                sum_ = 0;
                too_long_ = false;
                return Event::none;
            }
            if (c == '#' && at_ == At::payload) {
                at_ = At::checksum_high;
                return Event::none;
            }
            sum_ = static_cast<u8>(sum_ + byte);
            if (c == '}' && at_ == At::payload) {
                at_ = At::escape;
                return Event::none;
            }
            too_long_ |= payload_.size() >= packet_size;
            if (!too_long_) payload_ += at_ == At::escape ? static_cast<char>(byte ^ 0x20) : c;
            at_ = At::payload;
            return Event::none;
        case At::checksum_high:
            high_ = byte;
            at_ = At::checksum_low;
            return Event::none;
        case At::checksum_low: {
            at_ = At::outside;
            const int high = digit(static_cast<char>(high_)), low = digit(c);
            const bool right = high >= 0 && low >= 0 && high * 16 + low == sum_;
            return too_long_ || (check_ && !right) ? Event::damaged : Event::packet;
        }
    }
    return Event::none;
}

std::string frame(std::string_view payload) {
    std::string out = "$";
    u8 sum = 0;
    const auto add = [&](char c) {
        out += c;
        sum = static_cast<u8>(sum + static_cast<u8>(c));
    };
    for (const char c : payload) {
        if (c == '$' || c == '#' || c == '}' || c == '*') {
            add('}');
            add(static_cast<char>(c ^ 0x20));
        } else {
            add(c);
        }
    }
    out += '#';
    out += digits[sum >> 4];
    out += digits[sum & 15];
    return out;
}

std::string to_hex(std::span<const u8> bytes) {
    std::string out;
    out.reserve(bytes.size() * 2);
    for (const u8 b : bytes) {
        out += digits[b >> 4];
        out += digits[b & 15];
    }
    return out;
}

std::string to_hex(std::string_view text) {
    return to_hex(std::span(reinterpret_cast<const u8*>(text.data()), text.size()));
}

std::optional<std::string> from_hex(std::string_view text) {
    if (text.size() % 2) return {};
    std::string out;
    for (size_t i = 0; i < text.size(); i += 2) {
        const int high = digit(text[i]), low = digit(text[i + 1]);
        if (high < 0 || low < 0) return {};
        out += static_cast<char>(high * 16 + low);
    }
    return out;
}

std::optional<u64> take_number(std::string_view& text) {
    u64 value = 0;
    size_t n = 0;
    for (; n < text.size() && digit(text[n]) >= 0; ++n) {
        if (n == 16) return {};
        value = value << 4 | static_cast<u64>(digit(text[n]));
    }
    if (n == 0) return {};
    text.remove_prefix(n);
    return value;
}

bool take(std::string_view& text, char c) {
    if (!text.starts_with(c)) return false;
    text.remove_prefix(1);
    return true;
}

}  // namespace triune::gdb
