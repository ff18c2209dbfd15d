# SPDX-FileCopyrightText: 2026 Triune contributors
# SPDX-License-Identifier: Apache-2.0
# Segmentation and control transfers in 32-bit protected mode (Intel SDM 3A 3, 5, 6): limits, types and
# privileges with their error codes, 16-bit segments, call gates to inner rings and back, IRET to
# ring 3, interrupt gates of both sizes.
.include "guest32.inc"
protected_guest

main:
    mov word ptr [IDT+0x30*8+4], 0x8e00          # INT 30h is not for ring 3
    # Limits: 0x30 is 256 bytes at 0x200000, 0x38 expands down from 0x200fff, 0x40 the same with B clear.
    load_segment es, 0x30
    mov dword ptr es:[0xfc], 1
    try 1f
2:  mov dword ptr es:[0xfd], 1
1:  raised 13, 0, 1
    at 2b, 3
    try 1f
    mov al, es:[-1]
1:  raised 13, 0, 4
    load_segment es, 0x38
    mov dword ptr es:[0x1000], 0x1234
    expect "dword ptr [0x201000]", 0x1234, 6
    try 1f
    mov al, es:[0xfff]
1:  raised 13, 0, 7
    mov al, es:[0x300000]
    load_segment es, 0x40
    mov al, es:[0xffff]
    try 1f
    mov al, es:[0x10000]
1:  raised 13, 0, 9
    try 1f
    mov eax, es:[0xfffe]
1:  raised 13, 0, 11
    # Types: read-only data, execute-only and readable code.
    load_segment es, 0x48
    mov al, es:[0]
    try 1f
    mov es:[0], al
1:  raised 13, 0, 13
    try 1f
    load_segment es, 0x50
1:  raised 13, 0x50, 15
    load_segment es, 0x58
    mov al, es:[0]
    try 1f
    mov es:[0], al
1:  raised 13, 0, 17
    try 1f
    .byte 0x2e
    mov [0x200000], al          # through CS
1:  raised 13, 0, 19
    # Loads: null in a data register faults when used; absent; beyond the table; no segment at all.
    load_segment es, 3
    try 1f
    mov al, es:[0]
1:  raised 13, 0, 21
    try 1f
    load_segment es, 0x60
1:  raised 11, 0x60, 23
    try 1f
    load_segment ss, 0x60
1:  raised 12, 0x60, 25
    try 1f
    load_segment es, 0xfff8
1:  raised 13, 0xfff8, 27
    try 1f
    load_segment es, 0x2c       # in an LDT that there is not
1:  raised 13, 0x2c, 29
    try 1f
    load_segment es, TSS
1:  raised 13, TSS, 31
    try 1f
    load_segment ss, 0
1:  raised 13, 0, 33
    try 1f
    load_segment ss, 0x48
1:  raised 13, 0x48, 35
    try 1f
    load_segment ss, UDATA
1:  raised 13, 0x20, 37
    load_segment es, DATA
    # The accessed bit.
    load_segment fs, 0x68
    mov al, [gdt+0x68+5]
    and eax, 0xff
    expect eax, 0x93, 39
    # A 16-bit stack wraps at 64 KiB and keeps the upper half of ESP.
    mov ecx, esp
    load_segment ss, 0x70
    mov esp, 0x12340000
    push 0x5678
    mov edx, esp
    load_segment ss, DATA
    mov esp, ecx
    expect edx, 0x1234fffc, 44
    expect "dword ptr [0x21fffc]", 0x5678, 45

    # Far jumps and calls: DPL and RPL, conforming, 16-bit code, limits, not code.
    try 1f
    .byte 0xea
    .long 0
    .word UCODE
1:  raised 13, 0x18, 46
    try 1f
    .byte 0xea
    .long 0
    .word DATA
1:  raised 13, DATA, 48
    try 1f
    .byte 0xea
    .long 0
    .word 0
1:  raised 13, 0, 50
    try 1f
    .byte 0xea
    .long 0x10000
    .word 0x78                  # limit 0xffff
1:  raised 13, 0, 52
    .byte 0xea
    .long sixteen
    .word 0x78
.code16
sixteen:
    mov ax, 0x1234              # two bytes of immediate here
    .byte 0x66, 0xea
    .long thirty_two
    .word CODE
.code32
thirty_two:
    and eax, 0xffff
    expect eax, 0x1234, 54
    .byte 0x9a
    .long far_function
    .word 0x83                  # conforming code: the RPL does not matter, CPL stays
    expect eax, 0x80, 55

    # Ring 3.
    to_user user
user:
    load_segment ds, UDATA
    load_segment es, UDATA
    mov ecx, cs
    cmp ecx, UCODE
    je 1f
    int 0x40
1:  try user_1
2:  hlt
user_1:
    raised 13, 0, 56
    at 2b, 58
    expect "dword ptr [frame_cs]", UCODE, 59
    expect "dword ptr [frame_esp]", 0x88000, 60
    expect "dword ptr [frame_ss]", UDATA, 61
    expect "dword ptr [frame_end]", 0x94000-8, 62
.macro user_fault label, what, error, number
    try 1f
    to_user \label
