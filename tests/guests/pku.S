# SPDX-FileCopyrightText: 2026 Triune contributors
# SPDX-License-Identifier: Apache-2.0
# Protection keys for user pages (Intel SDM 3A 4.6.2, 4.7; 1 13): CPUID and CR4.PKE, RDPKRU and WRPKRU, what
# PKRU forbids to whom in pages of each size, at once, and PKRU as a component of XSAVE.
.include "guest.inc"
long_mode_guest

.set PT, 0x30000            # 4 KiB pages at 1 GiB, user: keys 1, 2, ...
.set V, 0x40000000
.set PT_KERNEL, 0x31000     # the same under a page directory entry without U/S
.set KERNEL_V, V+0x400000
.set LARGE_V, V+0x200000
.set HUGE_V, 0x80000000
.set DATA, 0x300000         # what page 0 shows
.set AREA, 0x200000         # an XSAVE area
.set KEY, 59
.set AD1, 1<<2
.set WD1, 2<<2
.set AD2, 1<<4
.set WD2, 2<<4

# r14 counts page faults, r12 is CR2, r13 the error code; r15 counts #UD and #GP; all go on at r11.
on_fault:
    inc r14
    mov r12, cr2
    pop r13
    mov [rsp], r11
    iretq
on_gp:
    add rsp, 8
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
.macro flush
    mov rax, cr3
    mov cr3, rax
.endm
# `code` ends in a page fault with this error code, or goes through.
.macro faults number, error, code:vararg
    xor r14d, r14d
    lea r11, [rip+.Lon\@]
    \code
.Lon\@:
    expect r14, 1, \number
    expect r13, \error, \number
.endm
.macro passes number, code:vararg
    xor r14d, r14d
    lea r11, [rip+.Lon\@]
    \code
.Lon\@:
    expect r14, 0, \number
.endm
.macro refused number, code:vararg
    xor r15d, r15d
    lea r11, [rip+.Lon\@]
    \code
.Lon\@:
    expect r15, 1, \number
.endm

main:
    gate 6, on_ud
    gate 13, on_gp
    gate 14, on_fault
    gate 0x80, in_kernel
    # The image, the stacks and the tables are the kernel's, so that key 0 is not theirs.
    mov qword ptr [PML4+0x2000], 0x83
    flush
    mov eax, 7
    xor ecx, ecx
    cpuid
    bt ecx, 3
    jc has_pku
    # KVM may lack it, and so may the model: then it must be gone.
    refused 1, rdpkru
    xor ecx, ecx
    xor edx, edx
    refused 2, wrpkru
    mov rax, cr4
    bts rax, 22
    refused 3, mov cr4, rax
    mov edx, 0xf9
    in eax, dx
    test eax, eax
    jnz 1f
    finish 0x1fd                    # our engines were asked for it
1:  finish 1

has_pku:
    bt ecx, 4
    expect_cc nc, 4
    xor ecx, ecx
    xor edx, edx
    mov eax, 4
    refused 5, wrpkru
    refused 6, rdpkru
    mov rax, cr4
    bts rax, 22
    mov cr4, rax
    mov eax, 7
    xor ecx, ecx
    cpuid
    bt ecx, 4
    expect_cc c, 7
    mov rdx, -1
    mov rax, -1
    mov rcx, 0x100000000            # the upper half does not count
    rdpkru
    expect rax, 0, 8
    expect rdx, 0, 9
    mov ecx, 1
    refused 10, rdpkru
    refused 11, wrpkru
    xor ecx, ecx
    mov edx, 1
    mov eax, 4
    refused 12, wrpkru
    xor edx, edx
    rdpkru
    expect rax, 0, 13
    mov rdx, 0x100000000
    mov rcx, 0x100000000
    mov rax, 0x12345fffffff0
    wrpkru
    xor ecx, ecx
    rdpkru
    mov ebx, 0xfffffff0
    expect rax, rbx, 14
    pkru 0

    # The tables: pages 0 to 15 of V, page n with key n + 1 (the last with key 0); 2 MiB with key 3, 1 GiB with 4.
    mov qword ptr [PML4+0x1008], PML4 + 0x4000 + 0x8007     # PD for the second GiB at 0x2c000
    mov qword ptr [0x2c000], PT + 7
    mov rax, 3<<KEY | 0x400087
    mov [0x2c008], rax
    mov qword ptr [0x2c010], PT_KERNEL + 3
    mov rax, 4<<KEY | 0x87
    mov [PML4+0x1010], rax
    xor ecx, ecx
