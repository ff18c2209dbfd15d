# SPDX-FileCopyrightText: 2026 Triune contributors
# SPDX-License-Identifier: Apache-2.0
# 32-bit protected mode: segment limits, 4 KiB and 4 MiB pages, PAE, rings, call gates, SYSENTER,
# virtual-8086 mode.
.intel_syntax noprefix
.code16

.set DETAIL, 0x7000
.set PD, 0x20000
.set PT, 0x21000
.set PDPT, 0x22000
.set PAE_PD, 0x23000
.set IDT, 0x24000
.set V, 0x00800000

.macro finish value
    mov eax, \value
    mov edx, 0xf4
    out dx, eax
.Lstop\@:
    cli
    hlt
    jmp .Lstop\@
.endm
.macro expect what, value, number
    cmp \what, \value
    je .Lok\@
    push \what
    pop dword ptr [DETAIL]
    finish 0x100+\number
.Lok\@:
.endm
.macro gate vector, handler
    mov edi, \vector
    mov esi, offset \handler
    call set_gate
.endm

.globl _start
_start:
    cli
    cld
    xor ax, ax
    mov ds, ax
    lgdt [gdt_pointer]
    mov eax, cr0
    or al, 1
    mov cr0, eax
    .byte 0x66, 0xea
    .long start32
    .word 0x08

.code32
# Gate `edi` of the IDT: a 32-bit interrupt gate, DPL 3, to `esi`.
set_gate:
    mov [IDT+edi*8], si
    mov word ptr [IDT+edi*8+2], 0x08
    mov word ptr [IDT+edi*8+4], 0xee00
    mov eax, esi
    shr eax, 16
    mov [IDT+edi*8+6], ax
    ret

unexpected:
    pop dword ptr [DETAIL]
    pop dword ptr [DETAIL+4]
    pop dword ptr [DETAIL+8]
    finish 0xdead

# Handlers note vector and error code in ebp and edi and go on at [resume].
on_br: mov ebp, 5
    jmp plain
on_of: mov ebp, 4
    jmp plain
on_ud: mov ebp, 6
    jmp plain
on_gp: mov ebp, 13
    jmp with_error
on_ss: mov ebp, 12
    jmp with_error
on_np: mov ebp, 11
with_error:
    pop edi
plain:
    push eax
    mov eax, [resume]
    mov [esp+4], eax
    pop eax
    iretd
on_pf:
    mov ebp, 14
    pop edi
    mov esi, cr2
    cmp dword ptr [fix], 0
    je plain
    push eax
    mov eax, [fix_value]
    push ebx
    mov ebx, [fix]
    mov [ebx], eax
    pop ebx
    pop eax
    iretd

start32:
    mov ax, 0x10
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov fs, ax
    mov gs, ax
    mov esp, 0x90000
    mov ecx, 0x5000/4
    mov edi, PD
    xor eax, eax
    rep stosd
    xor edi, edi
1:  mov esi, offset unexpected
    call set_gate
    inc edi
    cmp edi, 256
    jne 1b
    gate 4, on_of
    gate 5, on_br
    gate 6, on_ud
    gate 11, on_np
    gate 12, on_ss
    gate 13, on_gp
    gate 14, on_pf
    gate 0x80, on_int80
    lidt [idt_pointer]
    mov ax, 0x28
    ltr ax

    # One-byte INC and DEC, BOUND, INTO, PUSHAD, ENTER.
    mov eax, 5
    .byte 0x40
    expect eax, 6, 1
    mov dword ptr [resume], offset 1f
    mov dword ptr [0x200000], 3
    mov dword ptr [0x200004], 7
    mov eax, 7
    bound eax, [0x200000]
    mov eax, 8
    bound eax, [0x200000]
1:  expect ebp, 5, 2
    mov dword ptr [resume], offset 1f
    mov al, 0x7f
    inc al
    into
1:  expect ebp, 4, 3
    mov eax, 1
    mov edi, 9
    pushad
    mov eax, 2
    mov edi, 3
    popad
    expect eax, 1, 4
    expect edi, 9, 5
    mov ebp, 0x1234
    enter 16, 0
    mov eax, [ebp]
    expect eax, 0x1234, 6
    leave
    expect ebp, 0x1234, 7
    expect esp, 0x90000, 8

    # Limits: segment 0x30 is 256 bytes at 0x200000.
    mov ax, 0x30
    mov es, ax
    mov dword ptr es:[0xfc], 0x55aa
    expect "dword ptr [0x2000fc]", 0x55aa, 9
    mov dword ptr [resume], offset 1f
    mov ebp, 0
    mov eax, es:[0xfd]
1:  expect ebp, 13, 10
    expect edi, 0, 11
    # Read-only, not present, null.
    mov ax, 0x48
    mov es, ax
    mov dword ptr [resume], offset 1f
    mov ebp, 0
    mov es:[0], eax
1:  expect ebp, 13, 12
    mov dword ptr [resume], offset 1f
    mov ax, 0x50
    mov es, ax
1:  expect ebp, 11, 13
    expect edi, 0x50, 14
    xor eax, eax
    mov es, ax
    mov dword ptr [resume], offset 1f
    mov ebp, 0
    mov eax, es:[0]
1:  expect ebp, 13, 15
    mov ax, 0x10
    mov es, ax
    # LAR, LSL, VERR, VERW.
    mov ecx, 0x30
    lsl eax, ecx
    expect eax, 0xff, 16
    lar eax, ecx
    expect eax, 0x409300, 17
    mov ax, 0x48
    verw ax
    jnz 1f
    finish 0x112
1:  verr ax
    jz 1f
    finish 0x113
1:
    # Paging: two 4 MiB pages, then a table.
    mov dword ptr [PD], 0x87
    mov dword ptr [PD+4], 0x400087
    mov dword ptr [PD+8], PT+7
    mov eax, cr4
    or eax, 0x10
    mov cr4, eax
    mov eax, PD
    mov cr3, eax
    mov eax, cr0
    or eax, 0x80010000
    mov cr0, eax
    mov dword ptr [fix], PT
    mov dword ptr [fix_value], 0x300007
    mov dword ptr [V+8], 77
    expect ebp, 14, 20
    expect edi, 2, 21
    expect esi, V+8, 22
    expect "dword ptr [0x300008]", 77, 23
    mov eax, [PT]
    and eax, 0x60
    expect eax, 0x60, 24
    mov eax, [PD]
    and eax, 0x60
    expect eax, 0x60, 25
    mov dword ptr [fix], 0

    # Ring 3, with the stack of the TSS on the way back.
    push 0x23
    push 0x88000
    push 0x202
    push 0x1b
    push offset user
    iretd

user:
    mov ax, 0x23
    mov ds, ax
    mov es, ax
    mov ax, cs
    cmp ax, 0x1b
    jne bad
    mov dword ptr [resume], offset 1f
    mov ebp, 0
    cli
1:  cmp ebp, 13
    jne bad
    # A data segment of ring 0 cannot be loaded.
    mov dword ptr [resume], offset 1f
    mov ebp, 0
    mov ax, 0x10
    mov fs, ax
1:  cmp ebp, 13
    jne bad
    cmp edi, 0x10
    jne bad
    mov ebx, 1
    int 0x80
    cmp eax, 99
    jne bad
    # The call gate takes one parameter along.
    push 0x5678
    .byte 0x9a
    .long 0
    .word 0x3b
    cmp eax, 0x5679
    jne bad
    cmp esp, 0x88000
    jne bad
    mov ebx, 2
    int 0x80                # sets up SYSENTER
    mov ecx, esp
    mov edx, offset after_sysenter
    sysenter
after_sysenter:
    cmp eax, 4444
    jne bad
    mov ebx, 3
    int 0x80
bad:
    mov ebx, 9
    int 0x80

on_int80:
    cmp ebx, 1
    je int_one
    cmp ebx, 2
    je int_two
    cmp ebx, 3
    je int_three
    mov [DETAIL], ebp
    finish 0x163
int_one:
    expect esp, 0x94000-20, 30
    expect "dword ptr [esp+16]", 0x23, 31
    expect "dword ptr [esp+12]", 0x88000, 32
    mov eax, 99
    iretd
int_two:
    xor edx, edx
    mov ecx, 0x174
    mov eax, 0x08
    wrmsr
    mov ecx, 0x175
    mov eax, 0x93000
    wrmsr
    mov ecx, 0x176
    mov eax, offset entered
    wrmsr
    iretd
