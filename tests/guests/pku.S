# SPDX-FileCopyrightText: 2026 Triune contributors
# SPDX-License-Identifier: Apache-2.0
# Protection keys for user pages (Intel SDM 3A 4.6.2): RDPKRU and WRPKRU, access and write disable for
# user and supervisor, CR0.WP, fetches, supervisor pages, and PKRU in XSAVE.
.include "guest.inc"
long_mode_guest

.set PT, 0x30000
.set V, 0x40000000
.set KEY1, 0x0800000000000000       # bits 62:59

on_fault:
    inc r14
    mov r12, cr2
    pop r13
    cmp byte ptr [rsp+8], USER_CS
    je 1f
    mov [rsp], r11
    iretq
1:  mov rsp, r10                    # from ring 3: on in ring 0
    jmp r11
on_gp:
    inc r15
    pop r13
    mov [rsp], r11
    iretq
on_ud:
    inc r15
    mov [rsp], r11
    iretq
.macro pkru value
    mov eax, \value
    xor ecx, ecx
    xor edx, edx
    wrpkru
.endm
.macro faults error, number
    expect r14, 1, \number
    expect r13, \error, \number+1
    xor r14d, r14d
.endm
.macro fault_at label
    lea r11, [rip+\label]
.endm

main:
    gate 6, on_ud
    gate 13, on_gp
    gate 14, on_fault
    mov eax, 7
    xor ecx, ecx
    cpuid
    bt ecx, 3
    jc 1f
    finish 0x1fd                    # the bench asked for it
1:  bt ecx, 4
    expect_cc nc, 1                 # OSPKE
    xor r14d, r14d
    xor r15d, r15d
    fault_at 1f
    xor ecx, ecx
    rdpkru
1:  expect r15, 1, 2
    mov rax, cr4
    bts rax, 22
    mov cr4, rax
    mov eax, 7
    xor ecx, ecx
    cpuid
    bt ecx, 4
    expect_cc c, 3
    fault_at 1f
    mov ecx, 1
    rdpkru
1:  expect r15, 2, 4
    fault_at 1f
    mov edx, 1
    xor ecx, ecx
    wrpkru
1:  expect r15, 3, 5
    pkru 0x55555550
    mov rax, -1
    mov rdx, -1
    rdpkru
    mov ebx, 0x55555550
    expect rax, rbx, 6
    expect rdx, 0, 7
    pkru 0

    mov qword ptr [PML4+0x1008], 0x2c007
    mov qword ptr [0x2c000], PT+7
    mov rax, KEY1+0x300007
    mov [PT], rax
    mov rax, KEY1+0x301003          # a supervisor's page: its key does not count
    mov [PT+8], rax
    mov qword ptr [V], 0x77
    # Write disable: reads go on, also by the entry that a write has made.
    pkru 8
    mov al, [V]
    fault_at 1f
    mov byte ptr [V], 1
1:  faults 0x23, 10
    mov byte ptr [V+0x1000], 1
    expect r14, 0, 12
    # A supervisor with WP clear may.
    mov rax, cr0
    btr rax, 16
    mov cr0, rax
    mov byte ptr [V], 0x78
    bts rax, 16
    mov cr0, rax
    expect r14, 0, 13
    fault_at 1f
    mov byte ptr [V], 1
1:  faults 0x23, 14
    # Access disable.
    pkru 4
    fault_at 1f
    mov al, [V]
1:  faults 0x21, 16
    fault_at 1f
    mov [V], al
1:  faults 0x23, 18
    # Fetches do not care.
    pkru 0
    mov byte ptr [V], 0xc3
    pkru 4
    mov eax, V
    call rax
    expect r14, 0, 20
    # Another key is another matter.
    pkru 0xfffffff0
    mov al, [V]
    expect r14, 0, 21
    # Ring 3: its image lies on key 0.
    pkru 4
    fault_at from_user
    mov r10, rsp
    push USER_DS
    push 0x88000
    push 2
    push USER_CS
    lea rax, [rip+user]
    push rax
    iretq
user:
    xor ecx, ecx
    rdpkru
    mov rbx, rax
    mov al, [V]
from_user:
    mov ax, DS64
    mov ss, ax
    faults 0x25, 22
    expect rbx, 4, 24
    # The page table entry's rights and the key both forbid: both are told.
    mov rax, KEY1+0x300005
    mov [PT], rax
    invlpg [V]
    fault_at 1f
    mov [V], al
1:  faults 0x23, 25
    # Without CR4.PKE keys are ignored.
    mov rax, cr4
    btr rax, 22
    mov cr4, rax
    mov al, [V]
    expect r14, 0, 27
    # XSAVE and XRSTOR have it as component 9, where CPUID says so.
    mov rax, cr4
    bts rax, 22
    bts rax, 18
    mov cr4, rax
    mov eax, 0xd
    xor ecx, ecx
    cpuid
    bt eax, 9
    jnc 2f
    mov eax, 0xd
    mov ecx, 9
    cpuid
    expect rax, 8, 28
    mov ebp, ebx                    # where it lies
    xor ecx, ecx
    xgetbv
    or eax, 0x202
    xsetbv
    mov edi, 0x200000
    xor eax, eax
    mov ecx, 512
    rep stosq
    pkru 0x54
    mov eax, 0x200
    xor edx, edx
    xsave [0x200000]
    expect "qword ptr [0x200200]", 0x200, 29
    expect "qword ptr [rbp+0x200000]", 0x54, 30
    pkru 0
    mov eax, 0x200
    xor edx, edx
    xrstor [0x200000]
    xor ecx, ecx
    rdpkru
    expect rax, 0x54, 31
    fault_at 1f
    mov al, [V]                     # the new rights hold at once
1:  faults 0x21, 32
    mov qword ptr [0x200200], 0
    mov eax, 0x200
    xor edx, edx
    xrstor [0x200000]
    xor ecx, ecx
    rdpkru
    expect rax, 0, 34
2:  finish 1
