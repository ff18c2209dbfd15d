// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
//
// The command line's texts: each parser gives a value or one line that says what is wrong.
#include <cstdlib>
#include <string_view>

#include "base/types.h"
#include "control/options.h"

extern "C" int LLVMFuzzerTestOneInput(const triune::u8* data, size_t size) {
    using namespace triune::control;
    if (size == 0) return 0;
    const std::string_view text(reinterpret_cast<const char*>(data + 1), size - 1);
    const auto check = [](const auto& parsed) {
        if (!parsed && parsed.error().empty()) std::abort();
    };
    switch (data[0] % 8) {
        case 0: check(parse_size(text)); break;
        case 1: check(parse_disk(text)); break;
        case 2: check(parse_host_forward(text)); break;
        case 3: check(parse_net(text)); break;
        case 4: check(parse_serial(text)); break;
        case 5: check(parse_module(text)); break;
        case 6: check(parse_load(text)); break;
        case 7: check(parse_device(text)); break;
    }
    return 0;
}
