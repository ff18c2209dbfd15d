// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>

#include "base/event_loop.h"
#include "base/result.h"
#include "base/types.h"

namespace triune::backend {

/// A stream of characters on the host: terminal, file, socket.
class CharBackend {
public:
    virtual ~CharBackend() = default;

    /// Bytes from the guest. Any thread. May wait for a slow consumer of standard output; elsewhere
    /// output that nobody takes is dropped beyond a limit.
    virtual void write(std::span<const u8> bytes) = 0;

    /// Takes some of the bytes, returns how many: fewer than offered means "no room now", and the
    /// backend keeps the rest and stops reading until resume_input(). Called on the event loop's
    /// thread only, with none of the backend's locks held.
    using Input = std::function<size_t(std::span<const u8> bytes)>;
    /// Sets the receiver, or none; then no call to the former one is under way when this returns.
    /// Not from within the receiver.
    virtual void on_input(Input receiver) = 0;
    /// The receiver has room again. Any thread, also with locks held that the receiver takes.
    virtual void resume_input() = 0;
};

/// Drops output, has no input.
std::unique_ptr<CharBackend> make_null_char();

/// Truncates (or creates) the file and writes to it.
Result<std::unique_ptr<CharBackend>> make_file_char(const std::string& path);

/// Standard output without any input. Any number of them.
Result<std::unique_ptr<CharBackend>> make_stdout_char();

/// What a person at the terminal may ask for. Empty: there is no such command.
struct TerminalCommands {
    std::function<void()> quit, switch_engine;
};

/// Standard input and output. A terminal is put into raw mode, and Ctrl-A is an escape: `x` calls
/// `quit` (on the loop's thread), `e` `switch_engine`, `h` explains, Ctrl-A again sends one. The destructor
/// restores the terminal; see restore_terminal() for other ways out. Where standard input is no terminal it
/// is passed on as it is, and its end just ends input. At most one at a time.
Result<std::unique_ptr<CharBackend>> make_stdio_char(base::EventLoop& loop, TerminalCommands commands);

/// Restores the terminal if make_stdio_char() changed it. Async-signal-safe, any number of times.
/// Registered with atexit(), and run on SIGABRT, SIGQUIT and SIGHUP if nobody else handles them.
void restore_terminal();

/// Listens on a unix socket, one client at a time; others wait. A stale socket file is replaced.
/// The newest output waits for a client.
Result<std::unique_ptr<CharBackend>> make_unix_char(base::EventLoop& loop, const std::string& path);

/// A pseudo-terminal; its name goes to standard error.
Result<std::unique_ptr<CharBackend>> make_pty_char(base::EventLoop& loop);

}  // namespace triune::backend
