// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/App.hpp>
#include <optional>
#include <string>

#include "control/cli.h"
#include "triune/vm.h"

namespace triune::control {

/// `triune run`: what its options filled in.
struct RunCommand {
    VmDefinition definition;
    bool stats = false;
    bool serial_given = false;
    std::string stats_file;  ///< empty: stderr

    /// Declares the options on `app`. This object must outlive the parse.
    void declare(CLI::App& app);
    /// Makes the VM and runs it to its end. Returns the process's exit status: an ExitStatus, or what
    /// the guest chose through isa-debug-exit.
    int run();
};

}  // namespace triune::control
