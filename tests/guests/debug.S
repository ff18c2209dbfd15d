# SPDX-FileCopyrightText: 2026 Triune contributors
# SPDX-License-Identifier: Apache-2.0
# Debug registers (Intel SDM 3B 18): instruction, data and I/O breakpoints, general detect, single
# steps over strings, branches and SYSCALL, what MOV SS puts off, INT1.
.include "guest.inc"
long_mode_guest

.set DATA, 0x200000
.set DR7_G0, 2
.set WRITE, 0x10000         # R/W of DR0
.set IO, 0x20000
.set ACCESS, 0x30000
.set LEN2, 0x40000
.set LEN8, 0x80000
.set LEN4, 0xc0000

# r14 counts; r12 = DR6, r10 = the return address, r13 = the pushed flags. DR6 is cleared. An
# instruction breakpoint gets RF, so that the instruction runs. After r9 traps TF is cleared.
on_db:
    push rax
    inc r14
    mov r12, dr6
    mov eax, 0xffff0ff0
    mov dr6, rax
    xor r12, rax
    mov r10, [rsp+8]
    mov r13, [rsp+24]
    cmp qword ptr [rip+want_rf], 0
    je 1f
    or dword ptr [rsp+24], 0x10000
1:  dec r9
    jnz 2f
    and qword ptr [rsp+24], ~0x100
2:  pop rax
    iretq
on_bp:
    inc r15
    mov r8, [rsp]
    iretq
on_ud:
    inc r15
    add qword ptr [rsp], 3      # the length of MOV from DR4
    iretq
on_int:
    inc r15
    iretq

.macro arm address, control
    lea rax, [\address]
    mov dr0, rax
    mov eax, 0x400 + DR7_G0 + \control
    mov dr7, rax
    xor r14d, r14d
    xor r12d, r12d
.endm
.macro disarm
    mov eax, 0x400
    mov dr7, rax
.endm
# One trap, by DR0, with the return address at `label`.
.macro hit label, number
    disarm
    expect r14, 1, \number
    expect r12, 1, \number+1
    lea rax, [rip+\label]
    expect r10, rax, \number+2
.endm
.macro missed number
    disarm
    expect r14, 0, \number
.endm
.macro step_on
    pushfq
    or qword ptr [rsp], 0x100
    popfq
.endm

main:
    gate 1, on_db
    gate 3, on_bp
    gate 6, on_ud
    gate 0x41, on_int
    mov eax, 0xffff0ff0
    mov dr6, rax
    xor r9d, r9d

    # An instruction breakpoint is a fault: nothing has happened yet. RF lets the instruction through.
    mov qword ptr [rip+want_rf], 1
    arm rip+1f, 0
    xor ebx, ebx
1:  inc ebx
    hit 1b, 1
    expect rbx, 1, 4
    and r13d, 0x10000
    expect r13, 0, 5                # the image has RF clear
    mov qword ptr [rip+want_rf], 0
    # RF from IRETQ holds for one instruction.
    arm rip+2f, 0
    mov rax, rsp
    push DS64
    push rax
    pushfq
    or dword ptr [rsp], 0x10000
    push CS64
    lea rax, [rip+2f]
    push rax
    iretq
2:  nop
    missed 6
    pushfq
    pop rax
    and eax, 0x10000
    expect rax, 0, 7

    # Data breakpoints trap after the instruction. Writes:
    arm DATA+4, WRITE+LEN4
    mov eax, [DATA+4]
    mov dword ptr [DATA], 1
    mov dword ptr [DATA+8], 1
    missed 8
    arm DATA+4, WRITE+LEN4
    mov dword ptr [DATA+4], 2
1:  hit 1b, 9
    arm DATA+4, WRITE+LEN4
    mov dword ptr [DATA+1], -1      # the last byte of this store is in it
1:  hit 1b, 12
    arm DATA+4, WRITE
    mov byte ptr [DATA+5], 1
    missed 15
    arm DATA+7, WRITE+LEN4          # the address is taken aligned
    mov byte ptr [DATA+4], 1
1:  hit 1b, 16
    # Reads, with eight bytes.
    arm DATA+0x10, ACCESS+LEN8
    mov al, [DATA+0x17]
1:  hit 1b, 19
    # Read-modify-write, locked; push; across two pages; vectors.
    arm DATA+0x20, WRITE+LEN8
    lock add dword ptr [DATA+0x24], 1
1:  hit 1b, 22
    mov rbx, rsp
    mov rsp, DATA+0x28
    arm DATA+0x20, WRITE+LEN2
    push rax
1:  mov rsp, rbx
    hit 1b, 25
    arm DATA+0x1000, WRITE
    mov qword ptr [DATA+0xffc], 0
1:  hit 1b, 28
    arm DATA+0x40, ACCESS+LEN2
    movups xmm0, [DATA+0x38]
1:  hit 1b, 31
    # One that is not enabled traps nothing.
    arm DATA+0x40, ACCESS+LEN2
    mov eax, 0x400
    mov dr7, rax
    mov byte ptr [DATA+0x40], 1
    missed 34

    # A string instruction stops after the iteration that hits; RF in the image says "in the middle".
    arm DATA+0x103, WRITE
    mov edi, DATA+0x100
    mov ecx, 8
    mov al, 0x5a
    cld
