# SPDX-FileCopyrightText: 2026 Triune contributors
# SPDX-License-Identifier: Apache-2.0
# Lines and messages of devices: level-triggered through the IOAPIC with EOI, edge, MSI, priorities
# and nesting, x2APIC. The bench drives GSI lines by port 0xf5 and sends MSIs by port 0xf6.
.include "guest.inc"
long_mode_guest

.macro gsi n, level
    mov eax, \n | \level << 8
    mov dx, 0xf5
    out dx, eax
.endm
.macro msi vector
    mov eax, \vector
    mov dx, 0xf6
    out dx, eax
.endm

on_level:
    push rax
    push rdx
    inc r14
    cmp r14, 3
    jb 1f
    gsi 20, 0                       # the third time the device is served
1:  eoi
    pop rdx
    pop rax
    iretq
on_edge:
    inc r13
    eoi
    iretq
on_low:                             # lets higher classes nest
    push rax
    sti
    shl r12, 4
    or r12, 1
    push rdx
    msi 0x71
    msi 0x61
    pop rdx
    nop
    shl r12, 4
    or r12, 2
    cli
    eoi
    pop rax
    iretq
on_high:
    shl r12, 4
    or r12, 7
    eoi
    iretq
on_same:
    shl r12, 4
    or r12, 6
    eoi
    iretq
on_x2:
    inc r13
    push rax
    push rcx
    push rdx
    mov ecx, 0x80b
    xor eax, eax
    xor edx, edx
    wrmsr
    pop rdx
    pop rcx
    pop rax
    iretq

main:
    gate 0x51, on_level
    gate 0x52, on_edge
    gate 0x62, on_low
    gate 0x71, on_high
    gate 0x61, on_same
    gate 0x81, on_x2
    xor r14, r14
    xor r13, r13
    xor r12, r12
    mov dword ptr [APIC+0xf0], 0x1ff
    # GSI 20: level, GSI 10: edge.
    mov dword ptr [IOAPIC], 0x39
    mov dword ptr [IOAPIC+0x10], 0
    mov dword ptr [IOAPIC], 0x38
    mov dword ptr [IOAPIC+0x10], 0x8051
    mov dword ptr [IOAPIC], 0x25
    mov dword ptr [IOAPIC+0x10], 0
    mov dword ptr [IOAPIC], 0x24
    mov dword ptr [IOAPIC+0x10], 0x52
    sti
    gsi 20, 1
    nop
    nop
    expect r14, 3, 1                # repeated until the line falls
    gsi 10, 1
    gsi 10, 1
    nop
    expect r13, 1, 2
    gsi 10, 0
    gsi 10, 1
    nop
    expect r13, 2, 3
    msi 0x52
    nop
    expect r13, 3, 4
    # Several at once: highest first.
    cli
    msi 0x62
    nop
    sti
    nop
    mov ecx, 100
1:  dec ecx
    jnz 1b
    expect r12, 0x1726, 5           # 0x71 nests in 0x62, 0x61 waits for its EOI
    # x2APIC: registers are MSRs.
    cli
    mov eax, 1
    cpuid
    bt ecx, 21
    jnc 2f
    mov ecx, 0x1b
    rdmsr
    or eax, 0x400
    wrmsr
    mov ecx, 0x802
    rdmsr
    expect rax, 0, 6
    mov ecx, 0x83f                  # self-IPI
    mov eax, 0x81
    xor edx, edx
    mov r13, 0
    wrmsr
    sti
    nop
    nop
    expect r13, 1, 7
    mov ecx, 0x830
    mov eax, 0x4081
    xor edx, edx
    wrmsr
    nop
    expect r13, 2, 8
    msi 0x81
    nop
    expect r13, 3, 9
2:  finish 1
