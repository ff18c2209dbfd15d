# SPDX-FileCopyrightText: 2026 Triune contributors
# SPDX-License-Identifier: Apache-2.0
# x87 exceptions as the PC/AT reports them, with CR0.NE clear (Intel SDM 1 8.7.2): FERR# is IRQ 13, port
# 0xf0 asserts IGNNE# until the exception is cleared; with CR0.NE set it is #MF.
.include "guest32.inc"
protected_guest

main:
    # 8259A pair: vectors 0x20 and 0x70, all masked but the cascade and IRQ 13.
    mov al, 0x11
    out 0x20, al
    out 0xa0, al
    mov al, 0x20
    out 0x21, al
    mov al, 0x70
    out 0xa1, al
    mov al, 4
    out 0x21, al
    mov al, 2
    out 0xa1, al
    mov al, 1
    out 0x21, al
    out 0xa1, al
    mov al, 0xfb
    out 0x21, al
    mov al, 0xdf
    out 0xa1, al
    gate 0x75, CODE, on_irq13, 0x8e00
    mov eax, cr0
    and eax, ~0x2c          # NE, EM, TS
    mov cr0, eax
    fninit
    push 0x37b              # zero-divide unmasked
    fldcw [esp]
    sti
    fld1
    fldz
    fdivp
    mov dword ptr [count], 0
waits:
    fwait
    expect "dword ptr [count]", 1, 1
    expect "dword ptr [seen_eip]", "offset waits", 2
    fnstsw ax
    and eax, 0x84
    expect eax, 0, 3
    # Again: IGNNE# ended with the exception.
    fld1
    fldz
    fdivp
    fld1
    expect "dword ptr [count]", 2, 4
    # As #MF.
    mov eax, cr0
    or eax, 0x20
    mov cr0, eax
    fninit
    fldcw [esp]
    fld1
    fldz
    fdivp
    try 1f
    fwait
1:  raised 16, 0, 5
    expect "dword ptr [count]", 2, 7
    finish 1

on_irq13:
    push eax
    inc dword ptr [count]
    mov eax, [esp+4]
    mov [seen_eip], eax
    mov al, 0
    out 0xf0, al
    fwait                   # ignored now
    fnclex
    mov al, 0x20
    out 0xa0, al
    out 0x20, al
    pop eax
    iretd

.align 4
count: .long 0
seen_eip: .long 0
gdt_start
tables_end
tss_end:
