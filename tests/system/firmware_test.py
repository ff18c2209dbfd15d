#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 Triune contributors
# SPDX-License-Identifier: Apache-2.0
"""Machines that start in a ROM: one that checks its mapping and shadowing, and SeaBIOS."""
import os

from bad_input_test import file, refuse
from harness import ROOT, Failure, Test, check, equal
from kernels_test import build

SEABIOS = "/usr/share/seabios/bios-256k.bin"


def rom(test):
    path = test.path("rom.bin")
    build("as", "--32", "-o", path + ".o", os.path.join(ROOT, "tests/system/kernels/rom.S"))
    build("ld", "-m", "elf_i386", "--oformat", "binary", "-Ttext", "0", "-e", "0", "-o", path, path + ".o")
    equal(os.path.getsize(path), 0x10000, "size of the ROM")
    return path


def run(test, firmware, *words, status, limit=120):
    result = test.run([test.triune, "run", "--engine", test.options.engine, "--firmware", firmware, "--device",
                       "isa-debug-exit", *words], limit=limit)
    check(result.status == status, f"status {result.status}, wanted {status}; output:\n{result.out}\n{result.err}")
    return result


def rom_is_mapped_and_shadowed(test):
    for cpus in ("1", "2"):
        result = run(test, rom(test), "--serial", "none", "--device", "debugcon", "--cpus", cpus, status=3)
        equal(result.out, "SLWHCRMPB", f"steps with {cpus} CPUs")


def seabios_finds_nothing_to_boot(test):
    log = test.path("seabios.log")
    try:
        test.run([test.triune, "run", "--engine", test.options.engine, "--firmware", SEABIOS, "--cpus", "2", "--device",
                  f"debugcon,port=0x402,file={log}"], limit=40)
    except Failure as ended_by_limit:
        check("No bootable device" in str(ended_by_limit), f"SeaBIOS on the serial line: {ended_by_limit}")
    with open(log) as f:
        text = f.read()
    for line in ("SeaBIOS (version", "Running on QEMU (i440fx)", "Found 2 cpu(s) max supported 2 cpu(s)"):
        check(line in text, f"{line!r} is missing in SeaBIOS' log:\n{text[-3000:]}")


def seabios_boots_a_disk(test):
    """A boot sector on a virtio disk prints through the BIOS, reads the next sector, and ends the VM."""
    source = test.path("mbr.S")
    with open(source, "w") as f:
        f.write(r'''
    .code16
    xor %ax, %ax
    mov %ax, %ds
    mov %ax, %es
    mov $0x201, %ax
    mov $2, %cx
    mov $0, %dh
    mov $0x8000, %bx
    int $0x13
    jc 2f
    mov $0x8000, %si
1:  lodsb
    test %al, %al
    jz 2f
    mov $0xe, %ah
    mov $7, %bx
    int $0x10
    jmp 1b
2:  mov $0x21, %al
    out %al, $0xf4
    .org 510
    .word 0xaa55
''')
    build("as", "--32", "-o", source + ".o", source)
    build("ld", "-m", "elf_i386", "--oformat", "binary", "-Ttext", "0x7c00", "-e", "0", "-o", source + ".bin", source + ".o")
    with open(source + ".bin", "rb") as f:
        disk = file(test, "boot.img", f.read() + b"read from the second sector\r\n".ljust(512, b"\0") + bytes(1 << 20))
    result = run(test, SEABIOS, "--disk", disk, status=0x43)
    # The BIOS holds the last characters back for a moment.
    check("read from the second s" in result.out, f"the serial line says:\n{result.out}")


def bad_firmware(test):
    for name, size in (("small.rom", 0x8000), ("odd.rom", 0x18001), ("large.rom", 17 << 20), ("empty.rom", 0)):
        path = test.path(name)
        with open(path, "wb") as f:
            f.truncate(size)
        refuse(test, name, ["run", "--firmware", path], name)
    refuse(test, "missing firmware", ["run", "--firmware", test.path("absent")], "absent")
    refuse(test, "a folder", ["run", "--firmware", test.scratch], test.scratch)
    refuse(test, "firmware and kernel", ["run", "--firmware", "a", "--kernel", "b"], "--firmware")


if __name__ == "__main__":
    Test().main(rom_is_mapped_and_shadowed, bad_firmware, seabios_finds_nothing_to_boot, seabios_boots_a_disk)
