// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include <pthread.h>
#include <signal.h>
#include <ucontext.h>

#include <mutex>

#include "hypervisor/soft/interp/host_trap.h"

namespace triune::hypervisor::soft::interp {
namespace {

thread_local HostTrap* current = nullptr;
struct sigaction previous;

// SAFETY: runs in signal context and touches only the interrupted context and the thread's own HostTrap. The
// program counter lies within a fragment, which is one instruction that leaves RSP alone, so that RSP
// points to the fragment's return address.
void handle(int signal, siginfo_t* info, void* context) {
    auto* uc = static_cast<ucontext_t*>(context);
    auto& regs = uc->uc_mcontext.gregs;
    const u64 pc = static_cast<u64>(regs[REG_RIP]);
    if (current && pc >= current->begin && pc < current->end) {
        current->raised = true;
        const u64 rsp = static_cast<u64>(regs[REG_RSP]);
        regs[REG_RIP] = *reinterpret_cast<const greg_t*>(rsp);
        regs[REG_RSP] = static_cast<greg_t>(rsp + 8);
        return;
    }
    if (previous.sa_flags & SA_SIGINFO) {
        previous.sa_sigaction(signal, info, context);
    } else if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) {
        previous.sa_handler(signal);
    } else {
        // A bug of ours: die of it, with a core file, when the instruction runs again.
        struct sigaction dfl{};
        dfl.sa_handler = SIG_DFL;
        sigaction(signal, &dfl, nullptr);
    }
}

/// Process-wide once, and SIGFPE unblocked on this thread once.
void attach() {
    static std::once_flag once;
    std::call_once(once, [] {
        struct sigaction action{};
        action.sa_sigaction = handle;
        action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
        sigemptyset(&action.sa_mask);
        sigaction(SIGFPE, &action, &previous);
    });
    thread_local bool unblocked = false;
    if (unblocked) return;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGFPE);
    pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
    unblocked = true;
}

}  // namespace

HostTrap::HostTrap(u64 first, u64 past) : begin(first), end(past), outer_(current) {
    attach();
    current = this;
}
HostTrap::~HostTrap() { current = outer_; }

}  // namespace triune::hypervisor::soft::interp
