#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 Triune contributors
# SPDX-License-Identifier: Apache-2.0
"""Kernels under test: multiboot 1 and 2, flat binaries; debugcon and isa-debug-exit. All of them are
built here with the compiler and binutils."""
import os
import subprocess

from bad_input_test import file, refuse
from harness import ROOT, Test, check, equal

SOURCE = os.path.join(ROOT, "tests/system/kernels")
EXIT = ("--device", "isa-debug-exit")


def build(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    check(done.returncode == 0, f"{' '.join(command)}: {done.stdout.decode()}")


def multiboot(test, name, version, *defines, flat=False):
    path = test.path(name)
    build("gcc", "-m32", "-ffreestanding", "-fno-pic", "-fno-stack-protector", "-fcf-protection=none", "-O1",
          "-mgeneral-regs-only", f"-DVERSION={version}", *defines, "-c", "-o", path + ".o",
          os.path.join(SOURCE, "multiboot.c"))
    words = ["--oformat", "binary"] if flat else []
    build("ld", "-m", "elf_i386", "-T", os.path.join(SOURCE, "multiboot.ld"), "--no-warn-rwx-segments", *words,
          "-o", path, path + ".o")
    return path


def run(test, kernel, *words, status):
    result = test.run([test.triune, "run", "--engine", test.options.engine, "--serial", "none", "--kernel", kernel,
                       *EXIT, *words], limit=60)
    check(result.status == status, f"status {result.status}, wanted {status}; output:\n{result.out}\n{result.err}")
    return result


def facts_are_told(test, kernel, magic):
    """Everything that both versions tell."""
    modules = [file(test, "m1", b"first module's bytes"), file(test, "m2", b"x" * 10000)]
    result = run(test, kernel, "--append", "verbose mode=test", "--memory", "64M", "--device", "debugcon",
                 "--module", modules[0] + ",told, with commas", "--module", modules[1], status=0x2a << 1 | 1)
    out = result.out
    for line in (f"magic is={magic} if=0x0 pe=0x1 pg=0x0 dirty=0x0",
                 f"cmdline={kernel} verbose mode=test\n", "loader=Triune\n", "lower_kb is=0x27f upper=0xfc00\n",
                 "module aligned=0x1 size=0x14 text=told, with commas content=first module's b\n",
                 f"module aligned=0x1 size=0x2710 text={modules[1]} content=xxxxxxxxxxxxxxxx\n",
                 "map base=0x0 size=0x9fc00 type=0x1\n", "map base=0x100000 size=0x3f00000 type=0x1\n"):
        check(line in out, f"{line!r} is missing in:\n{out}")
    return out


def multiboot1(test):
    out = facts_are_told(test, multiboot(test, "mb1", 1, "-DFLAGS=3u"), "0x2badb002")
    check("section .symtab loaded" in out and "section .header loaded" in out, f"ELF sections:\n{out}")


def multiboot1_with_addresses_in_its_header(test):
    facts_are_told(test, multiboot(test, "kludge.bin", 1, "-DKLUDGE", flat=True), "0x2badb002")


def multiboot2(test):
    out = facts_are_told(test, multiboot(test, "mb2", 2), "0x36d76289")
    check("section .symtab loaded" in out and "section .header loaded" in out, f"ELF sections:\n{out}")
    check("rsdp1 R" in out and "rsdp2 revision=0x2 sum=0x0" in out, f"ACPI:\n{out}")
    check("not aligned" not in out, out)


def multiboot_kernels_find_what_a_bios_leaves(test):
    path = test.path("bios")
    build("gcc", "-m32", "-c", "-o", path + ".o", os.path.join(SOURCE, "bios.S"))
    build("ld", "-m", "elf_i386", "-Ttext", "0x8000", "-z", "max-page-size=16", "--no-warn-rwx-segments", "-o", path,
          path + ".o")
    run(test, path, status=0x15 << 1 | 1)


def required_features_that_are_not_there(test):
    base = ["run", "--kernel"]
    refuse(test, "a video mode", [*base, multiboot(test, "video", 1, "-DFLAGS=7u")], "no display")
    refuse(test, "unknown flags", [*base, multiboot(test, "flags", 1, "-DFLAGS=0x8001u")], "0x8000")


def damaged_headers(test):
    for version in (1, 2):
        with open(multiboot(test, f"whole{version}", version, "-DFLAGS=3u"), "rb") as f:
            good = f.read()
        at = good.index(b"\x02\xb0\xad\x1b" if version == 1 else b"\xd6\x50\x52\xe8")
        for name, data in (("sum", good[:at + 9] + b"\xee" + good[at + 10:]), ("cut", good[:at + 14]),
                           ("half", good[:len(good) // 4])):
            name = f"{name}{version}"
            refuse(test, f"{name} of version {version}", ["run", "--kernel", file(test, name, data)], name)
    refuse(test, "missing module", ["run", "--kernel", test.path("whole1"), "--module", test.path("nowhere")], "nowhere")
    refuse(test, "module for Linux", ["run", "--kernel", test.kernel, "--module", test.path("whole1")], "--module")


def flat_binary(test):
    path = test.path("flat.bin")
    build("gcc", "-m32", "-c", "-o", path + ".o", os.path.join(SOURCE, "flat.S"))
    build("ld", "-m", "elf_i386", "--oformat", "binary", "-Ttext", "0", "-e", "start", "-o", path, path + ".o")
    for where, mode, letter in (("0x7c00", 1, "R"), ("0x8f000,real", 1, "R"), ("1M", 2, "P"), ("0x20000,protected", 2, "P"),
                                ("0x200000,long", 3, "L"), ("16M,long", 3, "L")):
        result = run(test, path, "--load", where, "--device", "debugcon", status=mode << 1 | 1)
        equal(result.out, letter, f"--load {where} prints")


def flat_binaries_that_cannot_be_loaded(test):
    base = ["run", "--kernel", test.path("flat.bin"), "--load"]
    file(test, "flat.bin", b"\xf4" * 512)
    for where, named in (("0x100000,real", "real mode"), ("0xa0000", "RAM"), ("4000M", "RAM"), ("0x500,protected", "tables"),
                         ("x", "--load"), ("0x7c00,virtual", "virtual")):
        refuse(test, f"--load {where}", [*base, where], named)
    refuse(test, "an empty image", ["run", "--kernel", file(test, "nothing", b""), "--load", "0x7c00"], "nothing")


def debug_consoles(test):
    """Several of them, each with its port and file."""
    code = b"".join(b"\xba" + port.to_bytes(2, "little") + b"".join(b"\xb0%c\xee" % c for c in text)
                    for port, text in ((0xe9, b"one\n"), (0x402, b"two"), (0x1234, b"three")))
    kernel = file(test, "print.bin", code + b"\xba\x01\x05\xb0\x03\xee\xf4")
    files = [test.path("two.txt"), test.path("three.txt")]
    result = test.run([test.triune, "run", "--engine", test.options.engine, "--serial", "none", "--kernel", kernel,
                       "--load", "0x7c00", "--device", "isa-debug-exit,port=0x501", "--device", "debugcon",
                       "--device", f"debugcon,port=0x402,file={files[0]}",
                       "--device", f"debugcon,file={files[1]},port=0x1234"], limit=60)
    equal((result.status, result.out), (7, "one\n"), "status and standard output")
    for path, text in zip(files, ("two", "three")):
        with open(path) as f:
            equal(f.read(), text, path)


def device_words(test):
    base = ["run", "--kernel", file(test, "k.bin", b"\xf4"), "--load", "0x7c00", "--device"]
    for device, named in (("vga", "vga"), ("isa-debug-exit,iobase=1", "iobase"), ("debugcon,port=99999", "99999"),
                          ("debugcon,port=0x3f8", "0x3f8"), ("debugcon,port=0x20", "0x20"), ("isa-debug-exit,port=0x3e", "0x3e"),
                          ("isa-debug-exit,port=0xffff", "0xffff"), ("debugcon,file=/no/such/file", "/no/such/file")):
        refuse(test, f"--device {device}", [*base, device], named)
    refuse(test, "the same port twice", [*base, "debugcon", "--device", "debugcon"], "0xe9")
    refuse(test, "overlapping ports", [*base, "isa-debug-exit", "--device", "debugcon,port=0xf5"], "0xf5")


def a_halted_kernel_can_be_stopped(test):
    kernel = file(test, "halt.bin", b"\xfa\xf4\xeb\xfd")
    process = subprocess.Popen([test.triune, "run", "--engine", test.options.engine, "--kernel", kernel, "--load", "0x7c00"],
                               stdin=subprocess.DEVNULL)
    try:
        try:
            process.wait(1)
        except subprocess.TimeoutExpired:
            pass
        process.terminate()
        equal(process.wait(20), 143, "status")
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    Test().main(multiboot1, multiboot1_with_addresses_in_its_header, multiboot2, multiboot_kernels_find_what_a_bios_leaves,
                required_features_that_are_not_there,
                damaged_headers, flat_binary, flat_binaries_that_cannot_be_loaded, debug_consoles, device_words,
                a_halted_kernel_can_be_stopped)