1:  lea rax, [rcx+1]
    and eax, 15
    shl rax, KEY
    mov edx, ecx
    shl edx, 12
    lea rax, [rax+rdx+DATA+7]
    mov [PT+rcx*8], rax
    mov [PT_KERNEL+rcx*8], rax
    inc ecx
    cmp ecx, 16
    jne 1b
    flush

    # Access disabled: no data access, be it cached or not; other keys do not care.
    mov rbx, V
    pkru AD1
    faults 20, 0x21, mov al, [rbx+5]
    lea rax, [rbx+5]
    expect r12, rax, 21
    faults 22, 0x23, mov [rbx], al
    passes 23, mov [rbx+0x1000], al
    pkru 0
    mov qword ptr [rbx], 7
    pkru AD1
    faults 24, 0x21, mov rax, [rbx]
    faults 25, 0x23, inc qword ptr [rbx]
    faults 26, 0x23, lock inc qword ptr [rbx]
    passes 27, mov rax, [rbx+0x1000]
    expect "qword ptr [DATA]", 7, 28
    # Across two pages: the second forbids.
    pkru AD2
    faults 29, 0x21, mov rax, [rbx+0xffc]
    lea rax, [rbx+0x1000]
    expect r12, rax, 30
    # Writes disabled: the supervisor's too as long as CR0.WP is set.
    pkru WD1
    passes 31, mov rax, [rbx]
    faults 32, 0x23, mov [rbx], al
    pkru 0
    mov qword ptr [rbx], 8
    pkru WD1
    passes 33, mov rax, [rbx]
    faults 34, 0x23, mov qword ptr [rbx], 9
    mov rax, cr0
    btr rax, 16
    mov cr0, rax
    passes 35, mov qword ptr [rbx], 10
    bts rax, 16
    mov cr0, rax
    faults 36, 0x23, mov qword ptr [rbx], 11
    expect "qword ptr [DATA]", 10, 37
    # A string instruction stops at the page that forbids.
    pkru WD2
    lea rdi, [rbx+0xffe]
    mov ecx, 4
    mov al, 0x55
    faults 38, 0x23, rep stosb
    expect rcx, 2, 39
    lea rax, [rbx+0x1000]
    expect rdi, rax, 40
    # In one block, around WRPKRU: what was allowed before is not allowed behind.
    xor r14d, r14d
    lea r11, [rip+1f]
    xor ecx, ecx
    xor edx, edx
    xor eax, eax
    wrpkru
    mov [rbx], rax
    mov rsi, [rbx+8]
    mov eax, AD1
    wrpkru
    mov rsi, [rbx+8]
    finish 0x129
1:  expect r14, 1, 42
    # Back and forth.
    pkru 0
    mov qword ptr [rbx], 0
    xor r14d, r14d
    mov esi, 3000
1:  pkru 0
    inc qword ptr [rbx]
    pkru AD1
    lea r11, [rip+2f]
    test esi, 15
    jnz 2f
    inc qword ptr [rbx]
