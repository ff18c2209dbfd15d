#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 Triune contributors
# SPDX-License-Identifier: Apache-2.0
"""Input that cannot be used: one clear line on stderr, status 2, no crash, nothing lost."""
import os
import subprocess

import harness
from harness import Reader, Test, check, equal


def refuse(test, what, words, named):
    """Triune must end by itself with status 2 and one line that contains `named`."""
    result = test.run([test.triune, *words], limit=20)
    check(result.status == harness.BAD_USAGE, f"{what}: status {result.status}, stderr {result.err!r}")
    lines = result.err.splitlines()
    check(len(lines) == 1 and lines[0].startswith("triune: "), f"{what}: stderr {result.err!r}")
    check(named in lines[0], f"{what}: stderr {result.err!r} does not name {named!r}")
    equal(result.out, "", f"{what}: stdout")


def file(test, name, data):
    path = test.path(name)
    with open(path, "wb") as f:
        f.write(data)
    return path


def kernels(test):
    with open(test.kernel, "rb") as f:
        kernel = f.read()
    run = lambda path: ["run", "--engine", test.options.engine, "--kernel", path]
    refuse(test, "missing kernel", run(test.path("absent")), "absent")
    refuse(test, "a folder as kernel", run(test.scratch), test.scratch)
    refuse(test, "an empty kernel", run(file(test, "empty", b"")), "empty")
    refuse(test, "text as kernel", run(file(test, "text", b"hello\n" * 1000)), "text")
    for size in (100, 600, 20000, len(kernel) // 2):
        name = f"cut{size}"
        refuse(test, f"kernel cut to {size} bytes", run(file(test, name, kernel[:size])), name)
    refuse(test, "an ELF file that is no kernel", run(test.busybox), "busybox")
    refuse(test, "an endless device as kernel", run("/dev/zero"), "/dev/zero")
    if os.geteuid() != 0:
        unreadable = file(test, "unreadable", kernel)
        os.chmod(unreadable, 0)
        refuse(test, "unreadable kernel", run(unreadable), "unreadable")


def initrds(test):
    run = lambda path, memory="512M": ["run", "--engine", test.options.engine, "--kernel", test.kernel,
                                       "--memory", memory, "--initrd", path]
    refuse(test, "missing initrd", run(test.path("absent")), "absent")
    refuse(test, "a folder as initrd", run(test.scratch), test.scratch)
    large = test.path("large")
    with open(large, "wb") as f:
        f.truncate(600 << 20)
    refuse(test, "an initrd that does not fit", run(large), "large")
    huge = test.path("huge")
    with open(huge, "wb") as f:
        f.truncate(1 << 42)
    refuse(test, "an initrd of 4T", run(huge), "huge")


def memory(test):
    run = lambda size: ["run", "--engine", test.options.engine, "--kernel", test.kernel, "--memory", size]
    for size in ("0M", "1M", "16M", "900G", "9000T", "99999999999T"):
        refuse(test, f"memory of {size}", run(size), "")
    for size in ("512", "x", "-5M", ""):
        refuse(test, f"memory of {size!r}", run(size), "--memory")


def disks(test):
    run = lambda disk: ["run", "--engine", test.options.engine, "--kernel", test.kernel, "--disk", disk]
    refuse(test, "missing disk", run(test.path("absent.img")), "absent.img")
    refuse(test, "a folder as disk", run(test.scratch), test.scratch)
    refuse(test, "an empty disk", run(file(test, "empty.img", b"")), "empty.img")
    refuse(test, "a disk of odd size", run(file(test, "odd.img", b"x" * 1000)), "odd.img")
    refuse(test, "a terminal as disk", run("/dev/null"), "/dev/null")
    refuse(test, "unknown disk option", run("a.img,ro"), "ro")


def disk_in_use(test):
    disk = file(test, "shared.img", b"\0" * (1 << 20))
    command = test.run_words(test.initrd_with("echo WAITING\nsleep 1000\n"), "--disk", disk)
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        Reader(process.stdout.fileno()).expect(b"WAITING", test.options.limit)
        refuse(test, "disk in use", ["run", "--kernel", test.kernel, "--disk", disk], "shared.img")
        refuse(test, "disk in use, to read", ["run", "--kernel", test.kernel, "--disk", disk + ",readonly"], "shared.img")
    finally:
        process.kill()
        process.wait()


def words(test):
    refuse(test, "unknown command", ["fly"], "fly")
    refuse(test, "no kernel", ["run"], "--kernel")
    base = ["run", "--kernel", test.kernel]
    refuse(test, "unknown option", [*base, "--turbo"], "--turbo")
    refuse(test, "no processors", [*base, "--cpus", "0"], "--cpus")
    refuse(test, "17 processors", [*base, "--cpus", "17"], "--cpus")
    refuse(test, "unknown engine", [*base, "--engine", "jit"], "--engine")
    refuse(test, "unknown processor", [*base, "--cpu", "z80"], "z80")
    refuse(test, "unknown network", [*base, "--net", "wlan"], "--net")
    refuse(test, "bad forward", [*base, "--net", "user,hostfwd=tcp:22"], "hostfwd")
    refuse(test, "bad serial", [*base, "--serial", "tcp:1"], "--serial")
    refuse(test, "serial into a missing folder", [*base, "--serial", f"file:{test.path('no/such')}"], "no/such")
    refuse(test, "unknown trace event", [*base, "--trace", "nonsense"], "nonsense")
    refuse(test, "command line too long", [*base, "--append", "x" * 5000], "command line")


if __name__ == "__main__":
    Test().main(words, kernels, initrds, memory, disks, disk_in_use)