entered:
    expect esp, 0x93000, 33
    mov ax, cs
    cmp ax, 0x08
    je 1f
    finish 0x122
1:  mov eax, 4444
    sysexit

gate_target:
    mov eax, [esp+8]        # after EIP and CS
    inc eax
    retf 4

int_three:
    mov ax, 0x10
    mov ds, ax
    mov es, ax
    mov esp, 0x90000
    # Virtual-8086 mode: INT there is #GP here, with the segments on the stack.
    mov byte ptr [0x10000], 0xb8
    mov byte ptr [0x10001], 0x34
    mov byte ptr [0x10002], 0x12
    mov byte ptr [0x10003], 0xcd            # int 0x21
    mov byte ptr [0x10004], 0x21
    gate 13, on_v8086
    push 0x4444             # GS
    push 0x3333             # FS
    push 0x2222             # DS
    push 0x1111             # ES
    push 0x5000             # SS
    push 0xfff0
    push 0x20202            # VM, IF
    push 0x1000
    push 0
    iretd
on_v8086:
    expect esp, 0x94000-40, 40
    expect "dword ptr [esp]", 0, 41
    expect "dword ptr [esp+4]", 3, 42
    expect "dword ptr [esp+8]", 0x1000, 43
    mov ebx, [esp+12]
    and ebx, 0x20000
    expect ebx, 0x20000, 44
    expect "dword ptr [esp+20]", 0x5000, 45
    expect "dword ptr [esp+24]", 0x1111, 46
    expect "dword ptr [esp+28]", 0x2222, 47
    expect "dword ptr [esp+36]", 0x4444, 48
    and eax, 0xffff
    expect eax, 0x1234, 49
    mov ax, ds
    test ax, ax
    jz 1f
    finish 0x132
1:  mov ax, 0x10
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov esp, 0x90000
    gate 13, on_gp

    # PAE: 2 MiB pages with bit 63 meaning no execute.
    mov eax, cr0
    btr eax, 31
    mov cr0, eax
    mov dword ptr [PDPT], PAE_PD+1
    mov dword ptr [PAE_PD], 0x87
    mov dword ptr [PAE_PD+8], 0x200087
    mov dword ptr [PAE_PD+12], 0x80000000
    mov eax, cr4
    or eax, 0x20
    mov cr4, eax
    mov ecx, 0xc0000080
    rdmsr
    or eax, 0x800
    wrmsr
    mov eax, PDPT
    mov cr3, eax
    mov eax, cr0
    bts eax, 31
    mov cr0, eax
    mov byte ptr [0x200000], 0xc3
    mov dword ptr [resume], offset 1f
    mov ebp, 0
    mov eax, 0x200000
    jmp eax
1:  expect ebp, 14, 60
    expect edi, 0x11, 61
    expect esi, 0x200000, 62
    mov dword ptr [resume], offset 1f
    mov eax, [0x400000]
1:  expect edi, 0, 63
    expect esi, 0x400000, 64
    # A PDPT entry changes only with CR3.
    mov dword ptr [PDPT+8], PAE_PD+1
    mov eax, cr3
    mov cr3, eax
    mov eax, [0x40000000+DETAIL]
    finish 1

.align 8
resume: .long 0
fix: .long 0
fix_value: .long 0
.align 8
gdt:
    .quad 0
    .quad 0x00cf9b000000ffff    # 08 code
    .quad 0x00cf93000000ffff    # 10 data
    .quad 0x00cffb000000ffff    # 18 user code
    .quad 0x00cff3000000ffff    # 20 user data
    .word 0x67, tss, 0x8900, 0  # 28 TSS
    .quad 0x00409320000000ff    # 30 256 bytes at 0x200000
    .word gate_target, 0x08, 0xec01, 0  # 38 call gate, DPL 3, one parameter
    .quad 0x00009b000000ffff    # 40
    .quad 0x00cf91000000ffff    # 48 read-only data
    .quad 0x00cf13000000ffff    # 50 not present
gdt_end:
gdt_pointer:
    .word gdt_end - gdt - 1
    .long gdt
idt_pointer:
    .word 0x7ff
    .long IDT
.align 4
tss:
    .long 0, 0x94000, 0x10
    .fill 22, 4, 0
    .long 0x680000
