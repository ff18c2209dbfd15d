// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include <asm/ldt.h>
#include <asm/prctl.h>
#include <fmt/format.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include <csignal>
#include <cstddef>
#include <cstring>

#include "differential/cpu/native_child.h"

namespace triune::differential::cpu {
namespace {

/// The signal frame's extended state: the XSAVE area as the kernel wrote it, avx512 and all.
constexpr size_t frame_state_max = 8192;

// The child's own state; it has one thread.
struct {
    const Batch* batch;
    Outcome* outcomes;
    size_t current;
    size_t ticked = ~size_t{0};  ///< program at the last tick
    bool running;
    gregset_t host_registers;
    alignas(64) u8 host_state[frame_state_max];
} child;

constexpr std::array<int, 16> greg_of = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
                                         REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
                                         REG_R12, REG_R13, REG_R14, REG_R15};

u8* state_of(ucontext_t* uc) { return reinterpret_cast<u8*>(uc->uc_mcontext.fpregs); }
size_t state_bytes(const u8* state) {
    u32 size;
    std::memcpy(&size, state + 464 + 16, 4);  // _fpx_sw_bytes::xstate_size
    return size < frame_state_max ? size : frame_state_max;
}

u8* memory(u64 address) { return reinterpret_cast<u8*>(address); }

void enter(ucontext_t* uc) {
    const Program& p = child.batch->programs[child.current];
    auto& g = uc->uc_mcontext.gregs;
    std::memcpy(child.host_registers, g, sizeof g);
    child.host_registers[REG_RIP] += 2;  // the UD2 that brought us here
    u8* const state = state_of(uc);
    std::memcpy(child.host_state, state, state_bytes(state));

    std::memcpy(memory(data_at), child.batch->memory.data(), data_writable);
    std::memcpy(memory(stack_at), child.batch->memory.data() + data_size, stack_size);
    for (size_t n = 0; n < 16; ++n) g[greg_of[n]] = static_cast<greg_t>(p.in.gpr[n]);
    g[REG_RIP] = static_cast<greg_t>(p.start);
    g[REG_EFL] = static_cast<greg_t>(p.in.flags | x86::flag::fixed | x86::flag::if_);
    u64 selectors = static_cast<u64>(g[REG_CSGSFS]) & ~u64{0xffff};
    selectors |= p.cs;
    g[REG_CSGSFS] = static_cast<greg_t>(selectors);
    // Legacy area without the bytes that are the kernel's, header, upper halves of YMM0-15.
    std::memcpy(state, p.in.xsave.data(), 416);
    const u64 in_use = 7;
    std::memcpy(state + 512, &in_use, 8);
    std::memcpy(state + 576, p.in.xsave.data() + 576, 256);
    child.running = true;
}

void leave(ucontext_t* uc, bool timeout) {
    auto& g = uc->uc_mcontext.gregs;
    Outcome& o = child.outcomes[child.current];
    o.vector = timeout ? -1 : static_cast<i32>(g[REG_TRAPNO]);
    o.error = static_cast<u32>(g[REG_ERR]);
    o.cr2 = static_cast<u64>(g[REG_CR2]);
    o.rip = static_cast<u64>(g[REG_RIP]);
    for (size_t n = 0; n < 16; ++n) o.r.gpr[n] = static_cast<u64>(g[greg_of[n]]);
    o.r.flags = static_cast<u64>(g[REG_EFL]);
    u8* const state = state_of(uc);
    std::memcpy(o.r.xsave.data(), state, 416);
    std::memcpy(o.r.xsave.data() + 512, state + 512, 64);
    std::memcpy(o.r.xsave.data() + 576, state + 576, 256);
    std::memcpy(o.memory.data(), memory(data_at), data_size);
    std::memcpy(o.memory.data() + data_size, memory(stack_at), stack_size);
    std::memcpy(g, child.host_registers, sizeof g);
    std::memcpy(state, child.host_state, state_bytes(state));
    child.running = false;
}

// SAFETY: runs in the child on its alternate stack, with the signals of faults only; changes the
// interrupted context and nothing else.
void on_signal(int signal, siginfo_t*, void* context) {
    auto* uc = static_cast<ucontext_t*>(context);
    if (signal == SIGVTALRM) {
        if (child.running && child.ticked == child.current) leave(uc, true);
        child.ticked = child.current;
        return;
    }
    if (child.running)
        leave(uc, false);
    else
        enter(uc);
}

bool confine() {
    const auto allow = [](u32 number) {
        return std::array<sock_filter, 2>{{BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
                                           BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)}};
    };
    std::array<sock_filter, 10> filter{};
    size_t n = 0;
    // 32-bit code asks by other numbers: no system call of its is allowed.
    filter[n++] = BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch));
    filter[n++] = BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0xc000003e, 1, 0);
    filter[n++] = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
    filter[n++] = BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr));
    for (const u32 call : {SYS_rt_sigreturn, SYS_exit_group})
        for (const sock_filter& f : allow(call)) filter[n++] = f;
    filter[n++] = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
    const sock_fprog program{static_cast<u16>(n), filter.data()};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

