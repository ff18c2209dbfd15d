# SPDX-FileCopyrightText: 2026 Triune contributors
# SPDX-License-Identifier: Apache-2.0
# Paging outside long mode (Intel SDM 3A 4.3, 4.4): 32-bit with PSE and PSE-36, PAE with its PDPTEs,
# reserved bits, write protection, user rights, CR2 and error codes.
.include "guest32.inc"
protected_guest

.set PD, 0x40000
.set PT, 0x41000
.set PDPT, 0x42000          # and a second one at +0x20
.set PAE_PD, 0x43000
.set PAE_PT, 0x44000
.set V, 0x00800000

.macro fault error, address, number
    raised 14, \error, \number
    mov eax, cr2
    expect eax, \address, \number+2
.endm
.macro flush
    mov eax, cr3
    mov cr3, eax
.endm
.macro cr reg, set, clear
    mov eax, \reg
    or eax, \set
    and eax, ~(\clear)
    mov \reg, eax
.endm

main:
    mov edi, PD
    mov ecx, 0x6000/4
    xor eax, eax
    rep stosd
    # 4 KiB pages alone: PS in a PDE means nothing while CR4.PSE is 0.
    mov dword ptr [PD], PT+7
    mov dword ptr [PD+12], PT+0x87
    xor ebx, ebx
    mov edi, PT
    mov ecx, 1024
    mov eax, 7
1:  stosd
    add eax, 0x1000
    loop 1b
    mov eax, PD
    mov cr3, eax
    cr cr0, 0x80010000, 0
    mov dword ptr [0x200010], 0x5a
    expect "dword ptr [0xe00010]", 0x5a, 60
    # With PSE a 4 MiB page; PSE-36 puts it above 4 GiB, where there is nothing.
    mov dword ptr [PD+8], 0x00000087
    cr cr4, 0x10, 0
    expect "dword ptr [V+0x200010]", 0x5a, 1
    mov eax, [PD+8]
    and eax, 0x60
    expect eax, 0x20, 2             # accessed, not dirty
    mov byte ptr [V+0x200010], 0x5b
    mov eax, [PD+8]
    and eax, 0x60
    expect eax, 0x60, 3
    mov dword ptr [PD+8], 0x00002087
    flush
    expect "dword ptr [V+0x200010]", -1, 4
    mov dword ptr [PD+8], 0x00200087        # bit 21 is reserved
    flush
    try 1f
    mov al, [V+0x123]
1:  fault 9, V+0x123, 5
    # The image on a 4 MiB page, rights tried with 4 KiB pages at V.
    mov dword ptr [PD], 0x87
    mov dword ptr [PD+8], PT+7
    mov dword ptr [PT], 0x300001            # supervisor, read-only
    mov dword ptr [PT+4], 0x301005          # user, read-only
    mov dword ptr [PT+8], 0x302003          # supervisor
    mov dword ptr [PT+12], 0
    flush
    try 1f
    mov byte ptr [V+1], 0
1:  fault 3, V+1, 8
    cr cr0, 0, 0x10000                      # WP
    mov byte ptr [V+1], 0x77
    cr cr0, 0x10000, 0
    expect "dword ptr [0x300000]", 0x7700, 11
    try 1f
    mov byte ptr [V+1], 0
1:  fault 3, V+1, 12
    try 1f
    to_user u_read
1:  fault 5, V, 15
    try 1f
    to_user u_write
1:  fault 7, V+0x1000, 18
    cr cr0, 0, 0x10000
    try 1f
    to_user u_write
1:  fault 7, V+0x1000, 21                   # WP is for supervisors
    cr cr0, 0x10000, 0
    try 1f
    to_user u_absent
1:  fault 6, V+0x3000, 24
    # A fetch has no bit of its own without NX and SMEP.
    try 1f
    to_user V
1:  fault 5, V, 27
    # Across two pages: CR2 is where the second begins.
    try 1f
    mov [V+0x2ffe], eax
1:  fault 2, V+0x3000, 30

    # PAE. The four PDPTEs are read with CR3 and kept.
    cr cr0, 0, 0x80000000
    mov dword ptr [PDPT], PAE_PD+1
    mov dword ptr [PAE_PD], 0x87
    mov dword ptr [PAE_PD+8], 0x200087
    mov dword ptr [PAE_PD+16], PAE_PT+7
    mov dword ptr [PAE_PT], 0x300007
    mov dword ptr [PDPT+8], PAE_PD+3        # bit 1 is reserved
    mov eax, PDPT
    mov cr3, eax                            # not yet
    cr cr4, 0x20, 0
    try 1f
    cr cr0, 0x80000000, 0
1:  raised 13, 0, 33
    mov eax, cr0
    and eax, 0x80000000
    expect eax, 0, 35
    mov dword ptr [PDPT+8], PAE_PD+1
    cr cr0, 0x80000000, 0
    mov ebx, [0x300000]
    expect "dword ptr [0x40400000]", ebx, 36
    mov dword ptr [PDPT+0x20], PAE_PD+1
    mov dword ptr [PDPT+0x28], 1
    mov dword ptr [PDPT+0x2c], 0x80000000
    try 1f
    mov eax, PDPT+0x20
    mov cr3, eax
1:  raised 13, 0, 37
    mov eax, cr3
    expect eax, PDPT, 39
    mov dword ptr [PDPT+8], 0               # not seen until CR3 is loaded
    invlpg [0x40400000]
    mov eax, [0x40400000]
    flush
    try 1f
    mov eax, [0x40400000]
1:  fault 0, 0x40400000, 40
    # Reserved: bit 63 without NXE, 52 to 62, the low address bits of a large page.
    mov dword ptr [PAE_PT+4], 0x80000000
    flush
    try 1f
    mov al, [0x400000]
1:  fault 9, 0x400000, 43
    mov dword ptr [PAE_PT+4], 0x00100000
    flush
    try 1f
    to_user u_pae
1:  fault 15, 0x400000, 46                  # a user's write
    mov dword ptr [PAE_PT+4], 0
    mov dword ptr [PAE_PD+8], 0x202087
    flush
    try 1f
    mov al, [0x200000]
1:  fault 9, 0x200000, 49
    mov dword ptr [PAE_PD+8], 0x200087
    # NX: only with EFER.NXE.
    mov ecx, 0xc0000080
    rdmsr
    or eax, 0x800
    wrmsr
    mov dword ptr [PAE_PT+4], 0x80000000
    mov byte ptr [0x300000], 0xc3
    flush
    mov al, [0x400000]
    try 1f
    mov eax, 0x400000
    call eax
1:  fault 0x11, 0x400000, 52
    # SMEP's fetch of a user page.
    mov dword ptr [PAE_PT+4], 0
    flush
    mov eax, 7
    xor ecx, ecx
    cpuid
    bt ebx, 7
    jnc 2f
    # The image lies on a user page: run it as the supervisor's.
    mov dword ptr [PAE_PD], 0x83
    flush
    cr cr4, 0x100000, 0
    try 1f
    mov eax, 0x400000
    call eax
1:  fault 0x11, 0x400000, 55
    cr cr4, 0, 0x100000
2:  # INVLPG of one page leaves others; without paging linear is physical again.
    cr cr0, 0, 0x80000000
    expect "dword ptr [0x200010]", 0x5b, 58
    finish 1

u_read: mov al, ss:[V]
u_write: mov ss:[V+0x1000], al
u_absent: mov ss:[V+0x3000], al
u_pae: mov ss:[0x400000], al

gdt_start
tables_end
tss_end:
