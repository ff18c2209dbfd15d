# SPDX-FileCopyrightText: 2026 Triune contributors
# SPDX-License-Identifier: Apache-2.0
# Exceptions: their vectors, error codes and return addresses, #DF on an IST stack, single steps,
# breakpoints, NMI and its blocking.
.include "guest.inc"
long_mode_guest

# Notes vector and error code and goes on at r11. r14 counts.
.macro note vector, has_error
    mov r12d, \vector
    .if \has_error
    pop r13
    .endif
    mov r10, [rsp]
    inc r14
    mov [rsp], r11
    iretq
.endm
on_de: note 0, 0
on_bp: note 3, 0
on_ud: note 6, 0
on_nm: note 7, 0
on_gp: note 13, 1
on_ss: note 12, 1
on_np: note 11, 1
on_ac: note 17, 1
on_mf: note 16, 0
on_xm: note 19, 0
on_df:
    mov r15, rsp
    pop r13
    mov r12d, 8
    inc r14
    mov rsp, 0x90000
    jmp r11
on_db:
    mov r12d, 1
    inc r14
    mov rax, dr6
    mov [rip+dr6_seen], rax
    mov r10, [rsp]
    cmp r9, 0
    je 1f
    dec r9
    jnz 1f
    and qword ptr [rsp+16], ~0x100
1:  iretq
on_nmi:
    inc r8
    cmp r8, 1
    jne 1f
    # A second NMI waits for this one's IRET.
    mov dword ptr [APIC+0x300], 0x4400
    nop
    nop
    mov rax, r8
    mov [rip+nmi_seen], rax
1:  iretq

.macro raises vector, number
    expect r12, \vector, \number
    expect r10, r11, \number
.endm

# A near branch to RAX, which is not canonical, faults where it is: RIP is its own, RSP is as
# it was (Intel SDM 2A, CALL, JMP; 2B, RET).
.macro faults_at_branch number, pushed, branch:vararg
    lea r11, [rip+8f]
    mov r12, 0
    mov r10, 0
    .if \pushed
    push rax
    .endif
    mov rbx, rsp
7:  \branch
8:  expect r12, 13, \number
    lea rdx, [rip+7b]
    expect r10, rdx, \number
    expect rsp, rbx, \number
    .if \pushed
    pop rdx
    expect rdx, rax, \number
    .endif
.endm
.macro branches_out
    mov [rip+pointer], rax
    faults_at_branch 40, 1, ret
    faults_at_branch 41, 1, ret 8
    faults_at_branch 42, 1, .byte 0xf3, 0xc3        # REP RET
    faults_at_branch 43, 0, jmp rax
    faults_at_branch 44, 0, jmp [rip+pointer]
    faults_at_branch 45, 0, call rax
    faults_at_branch 46, 0, call [rip+pointer]
    # The same instructions, after they have gone to good places.
    mov ebp, 20
    lea rcx, [rip+4f]
    jmp 2f
4:  ret
2:  mov rsi, rcx
    cmp ebp, 1
    cmove rsi, rax
    mov [rip+pointer], rsi
    lea r11, [rip+6f]
    mov r10, 0
    mov rbx, rsp
5:  call [rip+pointer]
6:  expect rsp, rbx, 47
    dec ebp
    jnz 2b
    lea rdx, [rip+5b]
    expect r10, rdx, 48
    mov ebp, 20
2:  lea rsi, [rip+6f]
    cmp ebp, 1
    cmove rsi, rax
    lea r11, [rip+6f]
    mov r10, 0
    mov rbx, rsp
    push rsi
    lea rdi, [rip+5f]
    jmp rdi
5:  ret
6:  dec ebp
    jnz 2b
    lea rdx, [rip+5b]
    expect r10, rdx, 49
    pop rdx
    expect rsp, rbx, 50
    expect rdx, rax, 51
.endm

main:
    gate 0, on_de
    gate 1, on_db
    gate 2, on_nmi
    gate 3, on_bp
    gate 6, on_ud
    gate 7, on_nm
    gate 8, on_df
    gate 11, on_np
    gate 12, on_ss
    gate 13, on_gp
    gate 16, on_mf
    gate 17, on_ac
    gate 19, on_xm
    mov byte ptr [IDT+8*16+4], 1            # #DF on IST 1
    xor r14, r14

    # Division, by zero and too large. The faulting RIP is that of the instruction.
    lea r11, [rip+1f]
    xor ecx, ecx
    lea rbx, [rip+2f]
2:  div ecx
1:  expect r12, 0, 1
    expect r10, rbx, 2
    lea r11, [rip+1f]
    mov edx, 1
    mov ecx, 1
    mov r12, -1
    div ecx
1:  expect r12, 0, 3
    lea r11, [rip+1f]
    mov rax, 0x8000000000000000
    cqo
    mov rcx, -1
    mov r12, -1
    idiv rcx
