// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/kvm/kick.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>
#include <mutex>

namespace triune::hypervisor::kvm {

int kick_signal() { return SIGRTMIN; }

void accept_kicks() {
    static std::once_flag installed;
    std::call_once(installed, [] {
        struct sigaction action{};
        action.sa_handler = [](int) {};  // no SA_RESTART: KVM_RUN is to end
        sigemptyset(&action.sa_mask);
        sigaction(kick_signal(), &action, nullptr);
    });
    sigset_t mine;
    sigemptyset(&mine);
    sigaddset(&mine, kick_signal());
    pthread_sigmask(SIG_UNBLOCK, &mine, nullptr);
}

void send_kick(pid_t thread) { ::syscall(SYS_tgkill, ::getpid(), thread, kick_signal()); }

}  // namespace triune::hypervisor::kvm
