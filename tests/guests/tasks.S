# SPDX-FileCopyrightText: 2026 Triune contributors
# SPDX-License-Identifier: Apache-2.0
# Hardware task switches (Intel SDM 3A 7): by JMP, CALL, IRET, task gates and exceptions; busy bits,
# NT, back links, CR0.TS, the T bit, what is saved and loaded, and the faults.
.include "guest32.inc"
protected_guest

.set TASK, 0x30
.set GATE, 0x38
.set OTHER, 0x40            # 16-bit TSS
.set GATE_SELECTOR, TASK << 16
.set GATE2_SELECTOR, 0x48 << 16

.macro busy selector, number
    mov al, [gdt+\selector+5]
    and eax, 0x8f
    expect eax, 0x8b, \number
.endm
.macro available selector, number
    mov al, [gdt+\selector+5]
    and eax, 0x8f
    expect eax, 0x89, \number
.endm
.macro prepare label, flags=2
    mov dword ptr [task+0x20], offset \label
    mov dword ptr [task+0x24], \flags
    mov dword ptr [task+0x38], 0x80000
    mov dword ptr [task], 0
    mov byte ptr [gdt+TASK+5], 0x89
.endm
.macro nt_set number
    pushfd
    pop eax
    and eax, 0x4000
    expect eax, 0x4000, \number
.endm

main:
    # CALL nests: the new task is busy, has NT and the back link; IRET comes back behind the CALL.
    prepare task_call
    mov ebx, 0x11
    mov ecx, 0x22
    clts
    .byte 0x9a
    .long 0x12345678        # the offset is ignored
    .word TASK
back_1:
    expect ebx, 0x11, 1     # this task's registers are back
    expect ecx, 0x22, 2
    busy TSS, 3
    available TASK, 4
    pushfd
    pop eax
    and eax, 0x4000
    expect eax, 0, 5
    str ax
    and eax, 0xffff
    expect eax, TSS, 6
    expect "dword ptr [task+0x3c]", 0x600d, 7   # EBP as the other left it
    expect "dword ptr [task+0x20]", "offset after_iret", 8
    mov eax, [task+0x24]
    and eax, 0x4000
    expect eax, 0, 9        # IRET saves NT clear
    # The second time it goes on where it left off.
    .byte 0x9a
    .long 0
    .word TASK
    expect "dword ptr [again]", 1, 10
    # JMP through a task gate and back: no nesting, only one is busy.
    prepare task_jump
    .byte 0xea
    .long 0
    .word GATE
back_2:
    available TASK, 11
    busy TSS, 12
    expect "dword ptr [task]", 0, 13
    # Interrupts and exceptions through task gates; the error code is on the new stack.
    mov dword ptr [IDT+0x50*8], GATE_SELECTOR
    mov dword ptr [IDT+0x50*8+4], 0xe500
    prepare task_int
    int 0x50
    available TASK, 14
    mov dword ptr [IDT+13*8], GATE_SELECTOR
    mov dword ptr [IDT+13*8+4], 0x8500
    prepare task_gp
    mov ax, 0xfff0
faulting:
    mov es, ax
after_fault:
    expect "dword ptr [seen]", 0xfff0, 15
    gate 13, CODE, stubs+13*16, 0xee00
    # The T bit traps in the new task before its first instruction.
    prepare task_call
    mov word ptr [task+0x64], 1
    mov eax, 0xffff0ff0
    mov dr6, eax
    try 1f
    .byte 0x9a
    .long 0
    .word TASK
1:  raised 1, 0, 17
    at task_call, 19
    mov eax, dr6
    and eax, 0xf00f
    expect eax, 0x8000, 20
    # We are in that task; JMP out of it.
    mov word ptr [task+0x64], 0
    mov byte ptr [gdt+TSS+5], 0x89
    mov dword ptr [tss+0x20], offset back_3
    mov [tss+0x38], esp
    .byte 0xea
    .long 0
    .word TSS
back_3:
    available TASK, 21
    # What cannot be: a busy TSS, one too small, one absent, none; IRET to one that is not busy.
    mov byte ptr [gdt+TASK+5], 0x8b
    try 1f
2:  .byte 0x9a
    .long 0
    .word TASK
1:  raised 13, TASK, 22
    at 2b, 24
    mov byte ptr [gdt+TASK+5], 0x89
    mov byte ptr [gdt+TASK], 0x66
    try 1f
    .byte 0x9a
    .long 0
    .word TASK
1:  raised 10, TASK, 25
    mov byte ptr [gdt+TASK], 0x67
    mov byte ptr [gdt+TASK+5], 0x09
    try 1f
    .byte 0x9a
    .long 0
    .word TASK
