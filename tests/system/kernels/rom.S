// SPDX-FileCopyrightText: 2026 Triune contributors
// SPDX-License-Identifier: Apache-2.0
//
// A ROM of 64 KB that checks what hardware promises firmware: where it is mapped, that it cannot be
// written, and the shadowing of the BIOS area by the PAM registers. Prints a letter for each step that
// went well on port 0xe9 and ends through isa-debug-exit with 1, or with 2 where one did not.
    .code16
    .org 0
marker: .ascii "MARK"

    .macro pass letter
    mov $\letter, %al
    out %al, $0xe9
    .endm

    .org 0x8000
begin:
    cli
    pass 'S'                      # at the reset vector, by way of a far jump to F000
    xor %ax, %ax
    mov %ax, %ss
    mov $0x7000, %sp
    mov $0xf000, %ax
    mov %ax, %ds
    mov %ax, %es
    cmpl $0x4b52414d, marker    # "MARK"
    jne bad
    pass 'L'                      # the copy below 1 MB
    movb $'X', marker
    cmpb $'M', marker
    jne bad
    pass 'W'                      # writes are ignored
    mov $0xe000, %ax
    mov %ax, %fs
    cmpl $0xffffffff, %fs:0
    jne bad
    pass 'H'                      # nothing in front of a small ROM
    mov $0x20, %al              # RAM behind, ROM seen
    call pam0
    cmpl $0x4b52414d, marker
    jne bad
    xor %si, %si
    xor %di, %di
    mov $0x4000, %cx
    cld
    rep movsl                   # the ROM onto itself, into the RAM behind
    movb $'s', marker
    cmpb $'M', marker
    jne bad
    pass 'C'
    mov $0x30, %al
    call pam0
    cmpb $'s', marker
    jne bad
    pass 'R'                      # RAM is seen, and code goes on in it
    movb $'t', marker
    cmpb $'t', marker
    jne bad
    movb $0x90, patched         # code in the shadow can be changed
    call patched
    pass 'M'
    mov $0x10, %al
    call pam0
    movb $'u', marker
    cmpb $'t', marker
    jne bad
    pass 'P'                      # write-protected RAM
    xor %al, %al
    call pam0
    cmpb $'M', marker
    jne bad
    pass 'B'                      # and the ROM again
    mov $1, %al
    out %al, $0xf4
bad:
    mov $2, %al
    out %al, $0xf4
    hlt

patched:
    hlt                         # becomes a nop
    ret

/// Writes AL to the register PAM0, 0x59 of the host bridge.
pam0:
    push %ax
    mov $0x80000058, %eax
    mov $0xcf8, %dx
    out %eax, %dx
    pop %ax
    mov $0xcfd, %dx
    out %al, %dx
    ret

    .org 0xfff0
reset:
    ljmp $0xf000, $begin
    .org 0xffff
    .byte 0