1:  raised \what, \error, \number
.endm
    user_fault u_cli, 13, 0, 63
    user_fault u_in, 13, 0, 65
    user_fault u_cr, 13, 0, 67
    user_fault u_data0, 13, 0x10, 69
    user_fault u_rpl0, 13, 0x30, 71
    user_fault u_code0, 13, 8, 73
    user_fault u_int, 13, 0x30*8+2, 75
    user_fault u_gate_dpl, 13, 0x90, 77
    user_fault u_gate_absent, 11, 0x98, 79
    user_fault u_ret_inner, 13, 8, 81
    user_fault u_lgdt, 13, 0, 83
    user_fault u_conforming, 0x41, 0, 85
    # Through a call gate: two parameters, the inner stack, and RET n that drops them on both.
    user_fault u_call_gate, 0x42, 0, 87
    expect "dword ptr [seen]", 0x94000-24, 89      # SS, ESP, two parameters, CS, EIP
    expect "dword ptr [seen+4]", 0x2222, 90
    expect "dword ptr [seen+8]", 0x1111, 91
    expect "dword ptr [seen+12]", 0x88000-8, 92
    expect "dword ptr [frame_esp]", 0x88000, 93
    expect "dword ptr [frame_eax]", 0xc0de, 94
    # The same through a 16-bit gate.
    user_fault u_call_gate16, 0x43, 0, 95
    expect "dword ptr [seen]", 0x94000-10, 97
    expect "dword ptr [seen+4]", 0x4444, 98
    # The inner stack is no good: #TS names it, or the TSS.
    mov dword ptr [tss+16], 0x60
    user_fault u_call_gate_ring1, 10, 0x60, 99
    mov dword ptr [tss+16], 0
    user_fault u_call_gate_ring1, 10, 0, 101
    # A stack's limit, with PUSH and through EBP.
    user_fault u_push, 12, 0, 103
    user_fault u_ebp, 12, 0, 105
    finish 1

u_cli: cli
u_in: in al, 0x80
u_cr: mov eax, cr0
u_data0: load_segment es, 0x10
u_rpl0: load_segment es, 0x30
u_code0:
    .byte 0x9a
    .long 0
    .word CODE
u_int: int 0x30
u_gate_dpl:
    .byte 0x9a
    .long 0
    .word 0x93
u_gate_absent:
    .byte 0x9a
    .long 0
    .word 0x9b
u_ret_inner:
    push CODE
    push 0
    retf
u_lgdt: lgdt [gdt_pointer]
u_conforming:
    .byte 0x9a
    .long far_function
    .word 0x83
    cmp eax, 0x83
    jne 1f
    int 0x41
1:  int 0x40
u_call_gate:
    load_segment ds, UDATA
    push 0x1111
    push 0x2222
    .byte 0x9a
    .long 0xffffffff
    .word 0xa3
    int 0x42
u_call_gate16:
    load_segment ds, UDATA
    push 0x33334444
    .byte 0x9a
    .long 0
    .word 0xab
    int 0x43
u_call_gate_ring1:
    .byte 0x9a
    .long 0
    .word 0xbb
u_push:
    load_segment ss, 0xc3
    mov esp, 0x102
    push eax
u_ebp:
    load_segment ss, 0xc3
    mov ebp, 0x200
    mov al, [ebp]

far_function:
    mov eax, cs
    retf
gate_target:
    mov [seen], esp
    mov eax, [esp+8]
    mov [seen+4], eax
    mov eax, [esp+12]
    mov [seen+8], eax
    mov eax, [esp+16]
    mov [seen+12], eax
    mov eax, 0xc0de
    retf 8
gate16_target:
    mov [seen], esp
    movzx eax, word ptr [esp+4]
    mov [seen+4], eax
    .byte 0x66
    retf 2

.align 4
seen: .fill 4, 4, 0

gdt_start
    .quad 0x00409320000000ff        # 30 256 bytes at 0x200000
    .quad 0x0040972000000fff        # 38 expand-down from 0xfff, B
    .quad 0x0000972000000fff        # 40 expand-down from 0xfff
    .quad 0x00cf91000000ffff        # 48 read-only data
    .quad 0x00cf99000000ffff        # 50 execute-only code
    .quad 0x00cf9b000000ffff        # 58 readable code
    .quad 0x00cf13000000ffff        # 60 not present
    .quad 0x00cf92000000ffff        # 68 not yet accessed
    .quad 0x000093210000ffff        # 70 16-bit stack at 0x210000
    .quad 0x00009b000000ffff        # 78 16-bit code
    .quad 0x00cf9f000000ffff        # 80 conforming code, DPL 0
    .quad 0
    .word gate_target, CODE, 0x8c02, 0      # 90 call gate, DPL 0
    .word gate_target, CODE, 0x6c02, 0      # 98 not present
    .word gate_target, CODE, 0xec02, 0      # a0 call gate, DPL 3, two parameters
    .word gate16_target, CODE, 0xe401, 0    # a8 16-bit call gate, one parameter
    .quad 0x00cfbb000000ffff        # b0 code, DPL 1
    .word 0, 0xb0, 0xec00, 0        # b8 call gate to it
    .quad 0x0040f320000000ff        # c0 256 bytes for ring 3
tables_end
tss_end:
