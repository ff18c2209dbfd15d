// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/soft/bt/host_unsafe.h"

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <array>
#include <cstdlib>
#include <memory>
#include <mutex>

namespace triune::hypervisor::soft::bt {
namespace {

/// An XSAVE area whose header says "everything in its initial state", with the default MXCSR.
struct alignas(64) InitialState {
    std::array<u8, 832> bytes{};
    InitialState() {
        bytes[0] = 0x7f, bytes[1] = 0x03;    // FCW
        bytes[24] = 0x80, bytes[25] = 0x1f;  // MXCSR
        bytes[512] = 2;  // XSTATE_BV: SSE from here (MXCSR is only loaded with it), the rest initial
    }
};
const InitialState initial_state;

thread_local FaultClient* current_client = nullptr;
std::array<struct sigaction, NSIG> previous_actions;

// SAFETY: runs in signal context on the alternate stack. It only touches the interrupted context and
// asks the client, which reads tables that nobody changes while translated code runs.
void handle_fault(int signal, siginfo_t* info, void* context) {
    auto* uc = static_cast<ucontext_t*>(context);
    auto& regs = uc->uc_mcontext.gregs;
    if (current_client) {
        u64 rsp = static_cast<u64>(regs[REG_RSP]);
        const u64 go_on =
            current_client->host_fault(static_cast<u64>(regs[REG_RIP]), rsp, static_cast<u64>(regs[REG_EFL]),
                                       reinterpret_cast<u64>(info->si_addr));
        if (go_on) {
            regs[REG_RIP] = static_cast<greg_t>(go_on);
            regs[REG_RSP] = static_cast<greg_t>(rsp);
            return;
        }
    }
    const struct sigaction& previous = previous_actions[static_cast<size_t>(signal)];
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

void install_handlers() {
    struct sigaction action{};
    action.sa_sigaction = handle_fault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    sigemptyset(&action.sa_mask);
    for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL})
        sigaction(signal, &action, &previous_actions[static_cast<size_t>(signal)]);
}

/// The alternate stack of one thread.
class SignalStack {
public:
    SignalStack() {
        memory_ = std::make_unique<u8[]>(size);
        stack_t stack{};
        stack.ss_sp = memory_.get();
        stack.ss_size = size;
        sigaltstack(&stack, &old_);
        sigset_t blocked;
        sigfillset(&blocked);
        for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGPROF})
            sigdelset(&blocked, signal);
        pthread_sigmask(SIG_BLOCK, &blocked, nullptr);
    }
    ~SignalStack() { sigaltstack(&old_, nullptr); }

private:
    static constexpr size_t size = 64 << 10;
    std::unique_ptr<u8[]> memory_;
    stack_t old_{};
};

}  // namespace

const u8* initial_vector_state() { return initial_state.bytes.data(); }

void attach_to_thread(FaultClient* client) {
    static std::once_flag once;
    std::call_once(once, install_handlers);
    thread_local SignalStack stack;
    current_client = client;
}

void detach_from_thread(FaultClient* client) {
    if (current_client == client) current_client = nullptr;
}

}  // namespace triune::hypervisor::soft::bt
