# SPDX-FileCopyrightText: 2026 Triune contributors
# SPDX-License-Identifier: Apache-2.0
# Page faults: error codes, CR2, restart after the mapping was made, A and D bits, stale TLB entries
# until INVLPG, NX, WP, user and supervisor rights.
.include "guest.inc"
long_mode_guest

.set PT, 0x30000            # 4 KiB pages at 1 GiB: virtual 0x40000000
.set V, 0x40000000

# r14 counts faults; r12 and r13 get CR2 and error code; the handler writes r15 into the entry at
# rbp, or returns to r11 when rbp is 0.
on_fault:
    push rax
    inc r14
    mov r12, cr2
    mov r13, [rsp+8]
    test rbp, rbp
    jz 1f
    mov [rbp], r15
    pop rax
    add rsp, 8
    iretq
1:  pop rax
    mov [rsp+8], r11
    add rsp, 8
    iretq

.macro resume_at label
    xor ebp, ebp
    lea r11, [rip+\label]
.endm

main:
    gate 14, on_fault
    gate 0x80, in_kernel
    mov qword ptr [PML4+0x1008], PML4 + 0x4000 + 0x8007     # PD for the second GiB at 0x2c000
    mov qword ptr [0x2c000], PT + 7
    xor r14, r14

    # A write to a page that is not there, mapped by the handler, is done then.
    mov rbp, PT
    mov r15, 0x300007
    mov qword ptr [V+0x10], 77
    expect r14, 1, 1
    mov rax, V+0x10
    expect r12, rax, 2
    expect r13, 2, 3
    expect "qword ptr [0x300010]", 77, 4
    mov rax, [PT]
    and eax, 0x60
    expect rax, 0x60, 5             # accessed and dirty
    # A read sets A alone.
    mov qword ptr [PT+8], 0x301007
    mov rax, [V+0x1000]
    mov rax, [PT+8]
    and eax, 0x60
    expect rax, 0x20, 6
    # A write through the entry that a read has cached sets D.
    mov byte ptr [V+0x1001], 1
    mov rax, [PT+8]
    and eax, 0x60
    expect rax, 0x60, 7
    # After INVLPG the new mapping counts.
    mov qword ptr [0x302000], 99
    mov qword ptr [PT], 0x302007
    invlpg [V]
    mov rax, [V]
    expect rax, 99, 8
    # A CR3 load does the same.
    mov qword ptr [0x303000], 55
    mov qword ptr [PT], 0x303007
    mov rax, cr3
    mov cr3, rax
    mov rax, [V]
    expect rax, 55, 9
    # Not so for a global page, until CR4.PGE changes.
    mov rax, cr4
    or eax, 0x80
    mov cr4, rax
    mov qword ptr [PT], 0x303107
    invlpg [V]
    mov rax, [V]
    mov qword ptr [PT], 0x302107
    mov rax, cr4
    and eax, ~0x80
    mov cr4, rax
    mov rax, [V]
    expect rax, 99, 10

    # Read-only: a supervisor write faults because CR0.WP is set.
    mov qword ptr [PT+16], 0x304005
    resume_at 1f
    mov r14, 0
    mov byte ptr [V+0x2000], 1
1:  expect r14, 1, 11
    expect r13, 3, 12
    mov rax, cr0
    btr rax, 16
    mov cr0, rax
    mov byte ptr [V+0x2000], 1
    bts rax, 16
    mov cr0, rax
    expect r14, 1, 13
    # and afterwards it faults again.
    resume_at 1f
    mov byte ptr [V+0x2000], 2
1:  expect r14, 2, 14
    cmp byte ptr [0x304000], 1
    expect_cc e, 15

    # No execute.
    mov rax, 0x8000000000305007
    mov [PT+24], rax
    mov byte ptr [0x305000], 0xc3
    resume_at 1f
    mov rax, V+0x3000
    call rax
1:  expect r14, 3, 16
    expect r13, 0x11, 17
    expect r12, V+0x3000, 18
    add rsp, 8
    btr qword ptr [PT+24], 63
    invlpg [V+0x3000]
    mov rax, V+0x3000
    call rax
    # An instruction across a page whose second half is missing: the fault names that half.
    mov qword ptr [PT+32], 0
    mov byte ptr [0x305ffd], 0x48   # mov rax, imm64
    mov byte ptr [0x305ffe], 0xb8
    resume_at 1f
    mov rax, V+0x3ffd
    call rax
1:  expect r14, 4, 19
    expect r12, V+0x4000, 20
    expect r13, 0x10, 21
    add rsp, 8
    # With the page there it runs.
    mov qword ptr [PT+32], 0x306007
    mov byte ptr [0x305fff], 0x2a
    mov qword ptr [0x306000], 0
    mov byte ptr [0x306007], 0xc3
    mov rax, V+0x3ffd
    call rax
    expect rax, 0x2a, 22
    # A store across two pages of which the second is missing has changed nothing.
    mov qword ptr [PT+40], 0x307007
    mov qword ptr [PT+48], 0
    mov qword ptr [0x307ff8], 0
    resume_at 1f
    mov rax, -1
    mov [V+0x5ffc], rax
1:  expect r14, 5, 23
    expect r12, V+0x6000, 24
    expect "qword ptr [0x307ff8]", 0, 25
    # Reserved bits.
    mov rax, 0x0008000000308007     # bit 51
    mov [PT+56], rax
    resume_at 1f
    mov al, [V+0x7000]
1:  expect r14, 6, 26
    expect r13, 9, 27

    # Ring 3: supervisor pages are closed to it.
    mov qword ptr [PT+64], 0x309003
    mov qword ptr [PT+72], 0x30a007
    lea rsi, [rip+user]
    lea rdi, [V+0x9000]
    mov ecx, user_end - user
    rep movsb
    resume_at from_user
    push USER_DS
    push 0x90000
    push 0x202
    push USER_CS
    mov rax, V+0x9000
    push rax
    iretq
user:
    mov al, [V+0x8000]
    ud2
user_end:
from_user:                          # still in ring 3
    int 0x80
in_kernel:
    mov rax, [rsp+8]
    expect rax, USER_CS, 28
    expect r13, 5, 29
    expect r14, 7, 30
    expect r12, V+0x8000, 31
    # SMEP: ring 0 may not run user pages; SMAP: nor touch them, but for RFLAGS.AC.
    mov eax, 7
    xor ecx, ecx
    cpuid
    bt ebx, 7
    jnc 2f
    # The image itself lies on user pages: make the first 2 MiB the kernel's.
    mov qword ptr [PML4+0x2000], 0x83
    mov rax, cr3
    mov cr3, rax
    mov rax, cr4
    bts rax, 20
    mov cr4, rax
    resume_at 1f
    mov rax, V+0x9000
    call rax
1:  expect r14, 8, 32
    expect r13, 0x11, 33
    add rsp, 8
2:  mov eax, 7
    xor ecx, ecx
    cpuid
    bt ebx, 20
    jnc 3f
    mov qword ptr [PML4+0x2000], 0x83
    mov rax, cr3
    mov cr3, rax
    mov r14, 8
    mov rax, cr4
    bts rax, 21
    mov cr4, rax
    resume_at 1f
    mov al, [V+0x9000]
1:  expect r14, 9, 34
    expect r13, 1, 35
    stac
    mov al, [V+0x9000]
    clac
    expect r14, 9, 36
    resume_at 1f
    mov al, [V+0x9000]
1:  expect r14, 10, 37
3:  finish 1
