// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "control/stop_on_signal.h"

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <cstdio>
#include <string>

namespace triune::control {
namespace {

constexpr int patience_ms = 10'000;

sigset_t stop_signals() {
    sigset_t set;
    sigemptyset(&set);
    for (const int s : {SIGINT, SIGTERM, SIGHUP, SIGUSR1}) sigaddset(&set, s);
    return set;
}

}  // namespace

void block_stop_signals() {
    const sigset_t set = stop_signals();
    pthread_sigmask(SIG_BLOCK, &set, nullptr);
    std::signal(SIGPIPE, SIG_IGN);
    std::signal(SIGXFSZ, SIG_IGN);  // a file that may not grow further is an error of that write
}

/// An eventfd for the whole run of the program: who asks needs not know whether somebody listens.
static int switch_requests() {
    static const int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return fd;
}

void request_switch() {
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t n = write(switch_requests(), &one, sizeof one);
}

StopOnSignal::StopOnSignal(Vm& vm) : vm_(vm), wake_(eventfd(0, EFD_CLOEXEC)) {
    have_terminal_ = isatty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &terminal_) == 0;
    thread_ = std::thread([this] { wait(); });
}

StopOnSignal::~StopOnSignal() {
    const std::uint64_t one = 1;
    if (write(wake_, &one, sizeof one) == sizeof one)
        thread_.join();
    else
        thread_.detach();
    close(wake_);
}

void StopOnSignal::wait() {
    const sigset_t set = stop_signals();
    const int signals = signalfd(-1, &set, SFD_CLOEXEC);
    pollfd fds[] = {{signals, POLLIN, 0}, {wake_, POLLIN, 0}, {switch_requests(), POLLIN, 0}};
    for (;;) {
        const int ready = poll(fds, 3, signal_ ? patience_ms : -1);
        if (ready == 0) end_now(signal_);
        if (ready < 0) continue;  // EINTR
        if (fds[1].revents) break;
        if (std::uint64_t requests = 0;
            fds[2].revents && read(switch_requests(), &requests, sizeof requests) == sizeof requests)
            switch_engine();
        if (!fds[0].revents) continue;
        signalfd_siginfo info{};
        if (read(signals, &info, sizeof info) != sizeof info) continue;
        if (info.ssi_signo == SIGUSR1) {
            switch_engine();
            continue;
        }
        if (signal_) end_now(static_cast<int>(info.ssi_signo));
        signal_ = static_cast<int>(info.ssi_signo);
        vm_.stop();
    }
    close(signals);
}

void StopOnSignal::switch_engine() {
    if (signal_) return;
    const auto moved = vm_.switch_engine("");
    const std::string news = moved ? "engine " + vm_.engine() : moved.error().message;
    std::fprintf(stderr, "triune: %s\n", news.c_str());
}

void StopOnSignal::end_now(int signal) {
    if (have_terminal_) tcsetattr(STDIN_FILENO, TCSANOW, &terminal_);
    _exit(signal == SIGINT ? 130 : 143);
}

}  // namespace triune::control
