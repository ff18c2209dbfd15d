# SPDX-FileCopyrightText: 2026 Triune contributors
# SPDX-License-Identifier: Apache-2.0
# Two processors: INIT and SIPI, interprocessor interrupts, TLB shootdown, locked instructions,
# code that the other one modifies.
.include "guest.inc"
long_mode_guest

.set PT, 0x30000
.set V, 0x40000000
.set command, 0x50000       # what the other processor is to do
.set answer, 0x50008
.set counter, 0x50010
.set lock_word, 0x50018
.set plain, 0x50020
.set go, 0x50028

.macro ask n
    mov qword ptr [answer], 0
    mov qword ptr [command], \n
    mov dword ptr [APIC+0x310], 1 << 24
    mov dword ptr [APIC+0x300], 0x4051
.Lwait\@:
    pause
    cmp qword ptr [answer], 0
    je .Lwait\@
.endm

main:
    mov dword ptr [APIC+0xf0], 0x1ff
    mov qword ptr [PML4+0x1008], 0x2c007
    mov qword ptr [0x2c000], PT+7
    mov qword ptr [PT], 0x300007
    mov qword ptr [0x300000], 11
    mov qword ptr [0x301000], 22
    gate 0x51, on_command
    # INIT, then two start-up messages as the manual has it; the second is ignored.
    mov dword ptr [APIC+0x310], 1 << 24
    mov dword ptr [APIC+0x300], 0x4500
    mov dword ptr [APIC+0x300], 0x4600 + (trampoline - _start + 0x8000) / 4096
    mov dword ptr [APIC+0x300], 0x4600 + (trampoline - _start + 0x8000) / 4096
1:  pause
    cmp qword ptr [answer], 1
    jne 1b
    expect "qword ptr [plain]", 1, 1        # its APIC id

    ask 1                                   # reads V
    expect "qword ptr [answer]", 12, 2
    # A changed mapping and a shootdown.
    mov qword ptr [PT], 0x301007
    ask 2                                   # INVLPG
    ask 1
    expect "qword ptr [answer]", 23, 3

    # Locked counting by both at once.
    mov qword ptr [go], 0
    mov qword ptr [counter], 0
    mov qword ptr [plain], 0
    mov qword ptr [answer], 0
    mov qword ptr [command], 3
    mov dword ptr [APIC+0x300], 0x4051
2:  pause
    cmp qword ptr [go], 1
    jne 2b
    call count
3:  pause
    cmp qword ptr [answer], 0
    je 3b
    expect "qword ptr [counter]", 60000, 4
    expect "qword ptr [plain]", 20000, 5

    # Code modified here, run there after an interrupt (which serializes).
    mov r8d, 0
4:  inc r8d
    mov dword ptr [rip+shared+1], r8d
    ask 4
    mov rax, [answer]
    expect rax, r8, 6
    cmp r8d, 200
    jne 4b
    # And while it runs there: it loops in code whose branch we patch.
    mov qword ptr [go], 0
    mov qword ptr [answer], 0
    mov qword ptr [command], 5
    mov dword ptr [APIC+0x300], 0x4051
5:  pause
    cmp qword ptr [go], 1
    jne 5b
    mov word ptr [rip+spin], 0x9090         # JMP to itself becomes two NOPs
6:  pause
    cmp qword ptr [answer], 0
    je 6b
    # Both translate and write code at once: neither may wait for the other for ever.
    mov qword ptr [go], 0
    mov qword ptr [answer], 0
    mov qword ptr [command], 6
    mov dword ptr [APIC+0x300], 0x4051
7:  pause
    cmp qword ptr [go], 1
    jne 7b
    mov edi, 0x400000
    call write_and_run
8:  pause
    cmp qword ptr [answer], 0
    je 8b
    expect r9, 100, 7
    expect "qword ptr [answer]", 100, 8
    # NMI reaches it with interrupts off, halted.
    gate 2, on_nmi
    mov qword ptr [answer], 0
    mov qword ptr [go], 0
    mov qword ptr [command], 7
    mov dword ptr [APIC+0x300], 0x4051
9:  pause
    cmp qword ptr [go], 1
    jne 9b
    mov dword ptr [APIC+0x300], 0x4400
10: pause
    cmp qword ptr [answer], 0
    je 10b
    # INIT again takes it out of whatever it does; SIPI starts it anew.
    mov qword ptr [answer], 0
    mov dword ptr [APIC+0x300], 0x4500
    mov dword ptr [APIC+0x300], 0x4600 + (trampoline - _start + 0x8000) / 4096
11: pause
    cmp qword ptr [answer], 1
    jne 11b
    finish 1

on_nmi:
    mov qword ptr [answer], 1
    iretq

# 20000 times: LOCK INC, LOCK XADD, a CMPXCHG lock around a plain increment.
count:
    mov ecx, 10000
1:  lock inc qword ptr [counter]
    mov eax, 1
    lock xadd [counter], rax
    mov eax, 1
    lock add [counter], rax
2:  xor eax, eax
    mov edx, 1
    lock cmpxchg [lock_word], rdx
    jne 2b
    inc qword ptr [plain]
    mov qword ptr [lock_word], 0
    dec ecx
    jnz 1b
    ret

# A hundred functions, each on its own page from `edi` on, written and then run; r9 adds up.
write_and_run:
    xor r9d, r9d
    mov ecx, 100
1:  mov byte ptr [rdi], 0xb8
    mov dword ptr [rdi+1], 1
    mov byte ptr [rdi+5], 0xc3
    call rdi
    add r9, rax
    mov dword ptr [rdi+1], 7
    add edi, 4096
    dec ecx
    jnz 1b
    ret

shared:
    mov eax, 0
    ret

# On the other processor.
on_command:
    push rax
    eoi
    mov rax, [command]
    cmp eax, 1
    je c1
    cmp eax, 2
    je c2
    cmp eax, 3
    je c3
    cmp eax, 4
    je c4
    cmp eax, 5
    je c5
    cmp eax, 6
    je c6
    cmp eax, 7
    je c7
c1: mov rax, V
    mov rax, [rax]
    inc rax
    jmp reply
c2: mov rax, V
    invlpg [rax]
    jmp reply
c3: mov qword ptr [go], 1
    call count
    mov eax, 1
    jmp reply
c4: call shared
    jmp reply
c5: mov qword ptr [go], 1
    jmp spin
.align 8
spin:
    jmp spin
    jmp reply
c6: mov qword ptr [go], 1
    mov edi, 0x500000
    call write_and_run
    mov rax, r9
    jmp reply
c7: mov qword ptr [go], 1
    cli
    hlt
    jmp done
reply:
    mov [answer], rax
done:
    pop rax
    iretq

.balign 4096
trampoline:
.code16
    cli
    xor ax, ax
    mov ds, ax
    switch_to_long_mode ap_start64
.code64
ap_start64:
    mov ax, DS64
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov rsp, 0x9a000
    lidt [idt_pointer]
    and word ptr [ap_tss_descriptor+4], 0xfdff      # not busy, also the second time
    mov ax, 0x50
    ltr ax
    mov dword ptr [APIC+0xf0], 0x1ff
    mov eax, [APIC+0x20]
    shr eax, 24
    mov [plain], rax
    mov qword ptr [answer], 1
1:  sti
    hlt
    jmp 1b
