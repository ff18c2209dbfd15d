# SPDX-FileCopyrightText: 2026 Triune contributors
# SPDX-License-Identifier: Apache-2.0
# String instructions: across pages, backwards, with overlap, interrupted by a page fault in the
# middle, and their ends.
.include "guest.inc"
long_mode_guest

.set PT, 0x30000
.set V, 0x40000000

# Maps the missing page at V + 0x2000 and notes RCX.
on_fault:
    mov r12, cr2
    mov r13, rcx
    mov qword ptr [PT+16], 0x302007
    add rsp, 8
    iretq

main:
    gate 14, on_fault
    mov qword ptr [PML4+0x1008], 0x2c007
    mov qword ptr [0x2c000], PT+7
    mov qword ptr [PT], 0x300007
    mov qword ptr [PT+8], 0x301007
    # STOS across pages of different frames.
    mov rdi, V+0xffd
    mov al, 0x5a
    mov ecx, 6
    rep stosb
    mov eax, [0x300ffd]
    and eax, 0xffffff
    expect rax, 0x5a5a5a, 1
    mov eax, [0x301000]
    expect rax, 0x5a5a5a, 2
    expect rcx, 0, 3
    mov rax, V+0x1003
    expect rdi, rax, 4
    # An element that straddles the pages.
    mov rdi, V+0xffc
    mov rax, 0x1122334455667788
    stosq
    mov eax, [0x300ffc]
    mov ebx, 0x55667788
    expect rax, rbx, 5
    mov eax, [0x301000]
    expect rax, 0x11223344, 6
    # A copy that faults in its middle and goes on.
    mov rsi, 0x8000
    mov rdi, V+0x1800
    mov ecx, 0x1000
    rep movsb
    mov rax, V+0x2000
    expect r12, rax, 7
    expect r13, 0x800, 8
    expect rcx, 0, 9
    mov rsi, 0x8000
    mov rdi, V+0x1800
    mov ecx, 0x200
    repe cmpsq
    expect_cc e, 10
    expect rcx, 0, 11
    # Overlapping by one byte fills.
    mov byte ptr [0x300000], 0x77
    mov rsi, 0x300000
    mov rdi, 0x300001
    mov ecx, 99
    rep movsb
    cmp byte ptr [0x300063], 0x77
    expect_cc e, 12
    # Backwards.
    std
    mov dword ptr [0x300000], 0x44332211
    mov rsi, 0x300003
    mov rdi, 0x300007
    mov ecx, 4
    rep movsb
    cld
    mov eax, [0x300004]
    expect rax, 0x44332211, 13
    expect rsi, 0x2fffff, 14
    # SCAS finds, or runs out.
    lea rdi, [rip+text]
    mov al, 'x'
    mov ecx, 26
    repne scasb
    expect_cc e, 15
    expect rcx, 2, 16
    lea rdi, [rip+text]
    mov al, '!'
    mov ecx, 26
    repne scasb
    expect_cc ne, 17
    expect rcx, 0, 18
    # A count of zero does nothing and leaves the flags.
    xor ecx, ecx
    stc
    mov rdi, -1
    rep stosb
    expect_cc c, 19
    repe cmpsb
    expect_cc c, 20
    # LODS, 32-bit addresses.
    lea esi, [rip+text]
    xor eax, eax
    .byte 0x67
    lodsb
    expect rax, 'a', 21
    # CMPS stops at the first difference.
    mov rsi, 0x300000
    mov rdi, 0x300000
    mov byte ptr [0x300020], 1
    lea rsi, [rip+text]
    lea rdi, [rip+text2]
    mov ecx, 26
    repe cmpsb
    expect_cc b, 22                 # 'm' < 'z'
    expect rcx, 13, 23
    # A large copy.
    mov rdi, 0x400000
    mov rax, 0x0123456789abcdef
    mov ecx, 0x10000
    rep stosq
    mov rsi, 0x400000
    mov rdi, 0x600003
    mov ecx, 0x80000
    rep movsb
    mov rbx, 0x0123456789abcdef
    mov rax, [0x600003+0x7fff8]
    expect rax, rbx, 24
    # To MMIO and back: the device at 0xd0000000 keeps what it gets.
    mov rsi, 0x600003
    mov edi, 0xd0000010
    mov ecx, 4
    rep movsd
    mov eax, 0xd0000010
    mov rax, [rax]
    expect rax, rbx, 25
    finish 1

text:  .ascii "abcdefghijklmnopqrstuvwxyz"
text2: .ascii "abcdefghijklznopqrstuvwxyz"
