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
    return 0;
}