enum Exit : int { done = 0, no_memory = 10, no_setup = 11 };

bool map(u64 at, u64 size) {
    return mmap(memory(at), size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE,
                -1, 0) == memory(at);
}

/// Linux' own segment for 32-bit programs, else one of ours in the LDT.
u16 find_code32() {
    constexpr u16 linux_own = 0x23, ours = 7;
    u32 rights = 0;
    bool there = false;
    // SAFETY: LAR reads a descriptor's rights and nothing else.
    asm("lar %2, %0" : "=r"(rights), "=@ccz"(there) : "r"(u32{linux_own}));
    if (there && (rights & 0x600000) == 0x400000) return linux_own;  // D, not L
    user_desc d{};
    d.limit = 0xfffff;
    d.seg_32bit = 1;
    d.contents = 2;  // code
    d.limit_in_pages = 1;
    return syscall(SYS_modify_ldt, 0x11, &d, sizeof d) == 0 ? ours : 0;
}

[[noreturn]] void run_child(const Batch& b, Outcome* outcomes) {
    child.batch = &b;
    child.outcomes = outcomes;
    // What the engines keep below 2 GiB programs must not meet.
    constexpr u64 above_all = stack_at + (u64{1} << 20);
    munmap(memory(above_all), (u64{1} << 31) - above_all);
    if (!map(code_address, code_bytes) || !map(data_at, data_size) || !map(stack_at, stack_size))
        _exit(no_memory);
    std::memcpy(memory(data_at), b.memory.data(), data_size);
    for (const Program& p : b.programs) std::memcpy(memory(p.start), p.code.data(), p.code.size());
    if (mprotect(memory(code_address), code_bytes, PROT_READ | PROT_EXEC) ||
        mprotect(memory(data_at + data_writable), data_size - data_writable, PROT_READ))
        _exit(no_setup);
    static u8 stack_memory[1 << 16];
    const stack_t stack{stack_memory, 0, sizeof stack_memory};
    struct sigaction action{};
    action.sa_sigaction = on_signal;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    bool ok = sigaltstack(&stack, nullptr) == 0;
    for (const int s : {SIGILL, SIGFPE, SIGSEGV, SIGBUS, SIGTRAP, SIGVTALRM})
        ok &= sigaction(s, &action, nullptr) == 0;
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    ok &= syscall(SYS_arch_prctl, ARCH_SET_GS, gs_base) == 0;
    if (!b.programs.empty() && b.programs[0].compat) (void)find_code32();  // an LDT of its own
    // What hangs is seen by two ticks of this process' time in one program.
    const itimerval tick{{1, 0}, {1, 0}};
    ok &= setitimer(ITIMER_VIRTUAL, &tick, nullptr) == 0;
    // SAFETY: 32-bit code needs data segments; 64-bit code ignores them.
    asm volatile("mov %0, %%ds\n\tmov %0, %%es" : : "r"(u32{user_data}));
    if (!ok || !confine()) _exit(no_setup);
    for (child.current = 0; child.current < b.programs.size(); ++child.current)
        asm volatile("ud2" : : : "memory");  // on_signal goes on from here
    _exit(done);
}

}  // namespace

Result<std::unique_ptr<NativeRunner>> NativeRunner::create() {
    std::unique_ptr<NativeRunner> r(new NativeRunner);
    void* shared =
        mmap(nullptr, sizeof(Outcome) * batch, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) return fail("no memory for outcomes");
    r->outcomes_ = static_cast<Outcome*>(shared);
    // Some hosts have the descriptor and do not run its code.
    auto trial = std::make_unique<Batch>();
    Program p;
    p.compat = true;
    p.cs = find_code32();
    p.code = {0x0f, 0x0b};
    p.start = code_address;
    p.in.xsave[0] = 0x7f, p.in.xsave[1] = 3, p.in.xsave[24] = 0x80, p.in.xsave[25] = 0x1f;
    trial->programs.push_back(p);
    const Outcome& o = r->outcome(0);
    if (p.cs && r->run(*trial) && o.vector == x86::vec::ud && o.rip == p.start) r->code32_ = p.cs;
    return r;
}

NativeRunner::~NativeRunner() {
    if (outcomes_) munmap(outcomes_, sizeof(Outcome) * batch);
}

Result<void> NativeRunner::run(const Batch& b) {
    std::memset(static_cast<void*>(outcomes_), 0xff, sizeof(Outcome) * b.programs.size());
    const pid_t pid = fork();
    if (pid < 0) return fail("fork failed");
    if (pid == 0) run_child(b, outcomes_);
    int status = 0;
    if (waitpid(pid, &status, 0) != pid) return fail("waitpid failed");
    if (WIFEXITED(status) && WEXITSTATUS(status) == done) return {};
    return fail(fmt::format("the native child ended with status {:#x}", status));
}

}  // namespace triune::differential::cpu
