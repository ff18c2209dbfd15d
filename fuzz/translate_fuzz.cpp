// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
//
// Any guest bytes through decoder, liveness analysis, rewriter and emitter: a translation comes out, all of
// whose host code disassembles, or a reason why there is none. Nothing runs.
#include <cstdio>
#include <cstdlib>

#include "hypervisor/soft/bt/listing.h"

extern "C" int LLVMFuzzerTestOneInput(const triune::u8* data, size_t size) {
    using namespace triune;
    if (size < 2) return 0;
    // The end of a page, the middle of one, and a high half address, as user and supervisor code.
    static constexpr u64 places[] = {0x1000, 0x1ff0, 0xffff'ffff'8100'0ff8, 0x7fff'ffff'e000};
    const u64 rip = places[data[0] & 3];
    const auto text = hypervisor::soft::bt::list_translation({data + 1, size - 1}, rip, data[0] & 4);
    if (!text || text->empty() || text->find("(bad)") != std::string::npos) {
        std::fprintf(stderr, "%s\n", text ? text->c_str() : text.error().message.c_str());
        std::abort();
    }
    return 0;
}
