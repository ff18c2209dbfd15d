# SPDX-FileCopyrightText: 2026 Triune contributors
# SPDX-License-Identifier: Apache-2.0
# 16-bit code as firmware has it: segments, interrupts through the vector table, 8259A and 8254,
# HLT, BIOS-like services, unreal mode, and a visit to 32-bit protected mode.
.intel_syntax noprefix
.code16

.macro fail number
    mov eax, 0x100+\number
    jmp finish
.endm
.macro need cc, number
    j\cc .Lok\@
    fail \number
.Lok\@:
.endm

.globl _start
_start:
    cli
    cld
    xor ax, ax
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov sp, 0x7000
    # Segment arithmetic and wrap-around of offsets.
    mov ax, 0x1234
    mov fs, ax
    mov word ptr fs:[0x10], 0xbeef
    cmp word ptr ds:[0x2350], 0x0
    mov ax, 0x1235
    mov gs, ax
    mov ax, gs:[0]
    cmp ax, 0xbeef
    need e, 1
    # CALL far, RET far, PUSHA, ENTER, XLAT, BCD.
    .byte 0x9a
    .word far_function, 0
    cmp ax, 0x4321
    need e, 2
    mov ax, 1
    mov bx, 2
    mov sp, 0x7000
    pusha
    xor ax, ax
    xor bx, bx
    popa
    add ax, bx
    cmp ax, 3
    need e, 3
    cmp sp, 0x7000
    need e, 4
    mov al, 0x15
    add al, 0x27
    daa
    cmp al, 0x42
    need e, 5
    mov ax, 0x0f05
    aam
    # INT n goes through the table at 0.
    mov word ptr ds:[0x40*4], offset service
    mov word ptr ds:[0x40*4+2], 0
    mov ax, 5
    int 0x40
    need e, 6                       # IRET takes the flags from the stack
    cmp ax, 10
    need e, 7
    # Division by zero: vector 0, RIP at the instruction.
    mov word ptr ds:[0], offset divided
    mov word ptr ds:[2], 0
    xor cx, cx
    mov si, 0
    div cx
    cmp si, 0x77
    need e, 8
    # 8254 at 1 kHz through the 8259A.
    mov word ptr ds:[8*4], offset tick
    mov word ptr ds:[8*4+2], 0
    mov al, 0x11
    out 0x20, al
    mov al, 8
    out 0x21, al
    mov al, 4
    out 0x21, al
    mov al, 1
    out 0x21, al
    mov al, 0xfe
    out 0x21, al
    mov al, 0x34
    out 0x43, al
    mov al, 0xa9
    out 0x40, al
    mov al, 4
    out 0x40, al
    xor bp, bp
1:  sti
    hlt
    cmp bp, 3
    jb 1b
    # and without HLT
2:  cmp bp, 6
    jb 2b
    cli
    # REP with 16-bit counts and segment override.
    mov si, offset _start
    mov di, 0x6000
    mov cx, 0x100
    rep movsw
    mov si, offset _start
    mov di, 0x6000
    mov cx, 0x100
    repe cmpsw
    need e, 9
    # To 32-bit protected mode and back, keeping a large limit in ES ("unreal").
    lgdt [gdt_pointer]
    mov eax, cr0
    or al, 1
    mov cr0, eax
    .byte 0xea
    .word protected, 8
real:
    xor ax, ax
    mov ds, ax
    mov ss, ax
    cmp ebx, 0x12345678
    need e, 10
    mov edi, 0x300000
    mov eax, es:[edi]               # beyond 64 KiB: the cached limit of ES
    cmp eax, 0x12345678
    need e, 11
    mov eax, 1
finish:
    mov dx, 0xf4
    out dx, eax
    cli
3:  hlt
    jmp 3b

far_function:
    mov ax, 0x4321
    retf
service:
    add ax, ax
    push bp
    mov bp, sp
    or word ptr [bp+6], 0x40        # ZF for the caller
    pop bp
    iret
divided:
    mov si, 0x77
    push bp
    mov bp, sp
    add word ptr [bp+2], 2
    pop bp
    iret
tick:
    push ax
    inc bp
    mov al, 0x20
    out 0x20, al
    pop ax
    iret

.code32
protected:
    mov ax, 16
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov dword ptr [0x300000], 0x12345678
    mov ebx, [0x300000]
    # Back: a 16-bit code segment first.
    .byte 0xea
    .long protected16
    .word 24
.code16
protected16:
    mov ax, 32
    mov ds, ax
    mov ss, ax
    mov eax, cr0
    and al, 0xfe
    mov cr0, eax
    .byte 0xea
    .word real, 0

.align 8
gdt:
    .quad 0
    .quad 0x00cf9b000000ffff
    .quad 0x00cf93000000ffff
    .quad 0x00009b000000ffff
    .quad 0x000093000000ffff
gdt_pointer:
    .word 39
    .long gdt
