#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 Triune contributors
# SPDX-License-Identifier: Apache-2.0
"""Boot loaders of the world outside: SeaBIOS and GRUB start Linux from a disk, OVMF comes to its shell."""
import os
import re
import shutil
import struct
import subprocess

from firmware_test import SEABIOS
from harness import POWERED_OFF, Failure, Reader, Test, check, equal
from kernels_test import build

OVMF = "/usr/share/ovmf/OVMF.fd"
GRUB = "/usr/lib/grub/i386-pc"
SECTOR, PARTITION = 512, 2048
GRUB_EARLY = """serial --unit=0 --speed=115200
terminal_input serial
terminal_output serial
set root=(hd0,msdos1)
set prefix=($root)/boot/grub
"""
GRUB_CONFIG = """set timeout=0
menuentry linux {
    linux /boot/vmlinuz console=ttyS0 quiet panic=-1 from=grub
    initrd /boot/initrd
}
"""


def grub_disk(test, script):
    """An MBR disk: GRUB in front of the partition, which holds its configuration, the kernel and an initrd."""
    tree, core, image = test.path("tree"), test.path("core.img"), test.path("grub.img")
    os.makedirs(os.path.join(tree, "boot/grub"))
    shutil.copy(test.kernel, os.path.join(tree, "boot/vmlinuz"))
    shutil.copy(test.initrd_with(script), os.path.join(tree, "boot/initrd"))
    for name, text in (("early.cfg", GRUB_EARLY), ("tree/boot/grub/grub.cfg", GRUB_CONFIG)):
        with open(test.path(name), "w") as f:
            f.write(text)
    build("grub-mkimage", "-O", "i386-pc", "-d", GRUB, "-o", core, "-c", test.path("early.cfg"), "-p", "/boot/grub",
          "biosdisk", "part_msdos", "ext2", "serial", "terminal", "linux", "normal", "configfile")
    partition = test.path("partition")
    with open(partition, "wb") as f:
        f.truncate(48 << 20)
    mke2fs = shutil.which("mke2fs", path=os.environ["PATH"] + ":/sbin:/usr/sbin")
    check(mke2fs, "mke2fs (package e2fsprogs) is missing")
    build(mke2fs, "-q", "-t", "ext2", "-d", tree, partition)
    with open(os.path.join(GRUB, "boot.img"), "rb") as f:
        boot = bytearray(f.read())
    with open(core, "rb") as f:
        loader = bytearray(f.read())
    loader += bytes(-len(loader) % SECTOR)
    check(len(loader) < (PARTITION - 1) * SECTOR, "GRUB does not fit in front of the partition")
    # What grub-install writes: boot.img loads sector 1, whose list of blocks names the rest.
    struct.pack_into("<Q", boot, 0x5c, 1)
    struct.pack_into("<QHH", loader, SECTOR - 12, 2, len(loader) // SECTOR - 1, 0x820)
    boot[440:510] = bytes(70)
    struct.pack_into("<B3sB3sII", boot, 446, 0x80, b"\x20\x21\0", 0x83, b"\xfe\xff\xff", PARTITION,
                     os.path.getsize(partition) // SECTOR)
    with open(image, "wb") as f:
        f.write(boot + loader)
        f.seek(PARTITION * SECTOR)
        with open(partition, "rb") as part:
            shutil.copyfileobj(part, f)
    return image


def grub_starts_linux(test):
    disk = grub_disk(test, "cat /proc/cmdline; ls /sys/block\n")
    result = test.run([test.triune, "run", "--engine", test.options.engine, "--memory", "512M", "--firmware", SEABIOS,
                       "--disk", disk])
    equal(result.status, POWERED_OFF, f"status; output:\n{result.out[-3000:]}")
    check("from=grub" in result.out, f"GRUB's kernel command line is missing:\n{result.out[-3000:]}")
    check(re.search(r"^vda\r?$", result.out, re.M), f"Linux does not see the disk:\n{result.out[-3000:]}")


def uefi_comes_to_its_shell_and_powers_off(test):
    process = subprocess.Popen([test.triune, "run", "--engine", test.options.engine, "--memory", "256M", "--cpus", "2",
                                "--firmware", OVMF], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        reader = Reader(process.stdout.fileno())
        reader.expect(b"UEFI Interactive Shell", test.options.limit)
        reader.expect(b"to skip", test.options.limit)
        process.stdin.write(b" ")
        process.stdin.flush()
        reader.expect(b"Shell>", test.options.limit)
        process.stdin.write(b"\bpci\r")
        process.stdin.flush()
        reader.expect(b"Vendor 8086 Device 1237", test.options.limit)
        reader.expect(b"Shell>", test.options.limit)
        process.stdin.write(b"reset -s\r")
        process.stdin.flush()
        try:
            equal(process.wait(test.options.limit), POWERED_OFF, "status")
        except subprocess.TimeoutExpired:
            raise Failure("OVMF did not power the machine off") from None
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    Test().main(grub_starts_linux, uefi_comes_to_its_shell_and_powers_off)
