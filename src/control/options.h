// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>

#include "triune/vm.h"

namespace triune::control {

/// Each parses one option's text. The error is a full sentence part that quotes the text, such as
/// "'12X' is not a size: …".
template <class T>
using Parsed = std::expected<T, std::string>;

/// "512M", "2G", "64K": a whole number and a unit K, M, G or T (powers of 1024). Bytes.
Parsed<std::uint64_t> parse_size(std::string_view text);
/// "FILE" or "FILE,readonly". A comma that is part of the file's name is written ",,".
Parsed<DiskConfig> parse_disk(std::string_view text);
/// "tcp:127.0.0.1:2222-:22", "udp::5353-10.0.2.15:53".
Parsed<HostForward> parse_host_forward(std::string_view text);
/// "none" or "user[,hostfwd=…]…". The outer optional is empty for "none".
Parsed<std::optional<NetConfig>> parse_net(std::string_view text);
/// "stdio", "none", "file:PATH", "unix:PATH", "pty".
Parsed<SerialConfig> parse_serial(std::string_view text);
/// "FILE" or "FILE,TEXT": all that follows the first single comma is the text.
Parsed<ModuleConfig> parse_module(std::string_view text);
/// "ADDR" or "ADDR,real", "ADDR,protected", "ADDR,long". ADDR: decimal, 0x…, or a size such as 1M.
Parsed<FlatBinary> parse_load(std::string_view text);
/// "isa-debug-exit[,port=0xf4]", "debugcon[,port=0xe9][,file=PATH]", "pc-testdev".
Parsed<DeviceConfig> parse_device(std::string_view text);

}  // namespace triune::control
