#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 Triune contributors
# SPDX-License-Identifier: Apache-2.0
"""`./dev system-test`: Debian's 32-bit kernels, with and without PAE, with a 32-bit busybox, translated."""
import glob
import hashlib
import os
import subprocess

from harness import POWERED_OFF, ROOT, Test, check, equal

SCRIPT = """echo BEGIN
uname -m
dd if=/dev/zero bs=1M count=4 2>/dev/null | sha256sum | cut -d ' ' -f 1
i=0; while [ $i -lt 50 ]; do /bin/true; i=$((i+1)); done; echo $i forks
echo $((7654321 * 1234567 / 89)) $((1 << 40))
echo END
"""


def initrd(test):
    autorun, out = test.path("autorun"), test.path("initrd32")
    with open(autorun, "w") as f:
        f.write(SCRIPT)
    subprocess.run([os.path.join(ROOT, "tools/make_initrd.py"), "--out", out, "--busybox",
                    os.path.join(test.options.guest, "i386/busybox/bin/busybox"), "--init",
                    os.path.join(ROOT, "tools/guest/init"), "--add", f"{autorun}=/autorun"], check=True)
    return out


def boots(test, flavour, cpus, limit):
    kernels = glob.glob(os.path.join(test.options.guest, f"i386/{flavour}/boot/vmlinuz-*"))
    check(len(kernels) == 1, f"no kernel in i386/{flavour}: ./dev system-test fetches it")
    result = test.run([test.triune, "run", "--engine", test.options.engine, "--cpus", str(cpus), "--memory", "512M", "--kernel",
                       kernels[0], "--initrd", initrd(test), "--append", "console=ttyS0 quiet panic=-1"], limit=limit)
    equal(result.status, POWERED_OFF, f"status; output:\n{result.out[-3000:]}")
    equal(result.between("BEGIN", "END"), ["i686", hashlib.sha256(bytes(4 << 20)).hexdigest(), "50 forks",
                                           f"{7654321 * 1234567 // 89} {1 << 40}"], "what the guest says")


def without_pae(test):
    boots(test, "686", 1, 200)


def with_pae(test):
    boots(test, "686-pae", 1, 200)


def with_pae_on_two_processors(test):
    boots(test, "686-pae", 2, 300)


if __name__ == "__main__":
    Test().main(without_pae, with_pae, with_pae_on_two_processors)
