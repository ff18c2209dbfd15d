// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include <sys/mman.h>
#include <unistd.h>

#include <csetjmp>
#include <csignal>
#include <cstddef>
#include <cstring>

#include "differential/native.h"

namespace triune::differential {

namespace {
struct Frame {
    std::array<u64, 16> gpr;
    u64 flags;
    u8* xsave;
    const u8* code;
};
static_assert(offsetof(Frame, flags) == 128 && offsetof(Frame, xsave) == 136 && offsetof(Frame, code) == 144);
sigjmp_buf escape;
volatile sig_atomic_t caught = -1;
}  // namespace

// SAFETY: keeps to the System V calling convention; the instruction between load and store of the
// registers is one that the generator has checked: it names neither RSP nor memory other than the
// data pages, and leaves by falling through to the RET behind it or by a signal.
extern "C" void triune_differential_run(void* frame);
asm(R"(
    .pushsection .text
    .globl triune_differential_run
    .type triune_differential_run, @function
triune_differential_run:
    push %rbx
    push %rbp
    push %r12
    push %r13
    push %r14
    push %r15
    sub $24, %rsp
    stmxcsr 16(%rsp)
    mov %rdi, 8(%rsp)
    mov 144(%rdi), %rax
    mov %rax, (%rsp)
    mov 136(%rdi), %rcx
    mov $7, %eax
    xor %edx, %edx
    xrstor64 (%rcx)
    push 128(%rdi)
    popfq
    mov 0(%rdi), %rax
    mov 8(%rdi), %rcx
    mov 16(%rdi), %rdx
    mov 24(%rdi), %rbx
    mov 40(%rdi), %rbp
    mov 48(%rdi), %rsi
    mov 64(%rdi), %r8
    mov 72(%rdi), %r9
    mov 80(%rdi), %r10
    mov 88(%rdi), %r11
    mov 96(%rdi), %r12
    mov 104(%rdi), %r13
    mov 112(%rdi), %r14
    mov 120(%rdi), %r15
    mov 56(%rdi), %rdi
    call *(%rsp)
    xchg %rdi, 8(%rsp)
    mov %rax, 0(%rdi)
    mov %rcx, 8(%rdi)
    mov %rdx, 16(%rdi)
    mov %rbx, 24(%rdi)
    mov %rbp, 40(%rdi)
    mov %rsi, 48(%rdi)
    mov %r8, 64(%rdi)
    mov %r9, 72(%rdi)
    mov %r10, 80(%rdi)
    mov %r11, 88(%rdi)
    mov %r12, 96(%rdi)
    mov %r13, 104(%rdi)
    mov %r14, 112(%rdi)
    mov %r15, 120(%rdi)
    mov 8(%rsp), %rax
    mov %rax, 56(%rdi)
    pushfq
    pop 128(%rdi)
    cld
    mov 136(%rdi), %rcx
    mov $7, %eax
    xor %edx, %edx
    xsave64 (%rcx)
    fninit
    vzeroupper
    ldmxcsr 16(%rsp)
    add $24, %rsp
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbp
    pop %rbx
    ret
    .size triune_differential_run, . - triune_differential_run
    .popsection
)");

namespace {

void on_signal(int signal, siginfo_t* info, void*) {
    switch (signal) {
        case SIGILL: caught = x86::vec::ud; break;
        case SIGFPE: caught = info->si_code == FPE_INTDIV ? x86::vec::de : x86::vec::xm; break;
        default: caught = x86::vec::gp; break;
    }
    siglongjmp(escape, 1);
}

}  // namespace

struct Native::Impl {
    u8* data = nullptr;
    u8* code = nullptr;
};

Native::Native() : impl_(std::make_unique<Impl>()) {
    void* d = mmap(reinterpret_cast<void*>(data_address), data_bytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (d != reinterpret_cast<void*>(data_address)) return;
    void* c = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (c == MAP_FAILED) return;
    impl_->data = static_cast<u8*>(d);
    impl_->code = static_cast<u8*>(c);
    struct sigaction action{};
    action.sa_sigaction = on_signal;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    for (const int s : {SIGILL, SIGFPE, SIGSEGV, SIGBUS}) sigaction(s, &action, nullptr);
}

Native::~Native() {
    for (const int s : {SIGILL, SIGFPE, SIGSEGV, SIGBUS}) signal(s, SIG_DFL);
    if (impl_->data) munmap(impl_->data, data_bytes);
    if (impl_->code) munmap(impl_->code, 4096);
}

bool Native::usable() const { return impl_->code; }
std::span<u8> Native::data() { return {impl_->data, data_bytes}; }

int Native::run(std::span<const u8> instruction, Registers& r) {
    mprotect(impl_->code, 4096, PROT_READ | PROT_WRITE);
    std::memcpy(impl_->code, instruction.data(), instruction.size());
    impl_->code[instruction.size()] = 0xc3;
    mprotect(impl_->code, 4096, PROT_READ | PROT_EXEC);
    Frame f{r.gpr, r.flags | x86::flag::fixed | x86::flag::if_, r.xsave.data(), impl_->code};
    caught = -1;
    if (sigsetjmp(escape, 1)) {
        // The guest's control words are still in the processor.
        const u32 mxcsr = 0x1f80;
        asm volatile("cld\n\tfninit\n\tvzeroupper\n\tldmxcsr %0" : : "m"(mxcsr));
        return caught;
    }
    triune_differential_run(&f);
    r.gpr = f.gpr;
    r.flags = f.flags;
    return -1;
}

}  // namespace triune::differential
