// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include <arpa/inet.h>

#include <charconv>

#include "gdb/server.h"

namespace triune::gdb {

Result<Address> parse_address(std::string_view text) {
    const auto wrong = [&] {
        return fail("--gdb: '" + std::string(text) +
                    "' is not an address: write tcp:127.0.0.1:1234 or unix:PATH");
    };
    Address a;
    if (text.starts_with("unix:")) {
        a.path = text.substr(5);
        if (a.path.empty()) return wrong();
        return a;
    }
    if (!text.starts_with("tcp:")) return wrong();
    const std::string_view rest = text.substr(4);
    const size_t colon = rest.rfind(':');
    const std::string host(rest.substr(0, colon == std::string_view::npos ? 0 : colon));
    const std::string_view port = rest.substr(colon == std::string_view::npos ? 0 : colon + 1);
    unsigned number = 0;
    const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), number);
    if (error != std::errc{} || end != port.data() + port.size() || number == 0 || number > 65535)
        return wrong();
    a.port = static_cast<u16>(number);
    in_addr parsed{};
    if (host == "localhost" || host.empty()) return a;
    if (inet_pton(AF_INET, host.c_str(), &parsed) != 1) return wrong();
    a.ipv4 = ntohl(parsed.s_addr);
    return a;
}

}  // namespace triune::gdb