2:  dec esi
    jnz 1b
    expect "qword ptr [DATA]", 3000, 43
    expect r14, 187, 44

    # Not of user mode, at any level: keys are ignored.
    pkru -4
    passes 50, mov rax, [KERNEL_V]
    passes 51, mov [KERNEL_V], rax
    and qword ptr [PT], ~4
    invlpg [rbx]
    passes 52, mov [rbx], rax
    or qword ptr [PT], 4
    invlpg [rbx]
    faults 53, 0x23, mov [rbx], rax
    # Key 0 is one as the others.
    pkru 1
    faults 54, 0x21, mov rax, [V+0xf000]
    pkru 0
    passes 55, mov rax, [V+0xf000]
    passes 56, mov [V+0xf000], rax
    pkru 2
    faults 57, 0x23, mov [V+0xf000], rax
    passes 58, mov rax, [V+0xf000]
    # Bits 5 and 0 with other reasons: not there, read-only.
    pkru AD1
    and qword ptr [PT], ~1
    invlpg [rbx]
    faults 59, 0, mov rax, [rbx]
    or qword ptr [PT], 1
    and qword ptr [PT], ~2
    invlpg [rbx]
    faults 60, 0x23, mov [rbx], rax
    pkru 0
    faults 61, 3, mov [rbx], rax
    or qword ptr [PT], 2
    invlpg [rbx]
    # Large pages.
    mov rsi, LARGE_V
    passes 62, mov [rsi+0x1000], rax
    pkru 1<<6
    faults 63, 0x21, mov rax, [rsi+0x1000]
    pkru 2<<6
    faults 64, 0x23, mov [rsi+0x1000], rax
    passes 65, mov rax, [rsi+0x1000]
    pkru 0
    mov eax, 0x80000001
    cpuid
    bt edx, 26
    jnc 1f
    mov esi, HUGE_V
    mov ebx, V
    passes 66, mov rax, [rsi+DATA]
    pkru 1<<8
    faults 67, 0x21, mov rax, [rsi+DATA]
    pkru 2<<8
    faults 68, 0x23, mov [rsi+DATA], rax
1:  mov ebx, V
    # Instruction fetch does not ask.
    pkru 0
    mov byte ptr [rbx], 0xc3
    pkru AD1
    passes 69, call rbx
    # Without CR4.PKE the bits are nobody's.
    mov rax, cr4
    btr rax, 22
    mov cr4, rax
    passes 70, mov rax, [rbx]
    mov rax, cr4
    bts rax, 22
    mov cr4, rax
    xor ecx, ecx
    rdpkru
    expect rax, AD1, 71
    faults 72, 0x21, mov rax, [rbx]
    # The processor's own accesses: a descriptor that lies in such a page.
    pkru 0
    lea rsi, [rip+gdt]
    mov edi, V+0x2000-0x68
    mov ecx, gdt_end - gdt
    rep movsb
    sub rsp, 16
    mov word ptr [rsp], 0x6f
    mov qword ptr [rsp+2], V+0x2000-0x68
    lgdt [rsp]
    mov eax, 0x68
    passes 73, mov es, ax
    pkru 1<<6
    mov eax, 0x68
    faults 74, 0x21, mov es, ax
    expect r12, V+0x2000, 75
    lgdt [rip+gdt_pointer]
    add rsp, 16
    mov eax, DS64
    mov es, eax

    # Ring 3, in the page of key 10, with the stack in that of key 12.
    pkru 0
    lea rsi, [rip+user]
    mov edi, V+0x9000
    mov ecx, user_end - user
    rep movsb
    push USER_DS
    push V+0xbf00
    push 0x202
    push USER_CS
    push V+0x9000
    iretq
user:
    xor r14d, r14d
    mov ebx, V
    pkru 1<<20 | AD1 | WD2          # also the code's own page: it can still be run
    rdpkru
    mov ebp, eax
    push rax
    lea r11, [rip+1f]
    mov rax, [rbx]
1:  mov r8, r13
    lea r11, [rip+1f]
    mov [rbx], rax
1:  mov r9, r13
    lea r11, [rip+1f]
    mov [rbx+0x1000], rax
1:  mov r10, r13
    mov rax, [rbx+0x1000]
    pkru 1<<24
    lea r11, [rip+1f]
    push rax
1:  mov edi, r13d
    pkru 0
    pop rsi
    int 0x80
user_end:
in_kernel:
    mov rax, [rsp+8]
    expect rax, USER_CS, 80
    expect rbp, 1<<20|AD1|WD2, 81
    expect r8, 0x25, 82
    expect r9, 0x27, 83
    expect r10, 0x27, 84
    expect rdi, 0x27, 85
    expect r14, 4, 86
    expect rsi, rbp, 87
    add rsp, 40
    # WP is the supervisor's only: ring 3 may not write even so.
    mov rax, cr0
    btr rax, 16
    mov cr0, rax
    pkru WD2
    passes 88, mov [rbx+0x1000], rax
    gate 0x80, in_kernel_again
    push USER_DS
    push V+0xbf00
    push 0x202
    push USER_CS
    push V+0x9000
    pkru 0
    lea rsi, [rip+user_again]
    mov edi, V+0x9000
    mov ecx, user_again_end - user_again
    rep movsb
    iretq