1:  rep stosb
    disarm
    expect r14, 1, 35
    lea rax, [rip+1b]
    expect r10, rax, 36
    and r13d, 0x10000
    expect r13, 0x10000, 37
    expect rcx, 0, 38
    mov rax, 0x5a5a5a5a5a5a5a5a
    expect "qword ptr [DATA+0x100]", rax, 39

    # I/O breakpoints with CR4.DE.
    mov rax, cr4
    or eax, 8
    mov cr4, rax
    arm 0xe8, IO+LEN2
    mov edx, 0xe9
    in al, dx
1:  hit 1b, 40
    arm 0xe8, IO
    in al, dx
    missed 43
    # DR4 exists no more.
    xor r15d, r15d
    .byte 0x0f, 0x21, 0xe0          # mov rax, dr4
    expect r15, 1, 44
    mov rax, cr4
    and eax, ~8
    mov cr4, rax
    .byte 0x0f, 0x21, 0xe0
    expect r15, 1, 45

    # MOV SS puts a data breakpoint off to the next instruction's end. The instruction breakpoint on that is
    # lost on Intel's processors, and taken on AMD's.
    mov word ptr [DATA+0x80], DS64
    arm DATA+0x80, ACCESS
    mov ss, [DATA+0x80]
    nop
1:  hit 1b, 46
    mov qword ptr [rip+want_rf], 1
    arm rip+1f, 0
    mov ecx, DS64
    mov ss, ecx
1:  nop
    disarm
    mov qword ptr [rip+want_rf], 0
    xor eax, eax
    cpuid
    xor edx, edx
    cmp ecx, 0x444d4163             # "cAMD"
    sete dl
    expect r14, rdx, 49
    # With INT3 after it, #DB comes in INT3's handler.
    arm DATA+0x80, ACCESS
    xor r15d, r15d
    mov ss, [DATA+0x80]
    int3
    hit on_bp, 50
    expect r15, 1, 53

    # General detect: MOV to a debug register is a fault, and clears GD.
    xor r14d, r14d
    mov eax, 0x2400
    mov dr7, rax
1:  mov rbx, dr3
    expect r14, 1, 54
    expect r12, 0x2000, 55
    lea rax, [rip+1b]
    expect r10, rax, 56
    mov rax, dr7
    expect rax, 0x400, 57

    # INT1 traps without a word in DR6.
    xor r14d, r14d
    .byte 0xf1
1:  expect r14, 1, 58
    expect r12, 0, 59
    lea rax, [rip+1b]
    expect r10, rax, 60

    # Single steps: each iteration of a string instruction is one, MOV SS takes its own away.
    xor r14d, r14d
    mov r9d, 6
    mov edi, DATA+0x100
    mov ecx, 5
    mov ebx, DS64
    step_on
    rep stosb
    nop
    expect r14, 6, 61
    expect r12, 0x4000, 62
    xor r14d, r14d
    mov r9d, 3
    step_on
    nop
    mov ss, ebx
    nop
    nop
1:  expect r14, 3, 63
    lea rax, [rip+1b]
    expect r10, rax, 64
    # INT n is no step; its handler runs with TF clear, the step comes after the return's successor.
    xor r14d, r14d
    xor r15d, r15d
    mov r9d, 1
    step_on
    int 0x41
    nop
1:  expect r14, 1, 65
    expect r15, 1, 66
    lea rax, [rip+1b]
    expect r10, rax, 67
    # POPF that clears TF is followed by a last step.
    xor r14d, r14d
    mov r9d, -1
    pushfq
    step_on
    popfq
    nop
    expect r14, 1, 68
    # Branch steps.
    xor r14d, r14d
    mov r9d, 1
    wrmsr64 0x1d9, 2
    step_on
    nop
    xor eax, eax
    jnz 9f
    jz 1f
    nop
1:  nop
    expect r14, 1, 69
    expect r12, 0x4000, 70
    lea rax, [rip+1b]
    expect r10, rax, 71
    mov ecx, 0x1d9
    rdmsr
    expect rax, 0, 72               # the trap has cleared BTF

    # SYSCALL with TF in SFMASK is no step; SYSRET is one, as if SYSCALL had just been done.
    wrmsr64 0xc0000081, 0x0028001800000000
    lea rax, [rip+entry]
    mov rdx, rax
    shr rdx, 32
    mov ecx, 0xc0000082
    wrmsr
    wrmsr64 0xc0000084, 0x100
    mov [rip+kernel_rsp], rsp
    push USER_DS
    push 0x88000
    push 0x102
    push USER_CS
    lea rax, [rip+user]
    push rax
    xor r14d, r14d
    xor ebp, ebp
    iretq
user:                               # single-stepping from the second instruction on
    nop
    syscall
    nop
    mov ebp, 1
    mov ebp, 2
    syscall
entry:
    inc qword ptr [rip+entries]
    cmp qword ptr [rip+entries], 2
    je 1f
    expect r14, 1, 73               # the NOP alone
    mov r9d, 3
    sysretq
1:  mov rsp, [rip+kernel_rsp]
    expect r14, 4, 74               # SYSRET, NOP and the first MOV, whose handler cleared TF
    expect rbp, 2, 75
    finish 1
9:  finish 0x1fe

.align 8
want_rf: .quad 0
kernel_rsp: .quad 0
entries: .quad 0
