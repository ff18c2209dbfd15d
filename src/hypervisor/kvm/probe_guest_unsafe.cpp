// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
#include "hypervisor/kvm/probe_guest_unsafe.h"

// SAFETY: the bytes between the labels are data of this program; only a guest executes them. The constants
// are those of the header: the static_asserts below keep them together.
asm(R"(
    .pushsection .rodata
    .globl triune_probe_begin, triune_probe_syscall, triune_probe_end
triune_probe_begin:
    movb $1, %al
    outb %al, $0xf4

    movq $400000, %rcx
1:  addq %rcx, 0x8000
    decq %rcx
    jnz 1b
    movb $2, %al
    outb %al, $0xf4

    movq $200, %rcx
2:  movq $0x6007, 0x4000
    invlpg 0x200000
    cmpl $0x11111111, 0x200000
    jne 9f
    movq $0x7007, 0x4000
    movq %cr3, %rax
    movq %rax, %cr3
    cmpl $0x22222222, 0x200000
    jne 9f
    decq %rcx
    jnz 2b
    movb $3, %al
    outb %al, $0xf4

    leaq triune_probe_user(%rip), %rcx
    movq $2, %r11
    sysretq
9:  movb $0xff, %al
    outb %al, $0xf4
    hlt

triune_probe_syscall:
    testq %rax, %rax
    jz 1f
    outb %al, $0xf4
    cmpb $5, %al
    jne 1f
    hlt
1:  sysretq

triune_probe_user:
    movq $400000, %rcx
1:  addq %rcx, 0x8000
    decq %rcx
    jnz 1b
    movq $4, %rax
    syscall
    movq $2000, %rbx
2:  xorl %eax, %eax
    syscall
    decq %rbx
    jnz 2b
    movq $5, %rax
    syscall
triune_probe_end:
    .popsection
)");

extern "C" const triune::u8 triune_probe_begin, triune_probe_syscall, triune_probe_end;

namespace triune::hypervisor::kvm {

namespace probe_guest {

static_assert(loop_count == 400'000 && table_count == 200 && call_count == 2000 && port == 0xf4);
static_assert(began == 1 && kernel_done == 2 && tables_done == 3 && user_done == 4 && calls_done == 5 &&
              failed == 0xff);
static_assert(variable == 0x8000 && page_table == 0x4000 && first_page == 0x6000 && second_page == 0x7000 &&
              window == 0x200000 && first_word == 0x11111111 && second_word == 0x22222222);

std::span<const u8> image() { return {&triune_probe_begin, &triune_probe_end}; }

u64 syscall_entry() { return static_cast<u64>(&triune_probe_syscall - &triune_probe_begin); }

}  // namespace probe_guest

void run_probe_loop(u64& variable) {
    u64 count = probe_guest::loop_count;
    asm volatile(
        "1: addq %[n], %[v]\n"
        "   decq %[n]\n"
        "   jnz 1b\n"
        : [n] "+r"(count), [v] "+m"(variable)
        :
        : "cc");
}

}  // namespace triune::hypervisor::kvm
