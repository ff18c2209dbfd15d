# SPDX-FileCopyrightText: 2026 Triune contributors
# SPDX-License-Identifier: Apache-2.0
# Memory order between four processors (Intel SDM 3A 9.2.3): store buffering with fences and with locked
# instructions, message passing, load buffering, independent reads of independent writes. What total
# store order forbids must never be seen.
#
# X and Y of one try lie 64 bytes apart, tries 128 bytes; all tries of a round run between two
# barriers, and processor 0 looks at the results then.
.include "guest.inc"
.include "smp_start.inc"
long_mode_guest

.set CPUS, 4
.set ROUNDS, 2
.set TRIES, 4096
.set X, 0x400000
.set Y, X+64
.set RESULT, 0x600000       # 4 bytes a try and processor: first and second load
.set RESULTS, TRIES*4

main:
    start_workers CPUS

# A body finds X of the first try in rsi, the place of its results in rdi, the number of tries in ecx. A
# check finds a try's results of the four processors in eax, ecx, edx, ebp (first load in the low byte,
# second above it) and gives CF when they are forbidden.
.macro next label
    add esi, 128
    add edi, 4
    dec ecx
    jnz \label
    ret
.endm
.macro load_into offset, place
    mov al, [rsi+\offset]
    mov [rdi+\place], al
.endm

.align 8
tests:
    .quad sb_0, sb_1, nothing, nothing, sb_check                # 1 store buffering, MFENCE
    .quad sbx_0, sbx_1, nothing, nothing, sb_check              # 2 with XCHG
    .quad sbl_0, sbl_1, nothing, nothing, sb_check              # 3 with a LOCK elsewhere
    .quad mp_0, mp_1, nothing, nothing, mp_check                # 4 message passing
    .quad lb_0, lb_1, nothing, nothing, lb_check                # 5 load buffering
    .quad mp_0, sb_1, iriw_2, iriw_3, nothing                   # 6 noise for 7
    .quad iriw_0, iriw_1, iriw_2, iriw_3, iriw_check            # 7 independent reads
    .quad 0

worker:
    lea r14, [rip+tests]
    mov r15d, 1
each_test:
    mov r13d, ROUNDS
each_round:
    test ebx, ebx
    jnz 1f
    cld
    xor eax, eax
    mov edi, X
    mov ecx, TRIES*128/8
    rep stosq
    mov edi, RESULT
    mov ecx, RESULTS*4/8
    rep stosq
1:  barrier CPUS
    mov esi, X
    imul edi, ebx, RESULTS
    add edi, RESULT
    mov ecx, TRIES
    call [r14+rbx*8]
    barrier CPUS
    test ebx, ebx
    jnz 3f
    mov esi, RESULT
    mov edi, TRIES
2:  mov eax, [rsi]
    mov ecx, [rsi+RESULTS]
    mov edx, [rsi+RESULTS*2]
    mov ebp, [rsi+RESULTS*3]
    clc
    call [r14+32]
    jc forbidden
    add esi, 4
    dec edi
    jnz 2b
3:  dec r13d
    jnz each_round
    inc r15d
    add r14, 40
    cmp qword ptr [r14], 0
    jne each_test
    barrier CPUS
    test ebx, ebx
    jz 4f
5:  cli
    hlt
    jmp 5b
4:  finish 1
forbidden:
    mov [DETAIL], rsi
    lea eax, [r15+0x100]
    mov edx, RESULT_PORT
    out dx, eax
    jmp 5b

nothing:
    ret

sb_0:
1:  mov byte ptr [rsi], 1
    mfence
    load_into 64, 0
    next 1b
sb_1:
1:  mov byte ptr [rsi+64], 1
    mfence
    load_into 0, 0
    next 1b
sb_check:
    or al, cl
    cmp al, 1
    ret
sbx_0:
1:  mov eax, 1
    xchg [rsi], al
    load_into 64, 0
    next 1b
sbx_1:
1:  mov eax, 1
    xchg [rsi+64], al
    load_into 0, 0
    next 1b
sbl_0:
1:  mov byte ptr [rsi], 1
    lock or dword ptr [rsp], 0
    load_into 64, 0
    next 1b
sbl_1:
1:  mov byte ptr [rsi+64], 1
    lock or dword ptr [rsp], 0
    load_into 0, 0
    next 1b

mp_0:
1:  mov byte ptr [rsi], 1
    mov byte ptr [rsi+64], 1
    next 1b
mp_1:
1:  load_into 64, 0
    load_into 0, 1
    next 1b
mp_check:                           # Y seen, X not
    cmp ecx, 1
    jne 1f
    stc
    ret
1:  clc
    ret

lb_0:
1:  load_into 0, 0
    mov byte ptr [rsi+64], 1
    next 1b
lb_1:
1:  load_into 64, 0
    mov byte ptr [rsi], 1
    next 1b
lb_check:
    and al, cl
    bt eax, 0
    ret

iriw_0:
1:  mov byte ptr [rsi], 1
    next 1b
iriw_1:
1:  mov byte ptr [rsi+64], 1
    next 1b
iriw_2:
1:  load_into 0, 0
    load_into 64, 1
    next 1b
iriw_3:
1:  load_into 64, 0
    load_into 0, 1
    next 1b
iriw_check:                         # the two readers disagree which store came first
    cmp edx, 1
    jne 1f
    cmp ebp, 1
    jne 1f
    stc
    ret
1:  clc
    ret
