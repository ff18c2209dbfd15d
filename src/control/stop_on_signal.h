// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <termios.h>

#include <atomic>
#include <thread>

#include "triune/vm.h"

namespace triune::control {

/// Blocks SIGINT, SIGTERM, SIGHUP and SIGUSR1 for this thread and all that it starts, and ignores SIGPIPE
/// (a reader of the console that went away is an error of that write, not of the program). Call
/// before anything starts a thread.
void block_stop_signals();

/// Has the StopOnSignal that lives, if one does, move its VM to the next engine. Any thread; never waits.
void request_switch();

/// While it lives, SIGINT, SIGTERM and SIGHUP ask the VM to stop. A second one, or a VM that does
/// not stop within some seconds, ends the process at once, with the terminal restored. SIGUSR1 and
/// request_switch() move the VM to the next of its engines. At most one at a time.
class StopOnSignal {
public:
    explicit StopOnSignal(Vm& vm);
    ~StopOnSignal();
    StopOnSignal(const StopOnSignal&) = delete;
    StopOnSignal& operator=(const StopOnSignal&) = delete;

    /// The signal that came, 0 for none.
    [[nodiscard]] int signal() const { return signal_.load(); }

private:
    void wait();
    void switch_engine();
    [[noreturn]] void end_now(int signal);

    Vm& vm_;
    std::atomic<int> signal_ = 0;
    int wake_ = -1;  ///< eventfd: the destructor ends the thread
    bool have_terminal_ = false;
    termios terminal_{};
    std::thread thread_;
};

}  // namespace triune::control
