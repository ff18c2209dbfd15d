// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
//
// Kernel images come from strangers. Any file must either load, and then start where it was loaded,
// or be refused with a message; and loading must stay within guest memory.
#include <cstdlib>

#include "boot/linux_loader.h"

using namespace triune;

namespace {

void check(bool ok) {
    if (!ok) std::abort();
}

/// Two sizes of guest, so that "fits" and "does not fit" are both near.
memory::GuestMemory& guest(bool large) {
    static const auto memories = [] {
        std::array<std::unique_ptr<memory::GuestMemory>, 2> m;
        for (unsigned i = 0; i < 2; ++i) {
            m[i] = memory::GuestMemory::create(u64{2} << (20 + 4 * i)).value();
            check(boot::place_ram(*m[i]).has_value());
        }
        return m;
    }();
    return *memories[large];
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const u8* data, size_t size) {
    if (size == 0) return 0;
    const std::span<const u8> image(data + 1, size - 1);
    memory::GuestMemory& memory = guest(data[0] & 1);
    const boot::BootConfig config{.kernel = "kernel", .cmdline = data[0] & 2 ? "console=ttyS0" : ""};
    const auto state = boot::load_linux_image(memory, config, image);
    if (!state) {
        check(!state.error().message.empty());
        check(state.error().message.find('\n') == std::string::npos);
        return 0;
    }
    check(state->rip >= boot::kernel_floor && state->rip < memory.bytes());
    check(memory.host(state->rip, 1) != nullptr);
    return 0;
}
