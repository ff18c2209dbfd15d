// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include <poll.h>
#include <signal.h>
#include <termios.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>

#include "backend/char_backend.h"
#include "backend/escape_filter.h"
#include "backend/stream.h"
#include "base/mutex.h"

namespace triune::backend {

namespace {

// What restore_terminal() needs lives in plain statics: it runs in signal handlers and at exit.
termios saved_terminal;
std::atomic<bool> terminal_changed{false};

void restore_and_die(int signal) {
    restore_terminal();
    // SA_RESETHAND has put the default back: die of the same signal.
    ::raise(signal);
}

void restore_on_fatal_signals() {
    for (const int signal : {SIGABRT, SIGQUIT, SIGHUP}) {
        struct sigaction old{};
        if (::sigaction(signal, nullptr, &old) != 0 || old.sa_handler != SIG_DFL) continue;
        struct sigaction action{};
        action.sa_handler = restore_and_die;
        action.sa_flags = static_cast<int>(SA_RESETHAND);
        ::sigaction(signal, &action, nullptr);
    }
}

/// Raw input. Output processing stays, so that our own messages keep their line ends.
bool make_raw() {
    if (::tcgetattr(STDIN_FILENO, &saved_terminal) != 0) return false;
    termios raw = saved_terminal;
    ::cfmakeraw(&raw);
    raw.c_oflag = saved_terminal.c_oflag;
    raw.c_cc[VMIN] = 1;
    raw.c_cc[VTIME] = 0;
    if (::tcsetattr(STDIN_FILENO, TCSANOW, &raw) != 0) return false;
    terminal_changed = true;
    static std::atomic<bool> registered{false};
    if (!registered.exchange(true)) {
        std::atexit(restore_terminal);
        restore_on_fatal_signals();
    }
    return true;
}

/// A terminal that controls another session, or none (`su -c`, `docker exec`), knows no background.
bool in_background() {
    const pid_t foreground = ::tcgetpgrp(STDIN_FILENO);
    return foreground >= 0 && foreground != ::getpgrp();
}

void print_help(bool can_switch) {
    std::fprintf(stderr,
                 "\r\nCtrl-A x       stop the virtual machine\r\n"
                 "%s"
                 "Ctrl-A h       this help\r\n"
                 "Ctrl-A Ctrl-A  send Ctrl-A\r\n",
                 can_switch ? "Ctrl-A e       go on under the next engine\r\n" : "");
}

class StdioChar final : public CharBackend {
public:
    StdioChar(base::EventLoop& loop, TerminalCommands commands) {
        Stream::Options options{.fd = STDIN_FILENO};
        if (::isatty(STDIN_FILENO)) {
            // In the background neither reading nor setting the terminal is possible.
            options.reads = !in_background() && make_raw();
            const bool can_switch = commands.switch_engine != nullptr;
            options.filter = EscapeFilter({.quit = std::move(commands.quit),
                                           .switch_engine = std::move(commands.switch_engine),
                                           .help = [can_switch] { print_help(can_switch); }});
        }
        input_ = Stream::create(loop, std::move(options));
    }
    ~StdioChar() override {
        input_->close();
        restore_terminal();
    }

    void write(std::span<const u8> bytes) override {
        const base::MutexLock lock(mutex_);
        while (!bytes.empty()) {
            const ssize_t n = ::write(STDOUT_FILENO, bytes.data(), bytes.size());
            if (n < 0 && errno == EINTR) continue;
            if (n < 0 && errno == EAGAIN) {
                // Somebody made the shared description non-blocking.
                pollfd p{.fd = STDOUT_FILENO, .events = POLLOUT, .revents = 0};
                ::poll(&p, 1, -1);
                continue;
            }
            if (n < 0) return;
            bytes = bytes.subspan(static_cast<size_t>(n));
        }
    }
    void on_input(Input receiver) override { input_->set_receiver(std::move(receiver)); }
    void resume_input() override { input_->resume(); }

private:
    base::Mutex mutex_;
    std::shared_ptr<Stream> input_;
};

}  // namespace

void restore_terminal() {
    const int code = errno;
    if (terminal_changed.exchange(false)) ::tcsetattr(STDIN_FILENO, TCSANOW, &saved_terminal);
    errno = code;
}

Result<std::unique_ptr<CharBackend>> make_stdio_char(base::EventLoop& loop, TerminalCommands commands) {
    return std::make_unique<StdioChar>(loop, std::move(commands));
}

}  // namespace triune::backend
