// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/types.h"

namespace triune::boot {

/// A file that a multiboot kernel gets beside itself.
struct ModuleFile {
    std::string path;
    std::string text;  ///< what the kernel is told about it
};

/// A kernel that is bytes without a header.
struct FlatLoad {
    enum class Mode { real, protected32, long64 };
    Gpa address = 0;
    Mode mode = Mode::protected32;
};

struct BootConfig {
    std::string
        kernel;  ///< path of a bzImage, a multiboot kernel, an ELF kernel with a PVH note, a flat binary
    std::string initrd;  ///< path, empty for none; the first module of a multiboot kernel
    std::string cmdline;
    std::vector<ModuleFile> modules;
    std::optional<FlatLoad> flat;  ///< the kernel is a flat binary, whatever it looks like
    bool bios_state = false;       ///< multiboot kernels find what a BIOS leaves behind (bios_state.h)
    Gpa acpi_rsdp = 0;             ///< what install_acpi() returned, 0 for none
};

}  // namespace triune::boot
