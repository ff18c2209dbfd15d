# SPDX-FileCopyrightText: 2026 Triune contributors
# SPDX-License-Identifier: Apache-2.0
# The way of a multiboot 1 kernel into 64-bit mode with its first GB mapped one to one.
.intel_syntax noprefix
.section .header, "a"
.balign 4
.long 0x1badb002, 0, -0x1badb002

.text
.code32
.globl start, enabling, long_mode
start:
    mov esp, offset stack_top
    mov eax, offset pdpt + 3
    mov [pml4], eax
    mov eax, offset directory + 3
    mov [pdpt], eax
    xor ecx, ecx
1:  mov eax, ecx
    shl eax, 21
    or eax, 0x83
    mov [directory + ecx * 8], eax
    inc ecx
    cmp ecx, 512
    jne 1b
enabling:
    mov eax, offset pml4
    mov cr3, eax
    mov eax, 0x620                  # PAE, OSFXSR, OSXMMEXCPT
    mov cr4, eax
    mov ecx, 0xc0000080
    rdmsr
    or eax, 0x100                   # LME
    wrmsr
    mov eax, cr0
    or eax, 0x80000000
    mov cr0, eax
    lgdt [gdt_pointer]
    .byte 0xea                      # JMP FAR
    .long long_mode
    .word 8
.code64
long_mode:
    mov eax, 16
    mov ds, eax
    mov es, eax
    mov ss, eax
    mov rsp, offset stack_top
    xor ebp, ebp
    call main
    hlt

.balign 8
gdt: .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff
gdt_pointer: .word 23
    .long gdt
.bss
.balign 4096
pml4: .skip 4096
pdpt: .skip 4096
directory: .skip 4096
.skip 16384
stack_top:
.section .note.GNU-stack, "", @progbits
