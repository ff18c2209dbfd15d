// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
//
// Kernel images come from strangers. Any file must either load, and then start where it was loaded,
// or be refused with a message; and loading must stay within guest memory.
#include <array>
#include <cstdlib>
#include <cstring>

#include "boot/kernel_loader.h"
#include "boot/layout.h"

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

/// The first byte chooses how the image is loaded; a flat one takes its address from the next four.
boot::BootConfig configuration(u8 choice, std::span<const u8>& image) {
    using Mode = boot::FlatLoad::Mode;
    boot::BootConfig config{.kernel = "kernel", .cmdline = choice & 2 ? "console=ttyS0" : ""};
    if ((choice & 4) && image.size() >= 4) {
        u32 address;
        std::memcpy(&address, image.data(), sizeof address);
        image = image.subspan(4);
        constexpr Mode modes[] = {Mode::real, Mode::protected32, Mode::long64, Mode::real};
        config.flat = boot::FlatLoad{choice & 32 ? address << 8 : address, modes[choice >> 3 & 3]};
    }
    return config;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const u8* data, size_t size) {
    if (size == 0) return 0;
    std::span<const u8> image(data + 1, size - 1);
    memory::GuestMemory& memory = guest(data[0] & 1);
    const boot::BootConfig config = configuration(data[0], image);
    const auto state = boot::load_kernel_image(memory, config, image);
    if (!state) {
        check(!state.error().message.empty());
        check(state.error().message.find('\n') == std::string::npos);
        return 0;
    }
    const Gpa entry = state->seg[x86::cs].base + state->rip;
    check(memory.host(entry, 1) != nullptr);
    if (config.flat) check(entry == config.flat->address && *memory.host(entry, 1) == image[0]);
    // Multiboot: the information lies in RAM as well.
    const u64 magic = state->gpr[x86::rax];
    if (magic == 0x2badb002 || magic == 0x36d76289) check(memory.host(state->gpr[x86::rbx], 8) != nullptr);
    return 0;
}
