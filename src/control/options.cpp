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

/// A whole number, decimal or with 0x in hexadecimal.
std::optional<std::uint64_t> parse_number(std::string_view text) {
    int base = 10;
    if (text.starts_with("0x") || text.starts_with("0X")) {
        text.remove_prefix(2);
        base = 16;
    }
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
    if (error != std::errc{} || end != text.data() + text.size()) return {};
    return value;
}

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

Parsed<ModuleConfig> parse_module(std::string_view text) {
    // The file's name ends at the first comma that is not doubled; the text is taken as it is.
    ModuleConfig module;
    std::size_t at = 0;
    for (; at < text.size(); ++at) {
        if (text[at] == ',') {
            if (at + 1 >= text.size() || text[at + 1] != ',') break;
            ++at;
        }
        module.path += text[at];
    }
    if (module.path.empty()) return wrong("a module needs a file name");
    if (at < text.size()) module.text = text.substr(at + 1);
    return module;
}

Parsed<FlatBinary> parse_load(std::string_view text) {
    using Mode = FlatBinary::Mode;
    const std::size_t comma = std::min(text.find(','), text.size());
    const std::string_view address = text.substr(0, comma);
    FlatBinary flat;
    if (const auto number = parse_number(address)) {
        flat.address = *number;
    } else if (const auto size = parse_size(address)) {
        flat.address = *size;
    } else {
        return wrong(fmt::format("'{}' is not an address: write 0x7c00, 31744 or 1M", address));
    }
    if (comma == text.size()) return flat;
    const std::string_view mode = text.substr(comma + 1);
    if (mode == "real")
        flat.mode = Mode::real;
    else if (mode == "protected")
        flat.mode = Mode::protected32;
    else if (mode == "long")
        flat.mode = Mode::long64;
    else
        return wrong(fmt::format("'{}' is not a mode to start in: real, protected and long are", mode));
    return flat;
}

Parsed<DeviceConfig> parse_device(std::string_view text) {
    using Kind = DeviceConfig::Kind;
    const std::vector<std::string> parts = split_commas(text);
    DeviceConfig device;
    if (parts.front() == "isa-debug-exit")
        device = {Kind::isa_debug_exit, 0xf4, {}};
    else if (parts.front() == "debugcon")
        device = {Kind::debugcon, 0xe9, {}};
    else if (text == "pc-testdev")
        return DeviceConfig{Kind::pc_testdev, 0, {}};
    else if (parts.front() == "pc-testdev")
        return wrong("pc-testdev has no options");
    else
        return wrong(
            fmt::format("'{}' is not a device: isa-debug-exit, debugcon and pc-testdev are", parts.front()));
    const bool has_file = device.kind == Kind::debugcon;
    for (std::size_t i = 1; i < parts.size(); ++i) {
        const std::string_view part = parts[i];
        if (part.starts_with("port=")) {
            const auto port = parse_number(part.substr(5));
            if (!port || *port > 0xffff)
                return wrong(fmt::format("'{}' is not a port: write port=0xf4, at most port=0xffff", part));
            device.port = static_cast<std::uint16_t>(*port);
        } else if (has_file && part.starts_with("file=") && part.size() > 5) {
            device.path = part.substr(5);
        } else {
            return wrong(fmt::format("'{}' is not an option of {}: {}", part, parts.front(),
                                     has_file ? "port=PORT and file=PATH are" : "port=PORT is"));
        }
    }
    return device;
}

}  // namespace triune::control
