// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
//
// A multiboot kernel at 0x8000 that goes back to real mode and relies on what a BIOS has left: it waits for the
// timer's interrupt, which counts in the BIOS data area, then writes 0x15 (or the number of what failed) to
// isa-debug-exit.
    .text
    .code32
    .globl _start
_start:
    jmp 1f
    .balign 4
    .long 0x1badb002, 0, -0x1badb002
1:  mov $1, %bl
    cmp $0x2badb002, %eax
    jne fail
    lgdt gdt_pointer
    ljmp $8, $protected16
fail:
    mov %ebx, %eax
    mov $0xf4, %dx
    out %al, %dx
    hlt
    .code16
protected16:
    mov $16, %ax
    mov %ax, %ds
    mov %ax, %ss
    mov %cr0, %eax
    and $~1, %eax
    mov %eax, %cr0
    ljmp $0, $real
real:
    xor %ax, %ax
    mov %ax, %ds
    mov %ax, %ss
    mov $0x7000, %sp
    lidt idt_pointer
    mov $2, %bl
    cmpw $0x3f8, 0x400          // the first serial port
    jne fail16
    mov $3, %bl
    cmpw $639, 0x413            // KB of conventional memory
    jne fail16
    mov $4, %bl
    mov 0x46c, %cx
    sti
    hlt
    cli
    cmp 0x46c, %cx
    je fail16
    int $0x75                   // a handler of the slave's interrupts
    int $0x42                   // one that only returns
    mov $0x15, %bl
fail16:
    mov %bl, %al
    mov $0xf4, %dx
    out %al, %dx
    hlt
    .balign 8
gdt:
    .quad 0, 0x00009b000000ffff, 0x000093000000ffff
gdt_pointer:
    .word 23
    .long gdt
idt_pointer:
    .word 0x3ff
    .long 0
