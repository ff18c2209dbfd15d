#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 Triune contributors
# SPDX-License-Identifier: Apache-2.0
"""Boots Debian's kernel to user space and to power-off with every block of `bt` held against the reference engine."""
import re

from harness import Test, check

SCRIPT = """echo verify: userland
ls -l / | wc -l
seq 1 200 | awk '{ n += $1 } END { print "sum", n }'
dd if=/dev/zero bs=4k count=16 2>/dev/null | sha256sum
echo 'verified block by block' | gzip | gunzip
echo verify: done
"""


def boots_without_a_difference(test):
    stats = test.path("stats")
    result = test.boot(SCRIPT, "--verify", f"--stats={stats}", memory="256M")
    lines = result.between("verify: userland", "verify: done")
    check("sum 20100" in lines and "verified block by block" in lines, f"the guest said {lines}")
    with open(stats) as f:
        counts = dict(re.findall(r"^(.*?)  +(\d+)$", f.read(), re.M))
    verified = int(counts["blocks verified"])
    why = {name: int(n) for name, n in counts.items() if name.startswith("blocks not verified: ") and int(n)}
    unsettled = sum(why.values())
    # Fewer than a boot takes: something has not been looked at.
    check(verified > 50_000_000, f"{verified} blocks verified")
    check(unsettled < verified / 1_000_000, f"{unsettled} blocks could not be verified, {verified} were")
    print(f"     {verified} blocks verified in {result.seconds:.0f} s; {why or 'none left out'}", flush=True)


Test(limit=7200).main(boots_without_a_difference)
