# SPDX-FileCopyrightText: 2026 Triune contributors
# SPDX-License-Identifier: Apache-2.0
# Interrupts that the host raises by eventfds: GSI 10 edge-triggered (vector 0x41), GSI 20 level-triggered
# (0x51), a message (0x61). The guest tells the host of each by port 0xf7 and ends it; the host's answer
# is the next. 0x71 is the host's last word: then the counts must be right and the lines quiet.
.include "guest.inc"
long_mode_guest

.macro handler name, register, mark
\name:
    inc \register
    push rax
    mov al, \mark
    out 0xf7, al
    eoi
    pop rax
    iretq
.endm
    handler on_edge, r12, 0x41
    handler on_level, r13, 0x51
    handler on_message, r14, 0x61
    handler on_end, r15, 0x71

main:
    gate 0x41, on_edge
    gate 0x51, on_level
    gate 0x61, on_message
    gate 0x71, on_end
    xor r12, r12
    xor r13, r13
    xor r14, r14
    xor r15, r15
    mov dword ptr [APIC+0xf0], 0x1ff
    mov dword ptr [IOAPIC], 0x39
    mov dword ptr [IOAPIC+0x10], 0
    mov dword ptr [IOAPIC], 0x38
    mov dword ptr [IOAPIC+0x10], 0x8051
    mov dword ptr [IOAPIC], 0x25
    mov dword ptr [IOAPIC+0x10], 0
    mov dword ptr [IOAPIC], 0x24
    mov dword ptr [IOAPIC+0x10], 0x41
    mov al, 1
    out 0xf7, al                    # ready
1:  sti
    hlt
    cli
    test r15, r15
    jz 1b
    sti                             # a line that is still high would come again and again
    mov ecx, 100000
2:  dec ecx
    jnz 2b
    expect r12, 5, 1
    expect r13, 3, 2
    expect r14, 2, 3
    expect r15, 1, 4
    finish 1