1:  expect r12, 0, 4
    # Undefined instructions.
    lea r11, [rip+1f]
    ud2
1:  expect r12, 6, 5
    lea r11, [rip+1f]
    mov r12, 0
    .byte 0x06                              # PUSH ES is none in 64-bit mode
1:  expect r12, 6, 6
    lea r11, [rip+1f]
    mov r12, 0
    .byte 0xf0, 0x90                        # LOCK NOP
1:  expect r12, 6, 7
    # INT3 traps: the return address is the next instruction.
    lea r11, [rip+1f]
    int3
1:  raises 3, 8
    # #GP: not canonical, MSR, segment load, IDT limit.
    lea r11, [rip+1f]
    mov rax, 0x0000800000000000
    mov r13, -1
    mov al, [rax]
1:  expect r12, 13, 9
    expect r13, 0, 10
    lea r11, [rip+1f]
    mov r12, 0
    mov rbp, 0x0000800000000000
    mov rax, [rbp]
1:  expect r12, 12, 11                      # through SS: #SS
    lea r11, [rip+1f]
    mov ecx, 0x12345678
    rdmsr
1:  expect r12, 13, 12
    lea r11, [rip+1f]
    mov ax, 0x7f8
    mov ds, ax
1:  expect r12, 13, 13
    expect r13, 0x7f8, 14
    lea r11, [rip+1f]
    mov rax, cr4
    bts rax, 63
    mov r12, 0
    mov cr4, rax
1:  expect r12, 13, 15
    lea r11, [rip+1f]
    mov rax, 0x0000900000000000
    mov r12, 0
    push rax
    ret
1:  expect r12, 13, 16
    add rsp, 8
    branches_out
    # A gate that is not present.
    mov byte ptr [IDT+0x60*16+5], 0x6e
    lea r11, [rip+1f]
    int 0x60
1:  expect r12, 11, 17
    expect r13, 0x302, 18
    # #NM for SSE and x87 while CR0.TS is set.
    mov rax, cr0
    or eax, 8
    mov cr0, rax
    lea r11, [rip+1f]
    mov r12, 0
    movaps xmm0, xmm1
1:  expect r12, 7, 19
    lea r11, [rip+1f]
    mov r12, 0
    fld1
1:  expect r12, 7, 20
    clts
    fninit
    # #XM: an unmasked division by zero. MOVAPS on a misaligned operand.
    push 0x1d80
    ldmxcsr [rsp]
    mov eax, 0x3f800000
    movd xmm0, eax
    pxor xmm1, xmm1
    lea r11, [rip+1f]
    divss xmm0, xmm1
1:  expect r12, 19, 21
    stmxcsr [rsp]
    mov rax, [rsp]
    and eax, 4
    expect rax, 4, 22
    mov dword ptr [rsp], 0x1f80
    ldmxcsr [rsp]
    add rsp, 8
    lea r11, [rip+1f]
    mov r12, 0
    movaps xmm0, [0x200001]
1:  expect r12, 13, 23
    # #MF: unmasked, at the next waiting x87 instruction.
    push 0x37b
    fldcw [rsp]
    fld1
    fldz
    fdivp
    lea r11, [rip+1f]
    mov r12, 0
    fwait
1:  expect r12, 16, 24
    fninit
    pop rax

    # A fault while #PF is delivered is #DF, on its own stack.
    mov byte ptr [IDT+14*16+5], 0           # #PF has no gate
    lea r11, [rip+1f]
    mov rsp, 0x90000
    mov r14, 0
    mov rax, 0x40000000
    mov al, [rax]
1:  expect r12, 8, 25
    expect r13, 0, 26
    expect r14, 1, 27
    mov eax, 0x98000 - 48
    expect r15, rax, 28

    # Single steps: one trap after each instruction, the last clears TF.
    mov r9, 4
    mov r14, 0
    pushfq
    or qword ptr [rsp], 0x100
    popfq                                   # no trap after this one
    nop
    mov eax, 1
    inc eax
    dec eax
    nop
    expect r14, 4, 29
    mov rax, [rip+dr6_seen]
    and eax, 0x4000
    expect rax, 0x4000, 30
    mov eax, 0xffff0ff0
    mov dr6, rax

    # NMI: delivered with IF 0; another waits for IRET.
    xor r8, r8
    mov dword ptr [APIC+0xf0], 0x1ff
    mov dword ptr [APIC+0x310], 0
    mov dword ptr [APIC+0x300], 0x4400
    nop
    nop
    nop
    expect "qword ptr [rip+nmi_seen]", 1, 31
    mov ecx, 1000000
1:  cmp r8, 2
    je 2f
    dec ecx
    jnz 1b
2:  expect r8, 2, 32
    finish 1

.align 8
dr6_seen: .quad 0
nmi_seen: .quad 0
pointer: .quad 0
