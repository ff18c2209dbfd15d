# SPDX-FileCopyrightText: 2026 Triune contributors
# SPDX-License-Identifier: Apache-2.0
# Atomicity between two processors (Intel SDM 3A 9.1): locked operations that cross a cache line or a
# page, aligned accesses that must not tear, 16 bytes with CMPXCHG16B.
.include "guest.inc"
.include "smp_start.inc"
long_mode_guest

.set CPUS, 2
.set LINE, 0x30003e
.set PAGE, 0x300ffe
.set PAGE8, 0x301ffc
.set SPLIT_LOCK, 0x302ffe
.set PLAIN, 0x303100
.set WORD, 0x304000
.set WIDE, 0x304080
.set STOP, 0x304100
.set TIMES, 2000

main:
    start_workers CPUS

worker:
    barrier CPUS
    mov ecx, TIMES
1:  lock inc dword ptr [LINE]
    lock add dword ptr [PAGE], 3
    mov rax, 0x100000001
    lock xadd [PAGE8], rax
    # A spin lock that lies across two pages, around a plain increment.
2:  mov eax, 1
    xchg [SPLIT_LOCK], eax
    test eax, eax
    jnz 2b
    inc qword ptr [PLAIN]
    xor eax, eax
    xchg [SPLIT_LOCK], eax
3:  mov eax, [LINE+0x100]
    lea edx, [rax+1]
    lock cmpxchg [LINE+0x100], edx
    jne 3b
    lock bts dword ptr [PAGE8+0x2000], 5
    lock btc dword ptr [PAGE8+0x2000], 7
    dec ecx
    jnz 1b
    barrier CPUS
    test ebx, ebx
    jnz other
    mov eax, [LINE]
    expect rax, TIMES*2, 1
    mov eax, [PAGE]
    expect rax, TIMES*6, 2
    mov rax, TIMES*2*0x100000001
    expect "qword ptr [PAGE8]", rax, 3
    expect "qword ptr [PLAIN]", TIMES*2, 4
    mov eax, [LINE+0x100]
    expect rax, TIMES*2, 5
    mov eax, [PAGE8+0x2000]
    expect rax, 0x20, 6
    # 0 and -1 are written by turns; nothing else may be seen.
    barrier CPUS
    mov ecx, 100000
1:  mov rax, [WORD]
    lea rdx, [rax+1]
    cmp rdx, 1
    ja torn
    # 16 bytes: both halves are equal, always.
    xor eax, eax
    xor edx, edx
    xor r8d, r8d
    mov r9d, ecx
    xor ecx, ecx
    mov r10, rbx
    xor ebx, ebx
    lock cmpxchg16b [WIDE]          # a read: what is stored is what is there
    mov rbx, r10
    mov ecx, r9d
    cmp rax, rdx
    jne torn
    dec ecx
    jnz 1b
    mov qword ptr [STOP], 1
    finish 1
torn:
    mov [DETAIL], rax
    finish 0x107

other:
    barrier CPUS
    xor edi, edi
1:  mov [WORD], rdi
    not rdi
    mov rax, [WIDE]
    mov rdx, [WIDE+8]
2:  lea rbx, [rax+1]
    mov rcx, rbx
    lock cmpxchg16b [WIDE]
    jne 2b
    cmp qword ptr [STOP], 0
    je 1b
3:  cli
    hlt
    jmp 3b
