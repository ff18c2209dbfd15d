# SPDX-FileCopyrightText: 2026 Triune contributors
# SPDX-License-Identifier: Apache-2.0
# x87, SSE and AVX state: computed with, saved and restored, and untouched by interrupts that come
# at any moment.
.include "guest.inc"
long_mode_guest

on_timer:
    inc r14
    eoi
    iretq

main:
    gate 0x31, on_timer
    xor r14, r14
    mov dword ptr [APIC+0xf0], 0x1ff
    mov dword ptr [APIC+0x3e0], 0xb
    mov dword ptr [APIC+0x320], 0x20031
    mov dword ptr [APIC+0x380], 100000
    sti
    # The harmonic sum in x87, SSE scalar and SSE packed agree.
    fninit
    fldz
    mov ecx, 200000
    mov [0x200000], ecx
1:  fld1
    fild dword ptr [0x200000]
    fdivp
    faddp
    dec dword ptr [0x200000]
    jnz 1b
    fstp qword ptr [0x200008]
    pxor xmm0, xmm0
    mov eax, 1
    cvtsi2sd xmm2, rax
    mov ecx, 200000
2:  cvtsi2sd xmm1, rcx
    movapd xmm3, xmm2
    divsd xmm3, xmm1
    addsd xmm0, xmm3
    dec ecx
    jnz 2b
    movsd xmm1, [0x200008]
    subsd xmm1, xmm0
    mulsd xmm1, xmm1
    mov rax, 0x3d00000000000000             # about 7e-15
    movq xmm2, rax
    ucomisd xmm1, xmm2
    expect_cc b, 1
    # Integer SSE.
    movdqu xmm0, [rip+bytes]
    movdqa xmm1, xmm0
    paddb xmm1, xmm1
    psadbw xmm1, [rip+zeros]
    movq rax, xmm1
    expect rax, 72, 2
    pshufd xmm2, xmm0, 0x1b
    movd eax, xmm2
    expect rax, 0x100f0e0d, 3
4:  cmp r14, 1                              # at least one interrupt comes
    jb 4b
    # FXSAVE and FXRSTOR.
    fninit
    fldpi
    fxsave [0x201000]
    fninit
    pxor xmm0, xmm0
    fxrstor [0x201000]
    movq rax, xmm0
    mov rbx, 0x0807060504030201
    expect rax, rbx, 5
    fstp qword ptr [0x200000]
    mov rax, 0x400921fb54442d18
    expect "qword ptr [0x200000]", rax, 6
    # MMX aliases x87.
    movq mm0, [rip+bytes]
    paddb mm0, mm0
    movq rax, mm0
    mov rbx, 0x100e0c0a08060402
    expect rax, rbx, 7
    emms
    # AVX where there is.
    mov eax, 1
    cpuid
    bt ecx, 28
    jnc no_avx
    bt ecx, 26
    jnc no_avx
    mov rax, cr4
    bts rax, 18
    mov cr4, rax
    xor ecx, ecx
    mov eax, 7
    xor edx, edx
    xsetbv
    mov eax, 1
    cpuid
    bt ecx, 27
    expect_cc c, 8                          # OSXSAVE follows CR4
    vmovups ymm0, [rip+floats]
    vaddps ymm1, ymm0, ymm0
    vextractf128 xmm2, ymm1, 1
    vcvttss2si eax, xmm2
    expect rax, 10, 9
    # Survives a while of timer interrupts.
    mov rbx, r14
    add rbx, 5
3:  cmp r14, rbx
    jb 3b
    vextractf128 xmm2, ymm1, 1
    vcvttss2si eax, xmm2
    expect rax, 10, 10
    # XSAVE, lose it, XRSTOR.
    mov eax, 7
    xor edx, edx
    mov edi, 0x202000
    xsave [rdi]
    vzeroall
    mov eax, 7
    xrstor [rdi]
    vextractf128 xmm2, ymm1, 1
    vcvttss2si eax, xmm2
    expect rax, 10, 11
    mov rax, [rdi+512]
    and eax, 4
    expect rax, 4, 12
    # SSE leaves the upper halves alone, VEX clears them.
    movaps xmm1, xmm0
    vextractf128 xmm2, ymm1, 1
    vcvttss2si eax, xmm2
    expect rax, 10, 13
    vmovaps xmm1, xmm0
    vextractf128 xmm2, ymm1, 1
    vcvttss2si eax, xmm2
    expect rax, 0, 14
    # Without XCR0's AVX bit a VEX instruction is undefined.
    gate 6, on_ud
    xor ecx, ecx
    mov eax, 3
    xor edx, edx
    xsetbv
    lea r11, [rip+4f]
    xor r12, r12
    vaddps ymm1, ymm0, ymm0
4:  expect r12, 6, 15
no_avx:
    finish 1

on_ud:
    mov r12d, 6
    mov [rsp], r11
    iretq

.align 16
zeros:  .quad 0, 0
bytes:  .byte 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16
floats: .float 1, 2, 3, 4, 5, 6, 7, 8