user_again:
    xor r14d, r14d
    pkru WD2
    lea r11, [rip+1f]
    mov [rbx+0x1000], rax
1:  int 0x80
user_again_end:
in_kernel_again:
    add rsp, 40
    expect r14, 1, 89
    expect r13, 0x27, 90
    mov rax, cr0
    bts rax, 16
    mov cr0, rax

    # XSAVE: component 9, which may be enabled without others.
    pkru 0
    mov eax, 1
    cpuid
    bt ecx, 26
    expect_cc c, 100
    mov eax, 0xd
    xor ecx, ecx
    cpuid
    bt eax, 9
    expect_cc c, 101
    mov esi, ecx
    mov eax, 0xd
    mov ecx, 9
    cpuid
    expect rax, 8, 102
    expect rcx, 0, 103
    expect rdx, 0, 104
    mov ebp, ebx                    # its offset
    lea rax, [rbp+8]
    cmp rsi, rax
    expect_cc ae, 105
    mov rax, cr4
    bts rax, 18
    mov cr4, rax
    xor ecx, ecx
    xor edx, edx
    mov eax, 0x201
    xsetbv
    mov eax, 0xd
    cpuid
    lea rax, [rbp+8]
    expect rbx, rax, 106
    xor ecx, ecx
    xor edx, edx
    mov eax, 0x203
    xsetbv
    mov edi, AREA
    mov ecx, 4096/8
    mov rax, -1
    rep stosq
    mov edi, AREA
    mov qword ptr [rdi+0x200], 1
    mov ebx, V
    pkru 0xa5a5a5a0
    mov eax, 0x200
    xsave [rdi]
    expect "qword ptr [rdi+0x200]", 0x201, 107
    mov ecx, 0xa5a5a5a0
    mov rax, [rdi+rbp]
    expect rax, rcx, 108
    expect "qword ptr [rdi+rbp+8]", -1, 109
    expect "qword ptr [rdi]", -1, 110
    # In its initial state: the header says so.
    pkru 0
    mov eax, 0x200
    xsave [rdi]
    expect "qword ptr [rdi+0x200]", 1, 111
    # XRSTOR: what it forbids is forbidden at once, and allowed again.
    mov qword ptr [rdi+0x200], 0x200
    mov qword ptr [rdi+0x208], 0
    mov qword ptr [rdi+0x210], 0
    mov rax, 0x7700000000 | AD1     # the upper half is nobody's
    mov [rdi+rbp], rax
    passes 112, mov rax, [rbx]
    xor edx, edx
    mov eax, 0x200
    xrstor [rdi]
    faults 113, 0x21, mov rax, [rbx]
    xor ecx, ecx
    rdpkru
    expect rax, AD1, 114
    # Not asked for: it stays. In its initial state: 0.
    mov eax, 1
    mov qword ptr [rdi+0x200], 0
    xrstor [rdi]
    xor ecx, ecx
    rdpkru
    expect rax, AD1, 115
    mov eax, 0x200
    xrstor [rdi]
    passes 116, mov rax, [rbx]
    rdpkru
    expect rax, 0, 117
    # Not enabled: neither saved nor loaded.
    pkru AD2
    xor ecx, ecx
    xor edx, edx
    mov eax, 3
    xsetbv
    mov qword ptr [rdi+0x200], 0x200
    mov eax, 0x200
    refused 118, xrstor [rdi]
    mov qword ptr [rdi+0x200], 0
    mov qword ptr [rdi+rbp], 0x5a
    mov eax, 0x200
    xrstor [rdi]
    rdpkru
    expect rax, AD2, 119
    mov eax, 0x200
    xsave [rdi]
    expect "qword ptr [rdi+rbp]", 0x5a, 120
    expect "qword ptr [rdi+0x200]", 0, 121
    mov eax, 0xd
    xor ecx, ecx
    cpuid
    expect rbx, 576, 122
    finish 1
