# SPDX-FileCopyrightText: 2026 Triune contributors
# SPDX-License-Identifier: Apache-2.0
# 5-level paging (Intel SDM 3A 4.5): entered by way of compatibility mode without paging, 57-bit
# addresses, what is canonical when, faults, and back to four levels.
.include "guest.inc"
long_mode_guest

.set PML5, 0x30000
.set PT4, 0x31000           # a PML4, PDPT, PD and PT of their own, for one high page
.set LOW57, 0x00ab000000000000
.set HIGH57, 0xff54000000000000

on_fault:
    inc r14
    mov r12, cr2
    pop r13
    mov [rsp], r11
    iretq
on_gp:
    inc r15
    pop r13
    mov [rsp], r11
    iretq

main:
    gate 13, on_gp
    gate 14, on_fault
    mov eax, 7
    xor ecx, ecx
    cpuid
    bt ecx, 16
    jc 1f
    finish 0x1fd                    # the bench asked for it
1:  mov eax, 0x80000008
    cpuid
    movzx eax, ah
    expect rax, 57, 1
    # Registers take 57 bits already, accesses do not; CR4.LA57 cannot change in long mode.
    xor r15d, r15d
    lea r11, [rip+9f]
    mov rax, LOW57
    mov rdx, rax
    shr rdx, 32
    mov ecx, 0xc0000102
    wrmsr
    rdmsr
    shl rdx, 32
    or rax, rdx
    mov rbx, LOW57
    expect rax, rbx, 2
    expect r15, 0, 3
    lea r11, [rip+1f]
    mov al, [rbx]
1:  expect r15, 1, 4
    lea r11, [rip+1f]
    mov rax, cr4
    bts rax, 12
    mov cr4, rax
1:  expect r15, 2, 5
    lea r11, [rip+1f]
    mov ecx, 0xc0000102
    mov eax, 0
    mov edx, 0x01000000             # bit 56 alone
    wrmsr
1:  expect r15, 3, 6
    # The tables: the old PML4 at both ends, a page for each of two high addresses.
    xor eax, eax
    mov edi, PML5
    mov ecx, 0x6000/8
    rep stosq
    mov qword ptr [PML5], PML4+7
    mov qword ptr [PML5+0xff8], PML4+7
    mov qword ptr [PML5+0xab*8], PT4+7
    mov qword ptr [PML5+0x154*8], PT4+7
    mov qword ptr [PT4], PT4+0x1007
    mov qword ptr [PT4+0x1000], PT4+0x2007
    mov qword ptr [PT4+0x2000], PT4+0x3007
    mov qword ptr [PT4+0x3000], 0x300007
    mov qword ptr [0x300000], 0x1234
    push CS32
    lea rax, [rip+down]
    push rax
    retfq
.code32
down:
    mov eax, cr0
    btr eax, 31
    mov cr0, eax
    mov eax, cr4
    bts eax, 12
    mov cr4, eax
    mov eax, PML5
    mov cr3, eax
    mov eax, cr0
    bts eax, 31
    mov cr0, eax
    .byte 0xea
    .long up
    .word CS64
.code64
up: mov ax, DS64
    mov ss, ax
    mov rbx, LOW57
    expect "qword ptr [rbx]", 0x1234, 7
    mov rcx, HIGH57
    inc qword ptr [rcx]
    expect "qword ptr [rbx]", 0x1235, 8
    mov rax, [PML5+0xab*8]
    and eax, 0x60
    expect rax, 0x20, 9
    mov rax, [PT4+0x3000]
    and eax, 0x60
    expect rax, 0x60, 10
    # Not present, with the whole address in CR2; bit 57 must follow bit 56.
    xor r14d, r14d
    lea r11, [rip+1f]
    lea rbx, [rbx+0x5000]
    mov al, [rbx]
1:  expect r14, 1, 11
    expect r12, rbx, 12
    expect r13, 0, 13
    xor r15d, r15d
    lea r11, [rip+1f]
    mov rax, 0x0100000000000000
    mov al, [rax]
1:  expect r15, 1, 14
    # PS is reserved at the top.
    or qword ptr [PML5+0xab*8], 0x80
    mov rax, cr3
    mov cr3, rax
    lea r11, [rip+1f]
    mov rbx, LOW57
    mov al, [rbx]
1:  expect r14, 2, 15
    expect r13, 9, 16
    # Code up there, with its calls and returns.
    and qword ptr [PML5+0xab*8], ~0x80
    mov rax, cr3
    mov cr3, rax
    mov byte ptr [rbx], 0xc3
    mov r8d, 100
1:  call rbx
    dec r8d
    jnz 1b
    lea r11, [rip+1f]
    mov rbx, 0x0100000000000000
    mov r15, 0
    call rbx
1:  expect r15, 1, 17
    # RET: to a 57-bit address, and at its own address to none.
    lea rax, [rip+1f]
    push rax
    mov rax, LOW57
    push rax
    ret
1:  mov r15, 0
    lea r11, [rip+1f]
    mov rcx, rsp
    push rbx
    ret
1:  expect r15, 1, 19
    pop rax
    expect rax, rbx, 20
    expect rsp, rcx, 21
    # SWAPGS and GS-relative accesses.
    swapgs
    mov byte ptr gs:[8], 0x42
    cmp byte ptr [0x300008], 0x42
    expect_cc e, 18
    finish 1
9:  finish 0x1fc
