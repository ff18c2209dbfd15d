# SPDX-FileCopyrightText: 2026 Triune contributors
# SPDX-License-Identifier: Apache-2.0
# Interprocessor interrupts between two processors (Intel SDM 3A 11.6): every shorthand, physical and
# logical destinations flat and by cluster, lowest priority, NMI, INIT and start-up, x2APIC; priority by
# TPR; TLB shootdown; NMI to a halted processor.
.include "guest.inc"
long_mode_guest

.set answer, 0x50000
.set count0, 0x50008        # interrupts taken by processor 0 and 1
.set count1, 0x50010
.set nmis, 0x50018
.set stage, 0x50020
.set ICR, APIC+0x300
.set ICR_HIGH, APIC+0x310

.macro clear
    mov qword ptr [count0], 0
    mov qword ptr [count1], 0
.endm
# Waits until a counter reaches `value`, some seconds at most.
.macro await where, value, number
    mov ecx, 400000000
.Lwait\@:
    cmp qword ptr [\where], \value
    je .Lhere\@
    pause
    dec ecx
    jnz .Lwait\@
.Lhere\@:
    expect "qword ptr [\where]", \value, \number
.endm
.macro send high, low
    mov dword ptr [ICR_HIGH], \high
    mov dword ptr [ICR], \low
.endm

on_ipi:
    push rax
    mov eax, [APIC+0x20]
    shr eax, 24
    lock inc qword ptr [count0+rax*8]
    eoi
    pop rax
    iretq
on_x2:
    push rax
    push rcx
    push rdx
    mov ecx, 0x802
    rdmsr
    lock inc qword ptr [count0+rax*8]
    mov ecx, 0x80b
    xor eax, eax
    xor edx, edx
    wrmsr
    pop rdx
    pop rcx
    pop rax
    iretq
on_nmi:
    lock inc qword ptr [nmis]
    iretq

main:
    gate 2, on_nmi
    gate 0x61, on_ipi
    gate 0x62, on_x2
    mov dword ptr [APIC+0xf0], 0x1ff
    mov dword ptr [APIC+0xe0], -1
    mov dword ptr [APIC+0xd0], 0x01000000
    send 1 << 24, 0x4500
    send 1 << 24, 0x4600 + (trampoline - _start + 0x8000) / 4096
    await answer, 1, 1
    sti
    # Physical, to one and to all.
    send 1 << 24, 0x4061
    await count1, 1, 2
    send 0, 0x4061
    await count0, 1, 3
    clear
    send 0xff << 24, 0x4061
    await count0, 1, 4
    await count1, 1, 5
    # Shorthands: self, all, all but self.
    clear
    send 0, 0x44061
    await count0, 1, 6
    send 0, 0x84061
    await count0, 2, 7
    await count1, 1, 8
    send 0, 0xc4061
    await count1, 2, 9
    expect "qword ptr [count0]", 2, 10
    # Logical, flat: each alone, both, neither.
    clear
    send 2 << 24, 0x4861
    await count1, 1, 11
    send 3 << 24, 0x4861
    await count0, 1, 12
    await count1, 2, 13
    send 4 << 24, 0x4861
    # Lowest priority: one of the two takes it.
    clear
    send 3 << 24, 0x4961
    mov ecx, 400000000
1:  mov rax, [count0]
    add rax, [count1]
    jnz 2f
    pause
    dec ecx
    jnz 1b
2:  expect rax, 1, 14
    # Cluster model: the other one takes its new logical address when asked.
    mov qword ptr [stage], 1
    mov dword ptr [APIC+0xe0], 0x0fffffff
    mov dword ptr [APIC+0xd0], 0x21000000
    send 1 << 24, 0x4061            # out of its HLT
    await stage, 2, 15
    clear
    send 0x22 << 24, 0x4861
    await count1, 1, 16
    send 0x23 << 24, 0x4861
    await count0, 1, 17
    await count1, 2, 18
    # TPR holds back what is not above it.
    clear
    mov dword ptr [APIC+0x80], 0x60
    send 0, 0x44061
    nop
    nop
    expect "qword ptr [count0]", 0, 19
    mov dword ptr [APIC+0x80], 0x50
    nop
    expect "qword ptr [count0]", 1, 20
    mov dword ptr [APIC+0x80], 0
    # NMI, by physical, logical, and to all but self; to a halted one with interrupts off.
    mov qword ptr [nmis], 0
    send 1 << 24, 0x4400
    await nmis, 1, 21
    send 0x22 << 24, 0x4c00
    await nmis, 2, 22
    send 0, 0xc4400
    await nmis, 3, 23
    # Two at once: the second one waits.
    send 1 << 24, 0x4400
    send 1 << 24, 0x4400
    await nmis, 5, 32
    # An illegal vector is an error and nothing else.
    mov dword ptr [APIC+0x280], 0
    mov dword ptr [APIC+0x280], 0
    clear
    send 1 << 24, 0x4005
    mov dword ptr [APIC+0x280], 0
    mov eax, [APIC+0x280]
    # KVM's APIC reports no errors: its error status is always 0.
    in al, 0xf9
    test al, 1
    jnz 1f
    mov eax, [APIC+0x280]
    expect rax, 0x20, 24
1:
    # x2APIC, both: physical, logical (cluster 0, bits 0 and 1), self.
    mov eax, 1
    cpuid
    bt ecx, 21
    jnc 3f
    mov qword ptr [stage], 3
    mov ecx, 0x1b
    rdmsr
    or eax, 0x400
    wrmsr
    wrmsr64 0x830, 0x0000000100004061
    await stage, 4, 25
    clear
    wrmsr64 0x830, 0x0000000100004062
    await count1, 1, 26
    wrmsr64 0x830, 0x0000000300004862
    await count1, 2, 27
    await count0, 1, 28
    wrmsr64 0x83f, 0x62
    await count0, 2, 29
    wrmsr64 0x830, 0xffffffff00004062
    await count0, 3, 30
    await count1, 3, 31
    wrmsr64 0x830, 0x00000000000c4062
    await count1, 4, 32
    # INIT and start-up by x2APIC: the other one is at its beginning again.
    mov qword ptr [answer], 0
    wrmsr64 0x830, 0x0000000100004500
    mov ecx, 0x830
    mov eax, 0x4600 + (trampoline - _start + 0x8000) / 4096
    mov edx, 1
    wrmsr
    await answer, 1, 33
3:  finish 1

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
    mov rsp, 0x8c000
    lidt [idt_pointer]
    mov ecx, 0x1b
    rdmsr
    bt eax, 10
    jc 1f                           # INIT keeps the mode
    mov dword ptr [APIC+0xf0], 0x1ff
    mov dword ptr [APIC+0xe0], -1
    mov dword ptr [APIC+0xd0], 0x02000000
1:  mov qword ptr [answer], 1
2:  sti
    hlt
    cli
    cmp qword ptr [stage], 1
    je 3f
    cmp qword ptr [stage], 3
    je 4f
    jmp 2b
3:  mov dword ptr [APIC+0xe0], 0x0fffffff
    mov dword ptr [APIC+0xd0], 0x22000000
    mov qword ptr [stage], 2
    jmp 2b
4:  mov ecx, 0x1b
    rdmsr
    or eax, 0x400
    wrmsr
    mov qword ptr [stage], 4
    jmp 2b
