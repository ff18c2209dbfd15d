// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "control/disasm_block.h"

#include <fmt/format.h>

#include <charconv>
#include <cstdio>

#include "triune/inspect.h"

namespace triune::control {
namespace {

/// Where such code usually lies: Linux' kernel text, a program that is not position-independent, a boot
/// sector.
std::uint64_t usual_address(unsigned bits, bool user) {
    if (bits == 16) return 0x7c00;
    if (bits == 32) return user ? 0x8048000 : 0xc1000000;
    return user ? 0x401000 : 0xffffffff81000000;
}

constexpr const char* footer =
    R"(Prints each guest instruction, the host instructions it becomes, then the block's entries and cold
paths. Nothing runs; the text is the same on every host.

Examples:
  triune disasm-block 488b0348ffc0                          mov rax, [rbx]; inc rax
  triune disasm-block --user --rip 0x401000 '55 48 89 e5'   push rbp; mov rbp, rsp
  triune disasm-block --bits 16 '03 07 43 43'               add ax, [bx]; inc bx; inc bx)";

int digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    const char lower = static_cast<char>(c | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

ExitStatus bad_usage(const std::string& message) {
    fmt::print(stderr, "triune: {} (see triune disasm-block --help)\n", message);
    return ExitStatus::bad_usage;
}

}  // namespace

Parsed<std::vector<std::uint8_t>> parse_hex(std::string_view text) {
    std::vector<std::uint8_t> bytes;
    int high = -1;
    for (const char c : text) {
        if (high < 0 && (c == ' ' || c == '\t' || c == '\n')) continue;
        const int d = digit(c);
        if (d < 0)
            return std::unexpected(fmt::format("'{}' is not hexadecimal: write bytes such as 488b03", text));
        if (high < 0) {
            high = d;
        } else {
            bytes.push_back(static_cast<std::uint8_t>(high << 4 | d));
            high = -1;
        }
    }
    if (high >= 0)
        return std::unexpected(fmt::format("'{}' ends with half a byte: two digits make one", text));
    return bytes;
}

Parsed<std::uint64_t> parse_address(std::string_view text) {
    std::string_view digits = text;
    if (digits.starts_with("0x") || digits.starts_with("0X")) digits.remove_prefix(2);
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
    if (error != std::errc{} || end != digits.data() + digits.size())
        return std::unexpected(
            fmt::format("'{}' is not an address: write hexadecimal such as 0x401000", text));
    return value;
}

void DisasmBlockCommand::declare(CLI::App& command) {
    command.add_option("code", hex_, "Guest machine code in hexadecimal")->required()->type_name("HEX");
    command
        .add_option(
            "--rip", rip_,
            "Guest address of the code (default: 0xffffffff81000000, --user: 0x401000; with --bits 32 "
            "0xc1000000 and 0x8048000, with --bits 16 0x7c00)")
        ->type_name("ADDR");
    command.add_flag("--user", user_, "Translate as user code (privilege level 3), not as kernel code");
    command.add_option("--bits", bits_, "Width of the code: 64, 32 (flat segments) or 16 (real mode)")
        ->check(CLI::IsMember({16, 32, 64}));
    command.footer(footer);
}

ExitStatus DisasmBlockCommand::run() const {
    std::vector<std::uint8_t> code;
    for (const std::string& word : hex_) {
        const auto bytes = parse_hex(word);
        if (!bytes) return bad_usage(bytes.error());
        code.insert(code.end(), bytes->begin(), bytes->end());
    }
    if (code.empty()) return bad_usage("there is no code: write bytes such as 488b03");
    std::uint64_t rip = usual_address(bits_, user_);
    if (!rip_.empty()) {
        const auto address = parse_address(rip_);
        if (!address) return bad_usage(address.error());
        rip = *address;
    }
    if (bits_ < 64 && rip >> bits_)
        return bad_usage(fmt::format("address {:#x} is beyond {} bits", rip, bits_));
    const auto listing = disassemble_block(code, rip, user_, bits_);
    if (!listing) {
        fmt::print(stderr, "triune: {}\n", listing.error().message);
        return listing.error().usage ? ExitStatus::bad_usage : ExitStatus::host_error;
    }
    fmt::print("{}", *listing);
    return ExitStatus::powered_off;
}

}  // namespace triune::control
