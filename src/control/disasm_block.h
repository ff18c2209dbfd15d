// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/App.hpp>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "control/cli.h"
#include "control/options.h"

namespace triune::control {

/// "48 8b 03", "488B03": bytes in hexadecimal, white space between bytes allowed.
Parsed<std::vector<std::uint8_t>> parse_hex(std::string_view text);
/// "0x401000" or "401000": a guest address in hexadecimal.
Parsed<std::uint64_t> parse_address(std::string_view text);

/// `triune disasm-block`: guest code beside its translation.
class DisasmBlockCommand {
public:
    void declare(CLI::App& command);
    [[nodiscard]] ExitStatus run() const;

private:
    std::vector<std::string> hex_;
    std::string rip_;
    bool user_ = false;
    unsigned bits_ = 64;
};

}  // namespace triune::control
