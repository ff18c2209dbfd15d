// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "control/options.h"

#include <fmt/format.h>

#include <charconv>
#include <limits>
#include <vector>

namespace triune::control {
namespace {

std::unexpected<std::string> wrong(std::string message) { return std::unexpected(std::move(message)); }

/// Splits at single commas; ",," stands for one comma of the text.
std::vector<std::string> split_commas(std::string_view text) {
    std::vector<std::string> parts(1);
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] != ',') {
            parts.back() += text[i];
        } else if (i + 1 < text.size() && text[i + 1] == ',') {
            parts.back() += ',';
            ++i;
        } else {
            parts.emplace_back();
        }
    }
    return parts;
}

std::optional<std::uint16_t> parse_port(std::string_view text) {
    unsigned value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size() || value == 0 || value > 65535) return {};
    return static_cast<std::uint16_t>(value);
}

bool looks_like_ipv4(std::string_view text) {
    for (int part = 0; part < 4; ++part) {
        unsigned value = 0;
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
        if (error != std::errc{} || value > 255) return false;
        text.remove_prefix(static_cast<std::size_t>(end - text.data()));
        if (part == 3) return text.empty();
        if (!text.starts_with('.')) return false;
        text.remove_prefix(1);
    }
    return false;
}

}  // namespace

Parsed<std::uint64_t> parse_size(std::string_view text) {
    const auto not_a_size = [&] {
        return wrong(
            fmt::format("'{}' is not a size: write a whole number and a unit, such as 512M or 2G", text));
    };
    std::uint64_t number = 0;
    const char* const last = text.data() + text.size();
    const auto [end, error] = std::from_chars(text.data(), last, number);
    if (error == std::errc::result_out_of_range) return wrong(fmt::format("'{}' is too large a size", text));
    if (error != std::errc{} || last - end != 1) return not_a_size();
    unsigned shift = 0;
    switch (*end) {
        case 'k':
        case 'K': shift = 10; break;
        case 'm':
        case 'M': shift = 20; break;
        case 'g':
        case 'G': shift = 30; break;
        case 't':
        case 'T': shift = 40; break;
        default: return not_a_size();
    }
    if (number > (std::numeric_limits<std::uint64_t>::max() >> shift))
        return wrong(fmt::format("'{}' is too large a size", text));
    return number << shift;
}

Parsed<DiskConfig> parse_disk(std::string_view text) {
    const std::vector<std::string> parts = split_commas(text);
    DiskConfig disk{parts.front()};
    if (disk.path.empty()) return wrong("a disk needs a file name");
    for (std::size_t i = 1; i < parts.size(); ++i) {
        if (parts[i] != "readonly")
            return wrong(
                fmt::format("'{}' is not a disk option: only 'readonly' is (write ',,' for a comma in a "
                            "file's name)",
                            parts[i]));
        disk.readonly = true;
    }
    return disk;
}

Parsed<HostForward> parse_host_forward(std::string_view text) {
    const auto malformed = [&] {
        return wrong(
            fmt::format("hostfwd '{}' is not of the form tcp:[HOSTADDR]:HOSTPORT-[GUESTADDR]:GUESTPORT "
                        "(or udp:…)",
                        text));
    };
    HostForward forward;
    if (text.starts_with("udp:"))
        forward.udp = true;
    else if (!text.starts_with("tcp:"))
        return malformed();
    const std::string_view rest = text.substr(4);
    const std::size_t dash = rest.find('-');
    if (dash == std::string_view::npos) return malformed();
    const auto endpoint = [&](std::string_view side, std::string& address, std::uint16_t& port) {
        const std::size_t colon = side.rfind(':');
        if (colon == std::string_view::npos) return false;
        address = side.substr(0, colon);
        const auto value = parse_port(side.substr(colon + 1));
        if (!value || (!address.empty() && !looks_like_ipv4(address))) return false;
        port = *value;
        return true;
    };
    if (!endpoint(rest.substr(0, dash), forward.host_address, forward.host_port) ||
        !endpoint(rest.substr(dash + 1), forward.guest_address, forward.guest_port))
        return malformed();
    return forward;
}

Parsed<std::optional<NetConfig>> parse_net(std::string_view text) {
    const std::vector<std::string> parts = split_commas(text);
    if (parts.front() == "none" && parts.size() == 1) return std::nullopt;
    if (parts.front() != "user")
        return wrong(fmt::format("'{}' is not a network: write user, user,hostfwd=… or none", text));
    NetConfig net;
    for (std::size_t i = 1; i < parts.size(); ++i) {
        constexpr std::string_view key = "hostfwd=";
        if (!parts[i].starts_with(key))
            return wrong(fmt::format("'{}' is not an option of a user network: only hostfwd=… is", parts[i]));
        auto forward = parse_host_forward(std::string_view(parts[i]).substr(key.size()));
        if (!forward) return wrong(forward.error());
        net.forwards.push_back(*forward);
    }
    return net;
}

Parsed<SerialConfig> parse_serial(std::string_view text) {
    using Kind = SerialConfig::Kind;
    if (text == "stdio") return SerialConfig{Kind::stdio, {}};
    if (text == "none") return SerialConfig{Kind::none, {}};
    if (text == "pty") return SerialConfig{Kind::pty, {}};
    if (text.starts_with("file:") && text.size() > 5)
        return SerialConfig{Kind::file, std::string(text.substr(5))};
    if (text.starts_with("unix:") && text.size() > 5)
        return SerialConfig{Kind::unix_socket, std::string(text.substr(5))};
    return wrong(
        fmt::format("'{}' is not a serial line: write stdio, none, file:PATH, unix:PATH or pty", text));
}

}  // namespace triune::control
