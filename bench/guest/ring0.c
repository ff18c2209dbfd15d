// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
//
// What operations of a kernel cost, in cycles of the time-stamp counter: a kernel of its own (PVH
// entry), which QEMU and Triune both start with no firmware and no loader. Prints "micro NAME CYCLES" on
// the first serial port, the smallest of several batches, then "@done", and resets the machine.
#include <stdint.h>

enum { batches = 7, com1 = 0x3f8, huge_page = 0x200000 };

// 32-bit protected mode without paging (Xen PVH start): 1 GiB is mapped onto itself in 2 MiB pages, and
// 64-bit mode entered.
__asm__(
    ".section .note.pvh, \"a\", @note\n"
    ".long 4, 4, 18\n"  // XEN_ELFNOTE_PHYS32_ENTRY
    ".asciz \"Xen\"\n"
    ".long start32\n"
    ".text\n"
    ".code32\n"
    ".globl start32\n"
    "start32:\n"
    "    cld\n"
    "    mov $stack_end, %esp\n"
    "    movl $pdpt + 3, pml4\n"
    "    movl $pd + 3, pdpt\n"
    "    mov $pd, %edi\n"
    "    mov $0x83, %eax\n"
    "1:  mov %eax, (%edi)\n"
    "    movl $0, 4(%edi)\n"
    "    add $8, %edi\n"
    "    add $0x200000, %eax\n"
    "    cmp $pd + 4096, %edi\n"
    "    jb 1b\n"
    "    mov $pml4, %eax\n"
    "    mov %eax, %cr3\n"
    "    mov $0xa0, %eax\n"  // PAE, PGE
    "    mov %eax, %cr4\n"
    "    mov $0xc0000080, %ecx\n"
    "    rdmsr\n"
    "    or $0x100, %eax\n"
    "    wrmsr\n"
    "    mov $0x80000011, %eax\n"
    "    mov %eax, %cr0\n"
    "    lgdt gdt_pointer\n"
    "    ljmp $8, $start64\n"
    ".code64\n"
    "start64:\n"
    "    xor %eax, %eax\n"
    "    mov %eax, %ds\n"
    "    mov %eax, %es\n"
    "    mov %eax, %ss\n"
    "    mov $stack_end, %rsp\n"
    "    call run\n"
    ".balign 8\n"
    "gdt: .quad 0, 0x00209a0000000000\n"
    "     .quad 0x00cf9a000000ffff, 0x00cf92000000ffff\n"  // 0x10, 0x18: 32-bit, flat
    "     .quad 0x00009a200000ffff, 0x000092200000ffff\n"  // 0x20, 0x28: 16-bit, base 2 MiB
    "gdt_pointer: .short 0x2f\n"
    "    .long gdt\n"
    ".bss\n"
    ".balign 4096\n"
    "pml4: .skip 4096\n"
    "pdpt: .skip 4096\n"
    "pd:   .skip 4096\n"
    "    .skip 8192\n"
    "stack_end:\n"
    ".text\n");

extern volatile uint64_t pd[512];

