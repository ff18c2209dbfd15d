# SPDX-FileCopyrightText: 2026 Triune contributors
# SPDX-License-Identifier: Apache-2.0
# Four processors that write to memory in many ways while the host takes the dirty log. The host judges:
# a copy of memory that follows the log alone must end as memory does. What is written last matters, so
# each page is written once more at an odd time: the first quadword of a page counts its writes.
#
# Each processor has 16 pages of its own, all have 4 in common and a window whose page tables have A and D
# bits to be set. Processor 0 asks a device to write too (port 0xf7).
.include "guest.inc"
.include "smp_start.inc"
long_mode_guest

.set CPUS, 4
.set ROUNDS, 300
.set OWN, 0x400000          # and 16 pages a processor
.set SHARED, 0x480000
.set TABLES, 0x500000       # a page table of 8 pages for each processor
.set FRAMES, 0x600000       # and what they map
.set WINDOW, 0xc0800000     # 2 MiB a processor, in the fourth GiB
.set DIRECTORY, PML4+0x3000

main:
    # The window's page tables: present and writable, neither accessed nor dirty.
    xor ebx, ebx
1:  mov eax, ebx
    shl eax, 12
    add eax, TABLES
    mov esi, eax
    or eax, 3
    mov [DIRECTORY+0x20+rbx*8], rax
    mov eax, ebx
    shl eax, 15
    add eax, FRAMES+3
    mov ecx, 8
2:  mov [rsi], rax
    add rsi, 8
    add eax, 0x1000
    dec ecx
    jnz 2b
    inc ebx
    cmp ebx, CPUS
    jne 1b
    start_workers CPUS

worker:
    mov rax, cr3
    mov cr3, rax
    barrier CPUS
    mov r15d, ROUNDS
    mov r14d, ebx           # a pseudo-random sequence of its own
    add r14d, 12345
    mov r8d, ebx
    shl r8d, 16
    add r8d, OWN
    mov r9d, ebx
    shl r9d, 21
    mov eax, WINDOW
    add r9, rax             # its part of the window
    mov r10d, ebx
    shl r10d, 12
    add r10d, TABLES        # and the page table behind it
round:
    imul r14d, r14d, 1103515245
    add r14d, 12345
    mov eax, r14d
    shr eax, 16
    and eax, 15
    shl eax, 12
    add eax, r8d
    inc qword ptr [rax]             # a plain write
    mov ecx, r14d
    shr ecx, 20
    and ecx, 3
    shl ecx, 12
    lock inc qword ptr [rcx+SHARED]
    lock xadd [rcx+SHARED+0xffe], edx   # across two of them
    # Sixteen bytes, and a string, into pages that the sequence chooses.
    movd xmm0, r14d
    mov edx, r14d
    shr edx, 24
    and edx, 7
    shl edx, 12
    movups [r8+rdx+0x100], xmm0
    lea rdi, [r8+rdx+0xff0]
    mov ecx, 4
    mov eax, r14d
    cld
    rep stosq                       # into the next page too
    # A and D bits: the table's page is written by the processor's walks alone.
    mov ecx, r14d
    shr ecx, 13
    and ecx, 7
    and dword ptr [r10+rcx*8], ~0x60
    mov edx, ecx
    shl edx, 12
    invlpg [r9+rdx]
    mov eax, [r9+rdx]               # sets A
    inc qword ptr [r9+rdx]          # and D
    test r14d, 0x30000000
    jnz 3f
    test ebx, ebx
    jnz 3f
    mov al, r14b
    out 0xf7, al                    # the device writes
3:  dec r15d
    jnz round
    barrier CPUS
    test ebx, ebx
    jz 4f
5:  cli
    hlt
    jmp 5b
4:  finish 1
