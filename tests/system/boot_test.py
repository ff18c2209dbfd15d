#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 Triune contributors
# SPDX-License-Identifier: Apache-2.0
"""Boots the stock kernel to userland and compares what programs compute there with what the same
busybox computes on the host."""
import os
import subprocess

from harness import Test, check, equal

# Runs in the guest and, under the host's processor, in busybox sh: the output must be the same.
WORK = r"""
seq 1 60000 | sha256sum
seq 1 60000 | sha512sum
seq 1 60000 | md5sum
seq 1 20000 | sha3sum
yes 'Triune has three tails.' | head -c 300000 | gzip -c | gunzip -c | sha1sum
yes 'Triune has three tails.' | head -c 300000 | bzip2 -c | bunzip2 -c | crc32
seq 1 20000 | sort -r | uniq | tail -n 3
seq 1 3000 | awk '{ s += 1 / $1 / $1 - s * 1e-7; t = t * 0.999 + $1 / 3 } END { printf "%.14g %.14e %d\n", s, t, t * 1e4 }'
awk 'BEGIN { for (i = 0; i < 5000; i++) x[i % 97] += i * 1.5; for (i = 0; i < 97; i++) s += x[i] * i; print s }'
echo '2^2000 / 3^700' | bc
i=0; n=0; while [ $i -lt 3000 ]; do i=$((i + 1)); n=$(((n * 31 + i) % 1000003)); done; echo $n
for i in 1 2 3 4 5 6 7 8; do /bin/busybox true && /bin/busybox echo $i | cat; done
printf 'abc\n' | sed 's/b/[&]/' | tr a-c A-C
dd if=/dev/zero bs=1 count=2000 2>/dev/null | od -An -c | head -n 2
expr 123456789 '*' 987654321 / 12345 % 1000
"""


def userland_computes_right(test):
    guest = test.boot("echo BEGIN\n(" + WORK + ")\necho END\nnproc\nuname -r\n")
    native = subprocess.run([test.busybox, "sh", "-c", WORK.replace("/bin/busybox", os.path.abspath(test.busybox))],
                            capture_output=True, check=True, env={"PATH": ""}).stdout.decode().splitlines()
    got = guest.between("BEGIN", "END")
    for number, (mine, wanted) in enumerate(zip(got, native)):
        equal(mine, wanted, f"line {number} of the work's output")
    equal(len(got), len(native), "lines of output")
    tail = guest.out.replace("\r", "").split("\nEND\n")[1].split()
    equal(tail[0], str(test.options.cpus), "nproc")
    check("init: reached after" in guest.out, "init did not tell the time")


def all_processors_work(test):
    if test.options.cpus == 1:
        return
    script = "seq 1 40000 >/tmp/data\n"
    for cpu in range(test.options.cpus):
        script += f"taskset {1 << cpu:x} sha256sum /tmp/data >/tmp/sum{cpu} &\n"
    script += "wait\ncat /tmp/sum* | uniq | wc -l\necho BEGIN\ncat /tmp/sum*\necho END\n"
    script += "for i in 1 2 3 4 5 6 7 8 9 10; do (seq 1 2000 | sort -n | md5sum) & done; wait\necho DONE\n"
    result = test.boot(script)
    sums = result.between("BEGIN", "END")
    equal(len(sums), test.options.cpus, "number of processors that computed a sum")
    equal(len(set(sums)), 1, "number of different sums")
    check("DONE" in result.out, "parallel work did not end")


def no_kernel_complaints(test):
    result = test.boot("echo BEGIN\ndmesg -s 1000000 | grep -E 'WARNING|BUG|Oops|Call Trace|soft lockup|unstable' \n"
                       "echo END\n")
    equal(result.between("BEGIN", "END"), [], "complaints in the kernel's log")


if __name__ == "__main__":
    Test().main(userland_computes_right, all_processors_work, no_kernel_complaints)