static void out8(uint16_t port, uint8_t value) { __asm__ volatile("outb %0, %1" ::"a"(value), "Nd"(port)); }
static uint8_t in8(uint16_t port) {
    uint8_t value;
    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static void put(const char* text) {
    for (; *text; ++text) {
        while (!(in8(com1 + 5) & 0x20)) {
        }
        out8(com1, (uint8_t)*text);
    }
}

static void put_number(uint64_t value) {
    char digits[21];
    char* at = digits + sizeof digits - 1;
    *at = 0;
    do *--at = (char)('0' + value % 10);
    while (value /= 10);
    put(at);
}

static uint64_t cycles(void) {
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
    put("micro ");
    put(name);
    put(" ");
    put_number(best / count);
    put(".");
    put_number(best * 10 / count % 10);
    put("\n");
}

static void cr8_write(unsigned count) {
    for (unsigned i = 0; i < count; ++i) __asm__ volatile("mov %0, %%cr8" ::"r"((uint64_t)(i & 1)) : "memory");
}

static void cli_sti(unsigned count) {
    for (unsigned i = 0; i < count; ++i) __asm__ volatile("pushf; cli; popf" ::: "memory", "cc");
}

// The page is in use, so that there is an entry to drop.
static void invlpg(unsigned count) {
    volatile char* const page = (volatile char*)(uintptr_t)(16 * huge_page);
    for (unsigned i = 0; i < count; ++i) {
        (void)*page;
        __asm__ volatile("invlpg (%0)" ::"r"(page) : "memory");
    }
}

static void pte_change(unsigned count) {
    volatile char* const page = (volatile char*)(uintptr_t)(16 * huge_page);
    for (unsigned i = 0; i < count; ++i) {
        pd[16] ^= (uint64_t)huge_page;
        __asm__ volatile("invlpg (%0)" ::"r"(page) : "memory");
        (void)*page;
    }
}

static void cr3_write(unsigned count) {
    uint64_t cr3;
    __asm__ volatile("mov %%cr3, %0" : "=r"(cr3));
    for (unsigned i = 0; i < count; ++i) __asm__ volatile("mov %0, %%cr3" ::"r"(cr3) : "memory");
}

// Code of the other widths: a rolling checksum kept in a table. The image lies in the 64 KiB from 2 MiB on,
// which is the base of the 16-bit segments.
__attribute__((used)) static uint32_t table[64];
extern const char code_32[], code_16[];
__asm__(
    ".text\n"
    ".code32\n"
    "code_32:\n"
    "1:  mov table(%edi), %eax\n"
    "    add %ebx, %eax\n"
    "    rol $5, %eax\n"
    "    xor %eax, %ebx\n"
    "    mov %eax, table(%edi)\n"
    "    add $4, %edi\n"
    "    and $255, %edi\n"
    "    dec %ecx\n"
    "    jnz 1b\n"
    "    ljmp $8, $code_done\n"
    ".code16\n"
    "code_16:\n"
    "1:  mov table - 0x200000(%di), %ax\n"
    "    add %bx, %ax\n"
    "    rol $5, %ax\n"
    "    xor %ax, %bx\n"
    "    mov %ax, table - 0x200000(%di)\n"
    "    add $2, %di\n"
    "    and $255, %di\n"
    "    dec %ecx\n"
    "    jnz 1b\n"
    "    ljmpl $8, $code_done\n"
    ".code64\n");

__attribute__((noinline, noclone)) static void run_narrow(unsigned count, uint32_t offset, unsigned code) {
    const struct {
        uint32_t offset;
        uint16_t selector;
    } __attribute__((packed)) target = {offset, (uint16_t)code};
    uint32_t index = 0, sum = 1;
    __asm__ volatile(
        "mov %[data], %%ds\n"
        "ljmp *%[target]\n"
        "code_done:\n"
        "mov %[none], %%ds\n"
        : "+&c"(count), "+&D"(index), "+&b"(sum)
        : [data] "r"(code + 8), [none] "r"(0), [target] "m"(target)
        : "rax", "rdx", "rsi", "r8", "r9", "r10", "r11", "memory", "cc");
}
static void loop_32(unsigned count) { run_narrow(count, (uint32_t)(uintptr_t)code_32, 0x10); }
static void loop_16(unsigned count) { run_narrow(count, (uint32_t)(uintptr_t)code_16 - 0x200000, 0x20); }

__attribute__((used)) static void run(void) {
    measure("cr8-write", cr8_write, 100000);
    measure("pushf-cli-popf", cli_sti, 100000);
    measure("invlpg", invlpg, 20000);
    measure("pte-change-invlpg", pte_change, 20000);
    measure("cr3-write", cr3_write, 20000);
    measure("loop-32", loop_32, 200000);
    measure("loop-16", loop_16, 200000);
    put("@done\n");
    out8(0x64, 0xfe);  // the keyboard controller pulls the reset line
    for (;;) __asm__ volatile("hlt");
}
