// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
//
// What single operations cost, in cycles of the time-stamp counter: runs in the guest and, as it
// is, on the host. Prints "micro NAME CYCLES"; the smallest of several batches, so that a batch
// which the host interrupted does not count.
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/io.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { batches = 7 };

static inline uint64_t cycles(void) {
    uint32_t low, high;
    __asm__ volatile("lfence; rdtsc" : "=a"(low), "=d"(high)::"memory");
    return (uint64_t)high << 32 | low;
}

static void measure(const char* name, void (*run)(unsigned count), unsigned count) {
    uint64_t best = ~(uint64_t)0;
    for (int i = 0; i < batches; ++i) {
        const uint64_t begin = cycles();
        run(count);
        const uint64_t spent = cycles() - begin;
        if (spent < best) best = spent;
    }
    printf("micro %s %.1f\n", name, (double)best / count);
    fflush(stdout);
}

static void system_call(unsigned count) {
    for (unsigned i = 0; i < count; ++i) {
        long result = SYS_getppid;
        __asm__ volatile("syscall" : "+a"(result)::"rcx", "r11", "memory");
    }
}

static void page_fault(unsigned count) {
    char* const pages = mmap(NULL, (size_t)count << 12, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED) return;
    for (unsigned i = 0; i < count; ++i) ((volatile char*)pages)[(size_t)i << 12] = 1;
    munmap(pages, (size_t)count << 12);
}

// A page-table change with the flush of its TLB entry, each way, and an access.
static void protection_change(unsigned count) {
    volatile char* const page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) return;
    page[0] = 1;
    for (unsigned i = 0; i < count; ++i) {
        mprotect((void*)page, 4096, PROT_READ);
        (void)page[0];
        mprotect((void*)page, 4096, PROT_READ | PROT_WRITE);
        page[0] = 1;
    }
    munmap((void*)page, 4096);
}

static void call_return(unsigned count) {
    __asm__ volatile(
        "1: call 2f; dec %0; jnz 1b; jmp 3f\n"
        "2: ret\n"
        "3:"
        : "+r"(count)::"memory", "cc");
}

static void leaf(void) { __asm__ volatile(""); }
static void indirect_call(unsigned count) {
    void (*volatile target)(void) = leaf;
    for (unsigned i = 0; i < count; ++i) target();
}

static void port_io(unsigned count) {
    for (unsigned i = 0; i < count; ++i) outb(0, 0x80);
}

static sigjmp_buf after_fault;
static void on_fault(int number) {
    (void)number;
    siglongjmp(after_fault, 1);
}
static void divide_error(unsigned count) {
    for (volatile unsigned i = 0; i < count; ++i)
        if (sigsetjmp(after_fault, 0) == 0) __asm__ volatile("xor %%edx, %%edx; xor %%ecx, %%ecx; div %%ecx" ::: "eax", "ecx", "edx");
}

// 32-bit user code in the segment that Linux has for its 32-bit programs: a rolling checksum kept in a table.
// Far jumps lead there and back; data and code are below 4 GiB, where this program is linked.
enum { user_code32 = 0x23, user_data32 = 0x2b };
__attribute__((used)) static uint32_t table[64];
extern const char loop_32[];

__asm__(
    ".text\n"
    ".code32\n"
    "loop_32:\n"
    "1:  mov table(%edi), %eax\n"
    "    add %ebx, %eax\n"
    "    rol $5, %eax\n"
    "    xor %eax, %ebx\n"
    "    mov %eax, table(%edi)\n"
    "    add $4, %edi\n"
    "    and $255, %edi\n"
    "    dec %ecx\n"
    "    jnz 1b\n"
    "    ljmp $0x33, $loop_32_done\n"
    ".code64\n");

__attribute__((noinline, noclone)) static void user_loop_32(unsigned count) {
    struct {
        uint32_t offset;
        uint16_t selector;
    } __attribute__((packed)) const target = {(uint32_t)(uintptr_t)loop_32, user_code32};
    uint32_t index = 0, sum = 1;
    __asm__ volatile(
        "mov %%rsp, %%r12\n"  // IRET to a 32-bit segment may cut RSP: an interrupt must not lose it
        "mov %[data], %%ds\n"
        "ljmp *%[target]\n"
        "loop_32_done:\n"
        "mov %%r12, %%rsp\n"
        "mov %[none], %%ds\n"
        : "+&c"(count), "+&D"(index), "+&b"(sum)
        : [data] "r"(user_data32), [none] "r"(0), [target] "m"(target)
        : "rax", "rdx", "rsi", "r8", "r9", "r10", "r11", "r12", "memory", "cc");
}

// Some hosts have no 32-bit segments: the far jump raises a fault there.
static int works(void (*loop)(unsigned count)) {
    static char handler_stack[65536];
    const stack_t alternate = {.ss_sp = handler_stack, .ss_size = sizeof handler_stack};
    struct sigaction action = {.sa_handler = on_fault, .sa_flags = SA_ONSTACK}, before;
    sigaltstack(&alternate, NULL);
    sigaction(SIGSEGV, &action, &before);
    volatile int done = 0;
    if (sigsetjmp(after_fault, 1) == 0) {
        loop(1);
        done = 1;
    }
    __asm__ volatile("mov %0, %%ds" ::"r"(0));
    sigaction(SIGSEGV, &before, NULL);
    return done;
}

int main(void) {
    struct sigaction action = {.sa_handler = on_fault, .sa_flags = SA_NODEFER};
    sigaction(SIGFPE, &action, NULL);
    measure("system-call", system_call, 20000);
    measure("page-fault", page_fault, 2000);
    measure("pte-change", protection_change, 2000);
    measure("call-ret", call_return, 1000000);
    measure("indirect-call", indirect_call, 1000000);
    measure("divide-error", divide_error, 2000);
    if (ioperm(0x80, 1, 1) == 0) measure("port-io-0x80", port_io, 2000);
    if (works(user_loop_32)) measure("user-loop-32", user_loop_32, 1000000);
    return 0;
}
