// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

/// control: front ends. They know the public API (include/triune) and nothing below it.
///
/// Threads: the command line runs on the main thread; a second thread waits for SIGINT, SIGTERM
/// and SIGHUP and asks the VM to stop. No locks.
namespace triune::control {

/// What the program's exit status means. Stable; shown by `triune --help` and in the README.
enum class ExitStatus : int {
    powered_off = 0,    ///< also: the command did what was asked (doctor, --help)
    bad_usage = 2,      ///< unknown option, or a VM definition that cannot be used
    guest_reset = 3,    ///< the guest asked for a reboot under --no-reboot
    triple_fault = 4,   ///< the guest's processor shut down
    host_error = 5,     ///< the host failed us: out of memory, a lost device, our own bug
    mismatch = 6,       ///< --verify: the engine and the reference engine differ
    interrupted = 130,  ///< Ctrl-C (SIGINT) or Ctrl-A x
    terminated = 143,   ///< SIGTERM or SIGHUP
};

/// The whole program: parses, runs, reports. Returns the process's exit status.
int run_cli(int argc, char** argv);

}  // namespace triune::control
