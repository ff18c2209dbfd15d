// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
//
// A flat binary that prints the mode it was entered in on port 0xe9 and ends with that through
// isa-debug-exit: 1 real, 2 protected, 3 long. The first instruction is one that all modes decode alike.
    .code16
    .globl start
start:
    cli
    // smsw ax: bit 0 is PE. 16-bit code reads "0f 01 e0", and so do the others, as eax.
    smsw %ax
    test $1, %al
    jnz protected
    mov $'R', %al
    out %al, $0xe9
    // The stack the loader promises works, and unclaimed ports are all ones.
    push %dx
    pop %cx
    cmp $0x80, %cl
    jne bad
    mov $0x5678, %dx
    in %dx, %ax
    cmp $0xffff, %ax
    jne bad
    mov $1, %al
    out %al, $0xf4
bad:
    mov $0x3f, %al
    out %al, $0xf4
    hlt

    .code32
protected:
    // The byte 0x41 is "inc %ecx" in 32-bit code and a REX prefix in 64-bit code.
    mov $2, %ecx
    .byte 0x41
    nop
    push %ecx
    pop %ecx
    mov $'P', %al
    cmp $3, %ecx
    je 1f
    mov $'L', %al
1:  outb %al, $0xe9
    mov $2, %al
    cmp $3, %ecx
    je 2f
    mov $3, %al
2:  outb %al, $0xf4
    hlt
