# SPDX-FileCopyrightText: 2026 Triune contributors
# SPDX-License-Identifier: Apache-2.0
# SYSCALL and SYSRET, interrupts between rings, what ring 3 may not do, I/O permission.
.include "guest.inc"
long_mode_guest

# Skips the instruction of r10 bytes that raised #GP; r14 counts.
on_gp:
    inc r14
    mov r13, [rsp]
    add [rsp+8], r10
    add rsp, 8
    iretq

main:
    gate 13, on_gp
    gate 0x80, on_int80
    wrmsr64 0xc0000081, 0x002b001800000000
    lea rbx, [rip+on_syscall]
    wrmsr64 0xc0000082, rbx
    wrmsr64 0xc0000084, 0x40200         # SFMASK: AC, IF
    wrmsr64 0xc0000102, 0x5000          # kernel GS base
    wrmsr64 0xc0000101, 0x6000
    xor r14, r14
    lea rcx, [rip+user]
    mov r11, 0x40202
    mov rsp, 0x88000
    sysretq

user:
    mov rax, cs
    cmp rax, USER_CS
    jne bad
    mov rax, ss
    cmp rax, USER_DS
    jne bad
    # Privileged instructions raise #GP(0).
    mov r10, 1
    hlt
    cli
    mov r10, 3
    mov rax, cr0
    mov r10, 2
    rdmsr
    wrmsr
    in al, 0x60                         # IOPL 0, no bitmap
    cmp r14, 6
    jne bad
    test r13, r13
    jnz bad
    # POPF leaves IF alone, and raises nothing.
    pushfq
    btr qword ptr [rsp], 9
    popfq
    pushfq
    pop rax
    bt rax, 9
    jnc bad
    mov ebx, 1
    syscall
after:
    cmp rax, 1234
    jne bad
    mov ebx, 2
    int 0x80
    cmp rax, 5678
    jne bad
    mov ebx, 3
    syscall
bad:
    mov ebx, 99
    syscall

on_int80:
    mov rax, [rsp+8]
    expect rax, USER_CS, 1
    mov rax, rsp
    expect rax, 0x94000-40, 2           # the stack of the TSS
    mov rax, [rsp+32]
    expect rax, USER_DS, 3
    mov rax, [rsp+24]
    expect rax, 0x88000, 4
    pushfq
    pop rax
    and eax, 0x200
    expect rax, 0, 5                    # an interrupt gate
    mov eax, 5678
    iretq

on_syscall:
    cmp ebx, 99
    jne 1f
    mov [DETAIL], r14
    finish 0x163
1:  cmp ebx, 3
    jne 2f
    finish 1
2:  lea rax, [rip+after]
    expect rcx, rax, 6
    mov rax, cs
    expect rax, CS64, 7
    mov rax, ss
    expect rax, DS64, 8
    pushfq
    pop rax
    and eax, 0x40200
    expect rax, 0, 9                    # masked
    mov rax, r11
    and eax, 0x40200
    expect rax, 0x40200, 10
    mov rax, rsp
    expect rax, 0x88000, 11             # SYSCALL leaves RSP alone
    swapgs
    mov ecx, 0xc0000101
    rdmsr
    expect rax, 0x5000, 12
    swapgs
    lea rcx, [rip+after]
    mov eax, 1234
    sysretq
