# SPDX-FileCopyrightText: 2026 Triune contributors
# SPDX-License-Identifier: Apache-2.0
# Code that changes: an immediate in a loop, the very next instruction, another mapping of the
# page, code copied by REP MOVSB, and a page whose mapping changes.
.include "guest.inc"
long_mode_guest

.set V, 0x40000000
.set PT, 0x30000

main:
    # An immediate, 1000 times.
    xor r8d, r8d
    xor r9d, r9d
1:  mov [rip+patched+1], r8d
    call patched
    add r9, rax
    inc r8d
    cmp r8d, 1000
    jne 1b
    expect r9, 499500, 1
    # The next instruction, in one block: NOP becomes INC R10.
    mov r10d, 0
    mov ecx, 3
2:  mov dword ptr [rip+next], 0x90c2ff49    # inc r10; nop
next:
    .long 0x90909090
    mov dword ptr [rip+next], 0x90909090
    dec ecx
    jnz 2b
    expect r10, 3, 2
    # Through another linear address of the same page.
    mov qword ptr [PML4+0x1008], 0x2c007
    mov qword ptr [0x2c000], PT+7
    mov qword ptr [PT], 0x400007
    mov qword ptr [PT+8], 0x400007
    mov dword ptr [V], 0x000000b8            # mov eax, 0
    mov word ptr [V+4], 0xc300               # ret
    mov r8d, 0
3:  mov [V+0x1001], r8d
    mov rax, V
    call rax
    cmp eax, r8d
    expect_cc e, 3
    inc r8d
    cmp r8d, 50
    jne 3b
    # Code that is copied over old code.
    lea rsi, [rip+one]
    mov edi, 0x400100
    mov ecx, 6
    rep movsb
    mov rax, 0x400100
    call rax
    expect rax, 1, 4
    lea rsi, [rip+two]
    mov edi, 0x400100
    mov ecx, 6
    rep movsb
    mov rax, 0x400100
    call rax
    expect rax, 2, 5
    # The same virtual page, mapped elsewhere.
    mov qword ptr [PT+16], 0x401007
    lea rsi, [rip+one]
    mov edi, 0x401000
    mov ecx, 6
    rep movsb
    lea rsi, [rip+two]
    mov edi, 0x402000
    mov ecx, 6
    rep movsb
    mov rbx, V+0x2000
    call rbx
    expect rax, 1, 6
    mov qword ptr [PT+16], 0x402007
    invlpg [rbx]
    call rbx
    expect rax, 2, 7
    # Data and code on one page, many times.
    xor r8d, r8d
4:  inc qword ptr [rip+data]
    call patched
    inc r8d
    cmp r8d, 5000
    jne 4b
    expect "qword ptr [rip+data]", 5000, 8
    # A function that overwrites its caller's continuation while it runs.
    call overwrite
    mov eax, 1
    expect rax, 2, 9
    # XCHG and LOCK stores are writes too.
    mov eax, 4242
    xchg [rip+patched+1], eax
    call patched
    expect rax, 4242, 10
    lock inc dword ptr [rip+patched+1]
    call patched
    expect rax, 4243, 11
    # PUSH onto code.
    mov rbx, rsp
    lea rsp, [rip+pushed+8]
    mov rax, 0x9090c300000007b8             # mov eax, 7; ret; nop; nop
    push rax
    mov rsp, rbx
    call pushed
    expect rax, 7, 12
    finish 1

overwrite:
    mov rax, [rsp]
    mov byte ptr [rax+1], 2
    ret
patched:
    mov eax, 0
    ret
one:
    mov eax, 1
    ret
two:
    mov eax, 2
    ret
    .align 8
pushed:
    mov eax, 6
    ret
    nop
    nop
data:
    .quad 0
