# SPDX-FileCopyrightText: 2026 Triune contributors
# SPDX-License-Identifier: Apache-2.0
# Virtual-8086 mode (Intel SDM 3B 21): what traps with IOPL 0 and 3, the frame of an interrupt out of
# it, the I/O bitmap; VME's redirection bitmap, VIF and VIP; and ring 3's virtual interrupts (PVI).
.include "guest32.inc"
protected_guest

.set CODE86, 0x4000         # segment of the 8086 program
.set STACK86, 0x5000
.set VM, 0x20002
.set IOPL3, 0x3000
.set IF, 0x200
.set VIF, 0x80000
.set VIP, 0x100000

# Runs `label` (16-bit code, copied to 4000:0) with `flags` until an event.
.macro run86 label, flags
    mov ax, DATA
    mov es, ax
    mov esi, offset \label
    mov edi, 0x40000
    mov ecx, 16
    cld
    rep movsd
    try .Lback\@
    push 0x44               # GS
    push 0x33
    push 0x6000             # DS
    push 0x11
    push STACK86
    push 0x1000
    push \flags
    push CODE86
    push 0
    iretd
.Lback\@:
.endm
.macro event what, error, ip, number
    raised \what, \error, \number
    expect "dword ptr [frame_eip]", \ip, \number+2
.endm
.macro flags_are mask, value, number
    mov eax, [frame_flags]
    and eax, \mask
    expect eax, \value, \number
.endm

main:
    mov word ptr [tss+0x66], 0x88   # the I/O bitmap, behind the redirection bitmap
    # IOPL 0: CLI, STI, PUSHF, POPF, INT n, IRET and HLT are #GP; INT3 is not asked for IOPL.
    run86 p_cli, VM
    event 13, 0, 0, 1
    expect "dword ptr [frame_cs]", CODE86, 4
    expect "dword ptr [frame_ss]", STACK86, 5
    expect "dword ptr [frame_esp]", 0x1000, 6
    expect "dword ptr [frame_end]", 0x94000-24, 7
    expect "dword ptr [0x94000-16]", 0x11, 8        # ES
    expect "dword ptr [0x94000-4]", 0x44, 9         # GS
    flags_are VM, VM, 10
    mov ax, fs
    test ax, ax
    expect_cc z, 11
    run86 p_pushf, VM
    event 13, 0, 0, 12
    run86 p_popf, VM
    event 13, 0, 0, 15
    run86 p_iret, VM
    event 13, 0, 0, 18
    run86 p_int, VM
    event 13, 0, 0, 21
    run86 p_int3, VM
    event 3, 0, 1, 24
    # IOPL 3: they work; INT n goes through the IDT, whose gate must be for ring 3.
    run86 p_all, VM+IOPL3
    event 0x61, 0, 12, 27
    flags_are IF, IF, 30
    mov word ptr [IDT+0x62*8+4], 0x8e00
    run86 p_int62, VM+IOPL3
    event 13, 0x62*8+2, 0, 31
    # Privileged ones fault whatever IOPL; LAR is #UD; segments have 64 KiB; 16:16 wraps at 1 MiB + 64 KiB.
    run86 p_hlt, VM+IOPL3
    event 13, 0, 0, 34
    run86 p_cr0, VM+IOPL3
    event 13, 0, 0, 37
    run86 p_lar, VM+IOPL3
    event 6, 0, 0, 40
    run86 p_limit, VM+IOPL3
    event 13, 0, 3, 43
    run86 p_stack, VM+IOPL3
    event 12, 0, 3, 46
    mov dword ptr [0x10ffec], 0x7788
    run86 p_high, VM+IOPL3
    event 3, 0, 10, 49
    expect "dword ptr [frame_eax]", 0x7788, 52
    # Ports are asked of the bitmap, also with IOPL 3.
    run86 p_out, VM+IOPL3
    event 3, 0, 5, 53
    or byte ptr [io_map+0xe8/8], 2
    run86 p_out, VM+IOPL3
    event 13, 0, 2, 56
    run86 p_outw, VM+IOPL3      # one bit of two
    event 13, 0, 0, 59
    and byte ptr [io_map+0xe8/8], ~2
    # An exception with its error code: #NP of a selector never comes, #DE does.
    run86 p_div, VM
    event 0, 0, 2, 62

    # VME, if there is one.
    mov eax, 1
    cpuid
    bt edx, 1
    jc 1f
    finish 1