1:  raised 11, TASK, 27
    mov byte ptr [gdt+TASK+5], 0x89
    mov word ptr [tss], TASK
    try 1f
    pushfd
    or dword ptr [esp], 0x4000
    popfd
    iretd
1:  raised 10, TASK, 29
    pushfd
    and dword ptr [esp], ~0x4000
    popfd
    mov word ptr [tss], DATA
    try 1f
    pushfd
    or dword ptr [esp], 0x4000
    popfd
    iretd
1:  raised 10, DATA, 31
    pushfd
    and dword ptr [esp], ~0x4000
    popfd
    # Segments of the new task fault there, with the new task's EIP: #TS for a bad SS.
    prepare task_call
    mov dword ptr [task+0x50], 0x1b
    mov dword ptr [IDT+10*8], GATE2_SELECTOR
    mov dword ptr [IDT+10*8+4], 0x8500
    mov dword ptr [rescue+0x20], offset rescued
    .byte 0x9a
    .long 0
    .word TASK
    finish 0x1ff
rescued:                        # by a task of its own, for the faulting one has no stack
    pop eax
    expect eax, 0x18, 33
    expect "dword ptr [task+0x20]", "offset task_call", 34
    mov ax, [rescue]
    and eax, 0xffff
    expect eax, TASK, 35
    mov eax, cr0
    and eax, 8
    expect eax, 8, 36
    mov dword ptr [task+0x50], DATA
    # To a 16-bit task and back: 16 bits of each register are saved and loaded.
    mov word ptr [other+0x0e], offset task_16
    mov word ptr [other+0x10], 2
    .byte 0x9a
    .long 0
    .word OTHER
    expect "dword ptr [seen]", 0x1616, 37
    mov ax, [other+0x1a]        # its SP
    and eax, 0xffff
    expect eax, 0x7000, 38
    # Into virtual-8086 mode and out by INT.
    prepare task_call, 0x20002
    mov dword ptr [task+0x20], 0x10
    mov dword ptr [task+0x4c], 0x4000
    mov dword ptr [task+0x50], 0x5000
    mov dword ptr [task+0x54], 0x6000
    mov byte ptr [0x40010], 0xf4                # HLT: #GP
    try 1f
    .byte 0x9a
    .long 0
    .word TASK
1:  raised 13, 0, 39
    expect "dword ptr [frame_cs]", 0x4000, 41
    expect "dword ptr [frame_eip]", 0x10, 42
    expect "dword ptr [frame_ss]", 0x5000, 43
    finish 1

task_call:
    nt_set 50
    mov ax, [task]
    and eax, 0xffff
    expect eax, TSS, 51
    busy TSS, 52
    busy TASK, 53
    mov eax, cr0
    and eax, 8
    expect eax, 8, 54
    expect "dword ptr [tss+0x20]", "offset back_1", 55
    expect "dword ptr [tss+0x34]", 0x11, 56
    expect esp, 0x80000, 57
    mov ebp, 0x600d
    iretd
after_iret:
    mov dword ptr [again], 1
    iretd
task_jump:
    pushfd
    pop eax
    and eax, 0x4000
    expect eax, 0, 58
    available TSS, 59
    mov dword ptr [tss+0x20], offset back_2
    .byte 0xea
    .long 0
    .word TSS
task_int:
    nt_set 60
    expect esp, 0x80000, 61
    iretd
task_gp:
    pop dword ptr [seen]
    expect esp, 0x80000, 62
    mov eax, [tss+0x20]
    expect eax, "offset faulting", 63
    mov dword ptr [tss+0x20], offset after_fault
    iretd
.code16
task_16:
    mov eax, offset seen
    mov word ptr [eax], 0x1616
    iret
.code32

.align 4
again: .long 0
seen: .long 0
.align 4
task:
    .long 0, 0x94000, DATA
    .fill 15, 4, 0
    .long DATA, CODE, DATA, DATA, DATA, DATA
    .long 0, 0x680000
rescue:
    .fill 14, 4, 0
    .long 0x70000
    .fill 3, 4, 0
    .long DATA, CODE, DATA, DATA, DATA, DATA
    .long 0, 0x680000
other:
    .fill 13, 2, 0              # up to SP at 0x1a
    .word 0x7000, 0, 0, 0
    .word DATA, 0x50, DATA, DATA, 0
other_end:

gdt_start
    .word 0x67, task, 0x8900, 0         # 30
    .word 0, TASK, 0xe500, 0            # 38 task gate
    .word other_end - other - 1, other, 0x8100, 0       # 40
    .word 0x67, rescue, 0x8900, 0       # 48
    .quad 0x00009b000000ffff            # 50 16-bit code
tables_end
tss_end:
