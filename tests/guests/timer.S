# SPDX-FileCopyrightText: 2026 Triune contributors
# SPDX-License-Identifier: Apache-2.0
# Interrupts from the APIC timer (one-shot, periodic, TSC deadline), the 8254 through the IOAPIC
# and through the 8259A, while halted and while running.
.include "guest.inc"
long_mode_guest

on_timer:
    inc r14
    eoi
    iretq
on_pit:
    inc r13
    eoi
    iretq
on_pic:
    inc r12
    push rax
    mov al, 0x20
    out 0x20, al
    pop rax
    iretq

main:
    gate 0x31, on_timer
    gate 0x32, on_pit
    gate 0x40, on_pic
    xor r14, r14
    xor r13, r13
    xor r12, r12
    mov dword ptr [APIC+0xf0], 0x1ff
    mov dword ptr [APIC+0x3e0], 0xb     # divide by 1: nanoseconds
    # One-shot, waited for in HLT.
    mov dword ptr [APIC+0x320], 0x31
    mov dword ptr [APIC+0x380], 500000
    sti
    hlt
    cli
    expect r14, 1, 1
    mov eax, [APIC+0x390]
    expect rax, 0, 2
    # Periodic, taken while running: no HLT, only jumps.
    mov dword ptr [APIC+0x320], 0x20031
    mov dword ptr [APIC+0x380], 200000
    sti
1:  cmp r14, 6
    jb 1b
    cli
    mov dword ptr [APIC+0x380], 0
    mov dword ptr [APIC+0x320], 0x10000
    # It may have come once more meanwhile.
    sti
    nop
    cli
    mov r14, 0
    # TSC deadline, when CPUID has it.
    mov eax, 1
    cpuid
    bt ecx, 24
    jnc no_deadline
    mov dword ptr [APIC+0x320], 0x40031
    mov r8d, 5
2:  rdtsc
    shl rdx, 32
    or rax, rdx
    add rax, 300000
    mov rdx, rax
    shr rdx, 32
    mov ecx, 0x6e0
    wrmsr
    sti
    hlt
    cli
    dec r8d
    jnz 2b
    expect r14, 5, 3
    mov ecx, 0x6e0
    rdmsr
    expect rax, 0, 4
    # One that has passed fires at once.
    mov eax, 1
    xor edx, edx
    wrmsr
    sti
    nop
    nop
    cli
    expect r14, 6, 5
    mov dword ptr [APIC+0x320], 0x10000
no_deadline:
    # 8254, mode 2, 1 kHz, IOAPIC pin 2.
    mov dword ptr [IOAPIC], 0x15
    mov dword ptr [IOAPIC+0x10], 0
    mov dword ptr [IOAPIC], 0x14
    mov dword ptr [IOAPIC+0x10], 0x32
    mov al, 0x34
    out 0x43, al
    mov al, 0xa9
    out 0x40, al
    mov al, 0x04
    out 0x40, al
3:  sti
    hlt
    cli
    cmp r13, 5
    jb 3b
    # Mask there, and take the same line through the 8259A: LINT0 as ExtINT.
    mov dword ptr [IOAPIC], 0x14
    mov dword ptr [IOAPIC+0x10], 0x10032
    mov al, 0x11
    out 0x20, al
    mov al, 0x40
    out 0x21, al
    mov al, 4
    out 0x21, al
    mov al, 1
    out 0x21, al
    mov al, 0xfe
    out 0x21, al
    mov dword ptr [APIC+0x350], 0x700
4:  sti
    hlt
    cli
    cmp r12, 5
    jb 4b
    # TPR holds back what the APIC has, not ExtINT.
    mov r12, 0
    mov rax, 15
    mov cr8, rax
5:  sti
    hlt
    cli
    cmp r12, 2
    jb 5b
    mov al, 0xff
    out 0x21, al
    mov dword ptr [APIC+0x300], 0x40031     # self-IPI
    mov r14, 0
    sti
    nop
    nop
    expect r14, 0, 6
    xor eax, eax
    mov cr8, rax
    nop
    expect r14, 1, 7
    # STI's shadow: nothing comes between STI and the next instruction.
    cli
    mov dword ptr [APIC+0x300], 0x40031
    sti
    cli
    nop
    expect r14, 1, 8
    sti
    nop
    cli
    expect r14, 2, 9
    finish 1