1:  mov eax, cr4
    or eax, 1
    mov cr4, eax
    # INT 21h is redirected, INT 60h is not. With IOPL 0 the program's IF is VIF.
    or byte ptr [redirection+0x60/8], 1
    mov dword ptr [0x21*4], CODE86 << 16 | 0x20
    run86 p_vme, VM
    event 13, 0, 0x24, 65           # INT 60h in the handler at 4000:20
    flags_are VIF+IF, 0, 68         # INT 21h cleared VIF; IF never moved
    expect "dword ptr [frame_esp]", 0xffa, 69
    mov ax, [0x50ffe]
    and eax, 0x3200
    expect eax, 0x3200, 70          # the image: VIF as IF, IOPL 3
    mov dword ptr [0x51000], CODE86 << 16 | 0x10
    mov word ptr [0x51004], 0x202
    run86 p_iret, VM                # to 4000:10, IF of the image becomes VIF
    event 3, 0, 0x11, 71
    flags_are VIF, VIF, 74
    # VIP: enabling interrupts while one waits is #GP.
    run86 p_sti, VM+VIP
    event 13, 0, 0, 75
    run86 p_popf_if, VM+VIP
    event 13, 0, 3, 78
    run86 p_popf_tf, VM
    event 13, 0, 3, 81
    run86 p_pushfd, VM              # 32-bit forms trap still
    event 13, 0, 0, 84
    # With IOPL 3 it is IF that moves.
    run86 p_vme3, VM+IOPL3
    event 3, 0, 3, 87
    flags_are VIF+IF, IF, 90

    # PVI: CLI and STI of ring 3 with IOPL 0 act on VIF; POPF is as ever.
    mov eax, cr4
    or eax, 2
    mov cr4, eax
    try 1f
    to_user q_sti
1:  raised 3, 0, 91
    flags_are VIF+IF, VIF, 93
    try 1f
    to_user q_cli, 2+VIF
1:  raised 3, 0, 94
    flags_are VIF+IF, 0, 96
    try 1f
    to_user q_sti, 2+VIP
1:  raised 13, 0, 97
    mov eax, cr4
    and eax, ~3
    mov cr4, eax
    try 1f
    to_user q_sti
1:  raised 13, 0, 99
    finish 1

q_sti:
    sti
    int3
q_cli:
    cli
    int3

.code16
p_cli: cli
p_sti: sti
p_pushf: pushf
p_pushfd: pushfd
p_popf: popf
p_iret:
    iret
    .fill p_iret + 0x10 - ., 1, 0xf4
    int3
p_int: int 0x21
p_int3: int3
p_hlt: hlt
p_all:
    cli
    pushf
    popf
    sti
    pushf
    pop ax
    push ax
    popf
    nop
    nop
    int 0x61
p_int62: int 0x62
p_cr0: mov eax, cr0
p_lar: lar ax, bx
p_limit:
    mov bx, 0xffff
    mov ax, [bx]
p_stack:
    mov sp, 1
    push ax
p_high:
    mov ax, 0xffff
    mov ds, ax
    mov eax, ds:[0xfffc]
    int3
p_out:
    mov al, 0x20
    out 0xe9, al
    int3
p_outw:
    out 0xe8, ax
p_div:
    xor cx, cx
    div cx
p_vme:
    sti
    int 0x21
    hlt
    .fill p_vme + 0x20 - ., 1, 0x90
    cli
    sti
    cli
    nop
    int 0x60
p_popf_if:
    push 0x202
    popf
p_popf_tf:
    push 0x102
    popf
p_vme3:
    cli
    sti
    int3
    .fill 64, 1, 0x90
.code32

gdt_start
tables_end
    .set io_map, redirection + 32
.align 4
redirection = tss + 0x68
    .fill 32, 1, 0
    .fill 0x100, 1, 0
    .byte 0xff
tss_end:
