# SPDX-FileCopyrightText: 2026 Triune contributors
# SPDX-License-Identifier: Apache-2.0
# 64-bit mode: registers, control registers, MSRs, CPUID, and the way into compatibility mode and back.
.include "guest.inc"
long_mode_guest

main:
    mov ecx, 0xc0000080
    rdmsr
    expect rax, 0xd01, 1            # SCE, LME, LMA, NXE
    mov rax, 0x123456789abcdef0
    mov r8, rax
    bswap r8
    mov rbx, 0xf0debc9a78563412
    expect r8, rbx, 2
    mov eax, -1
    mov rbx, 0xffffffff
    expect rax, rbx, 3              # 32-bit results clear the upper half
    mov al, 0
    mov rbx, 0xffffff00
    expect rax, rbx, 4
    xor eax, eax
    cpuid
    expect_cc no, 5
    cmp eax, 1
    expect_cc ae, 6
    mov eax, 1
    cpuid
    bt edx, 9
    expect_cc c, 7                  # there is an APIC
    bt edx, 6
    expect_cc c, 8                  # and PAE
    mov rax, cr0
    mov ebx, 0x80010033
    expect rax, rbx, 9
    # Compatibility mode and back by far jumps through memory.
    push CS32
    lea rax, [rip+compat]
    push rax
    retfq
.code32
compat:
    mov eax, 0x80000000
    inc eax
    mov ebx, eax
    .byte 0x40                      # INC EAX here, REX in 64-bit mode
    .byte 0xea
    .long back
    .word CS64
.code64
back:
    sub rax, rbx
    expect rax, 1, 10
    # Wide multiplication and division.
    mov rax, 0x8000000000000001
    mov rcx, 0x10
    mul rcx
    expect rdx, 8, 11
    expect rax, 0x10, 12
    div rcx
    mov rbx, 0x8000000000000001
    expect rax, rbx, 13
    # RDTSC goes forward; RDTSC and the MSR show one clock.
    rdtsc
    shl rdx, 32
    lea rbx, [rdx+rax]
    mov ecx, 0x10
    rdmsr
    shl rdx, 32
    or rax, rdx
    cmp rax, rbx
    expect_cc ae, 14
    # FS and GS bases.
    wrmsr64 0xc0000100, 0x200000
    wrmsr64 0xc0000101, 0x200008
    mov qword ptr [0x200000], 11
    mov qword ptr [0x200008], 22
    mov rax, fs:[0]
    expect rax, 11, 15
    mov rax, gs:[0]
    expect rax, 22, 16
    wrmsr64 0xc0000102, 0x200000
    swapgs
    mov rax, gs:[0]
    expect rax, 11, 17
    finish 1
