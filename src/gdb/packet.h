// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

/// gdb: GDB's remote serial protocol (GDB manual, appendix E): lets a debugger look into a VM.
///
///     socket -> Server -> PacketReader -> Session -> Target (the machine)
///
/// Threads: all of it lives on the event loop's thread; the Target hears of stops on others.
/// Whatever a client sends is hostile until checked here.
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/types.h"

namespace triune::gdb {

/// Longest payload that a client may send, and that we send: our PacketSize.
inline constexpr size_t packet_size = 0x4000;

/// Finds packets in a stream of bytes.
class PacketReader {
public:
    enum class Event : u8 {
        none,       ///< wants more bytes
        packet,     ///< payload() is a whole one
        damaged,    ///< checksum wrong, or longer than packet_size: ask for it again
        interrupt,  ///< Ctrl-C (a byte 3 outside packets)
        resend,     ///< the client refuses our last packet ('-')
    };
    /// Takes bytes from the front of `bytes` until there is something to tell.
    Event read(std::span<const u8>& bytes);
    /// With escapes resolved.
    [[nodiscard]] const std::string& payload() const { return payload_; }
    /// The client sends no checksums that are worth a look (QStartNoAckMode).
    void trust_checksums() { check_ = false; }

private:
    enum class At : u8 { outside, payload, escape, checksum_high, checksum_low };
    Event take(u8 byte);

    std::string payload_;
    At at_ = At::outside;
    u8 sum_ = 0, high_ = 0;
    bool too_long_ = false, check_ = true;
};

/// "$payload#checksum", with what must be escaped escaped.
std::string frame(std::string_view payload);

// -- the protocol's ways to write data --------------------------------------------------------------

std::string to_hex(std::span<const u8> bytes);
std::string to_hex(std::string_view text);
/// nullopt: an odd number of digits, or something else than digits.
std::optional<std::string> from_hex(std::string_view digits);

/// Takes a hexadecimal number of 1 to 16 digits from the front of `text`.
std::optional<u64> take_number(std::string_view& text);
/// Takes `c` from the front of `text`.
bool take(std::string_view& text, char c);

}  // namespace triune::gdb
