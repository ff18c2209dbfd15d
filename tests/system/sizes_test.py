#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 Triune contributors
# SPDX-License-Identifier: Apache-2.0
"""Large guests: memory on both sides of the PCI hole below 4 GB, more processors than the host has."""
from harness import Test, check, equal

# A file of 64 MB in the guest's memory: kernels take the highest memory first. Its checksum is known.
SCRIPT = """echo BEGIN
grep MemTotal /proc/meminfo
grep 'System RAM' /proc/iomem
mkdir -p /t && mount -t tmpfs none /t && yes 0123456789abcde | head -c 67108864 >/t/file && sha256sum </t/file
echo END
poweroff -f
"""


def checksum():
    import hashlib
    return hashlib.sha256(b"0123456789abcde\n" * (67108864 // 16)).hexdigest()


def memory_of(test, gigabytes):
    result = test.boot(SCRIPT, memory=f"{gigabytes}G")
    lines = result.between("BEGIN", "END")
    total = int(lines[0].split()[1])
    check(0.95 * gigabytes * 2**20 < total < gigabytes * 2**20, f"{lines[0]} of {gigabytes} GB")
    above = [line for line in lines if line.startswith("1") and len(line.split("-")[0]) == 9]
    check(bool(above) == (gigabytes > 3), f"memory above 4 GB: {lines}")
    check(any(checksum() in line for line in lines), f"checksum of 64 MB of memory: {lines}")


def memory_of_3_gb(test):
    memory_of(test, 3)


def memory_of_4_gb(test):
    memory_of(test, 4)


def memory_of_8_gb(test):
    memory_of(test, 8)


def sixteen_processors(test):
    script = ("echo BEGIN\nnproc\n"
              "for i in $(seq 16); do (taskset $(printf %x $((1<<(i-1)))) echo ran on $i) & done; wait\n"
              "echo END\npoweroff -f\n")
    lines = test.boot(script, cpus=16, memory="1G").between("BEGIN", "END")
    equal(lines[0], "16", "nproc")
    equal(sorted(lines[1:]), sorted(f"ran on {i}" for i in range(1, 17)), "what ran where")


if __name__ == "__main__":
    Test(limit=400).main(memory_of_3_gb, memory_of_4_gb, memory_of_8_gb, sixteen_processors)
