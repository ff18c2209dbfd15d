#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 Triune contributors
# SPDX-License-Identifier: Apache-2.0
"""Engine kvm on a machine without KVM: QEMU's TCG emulates a processor with AMD-V and nested paging, boots
Debian's kernel with kvm-amd, and there Triune runs the contract suite and boots Linux as its guest."""
import argparse
import os
import re
import subprocess
import sys
import tempfile
import time

from harness import ROOT

# In the guest of the guest: processors, block device, network, entropy.
INNER = """
echo "inner: $(nproc) processors, $(cat /sys/devices/system/clocksource/clocksource0/current_clocksource) clock"
echo "inner: rng $(dd if=/dev/hwrng bs=16 count=1 2>/dev/null | wc -c) bytes"
echo "inner: disk $(sha256sum </dev/vda)"
seq 1 2000 >/tmp/data; dd if=/tmp/data of=/dev/vda bs=4096 conv=notrunc 2>/dev/null; sync
echo "inner: address $(ip -4 -o addr show eth0 | awk '{print $4}')"
wget -q -O - http://10.0.2.2:PORT/ | head -c 64
i=0; for cpu in $(seq 0 $(($(nproc) - 1))); do taskset $((1 << cpu)) sh -c 'seq 1 20000 | sort -rn | md5sum' & done; wait
dmesg | grep -E 'WARNING|BUG:|Oops|Call Trace|soft lockup'
grep -E 'virtio|timer|IPI|resched' /proc/interrupts | head -8
echo "inner: done"
"""

# In the machine with AMD-V. The disk image and the web server are for the guests.
OUTER = r"""
echo "outer: $(uname -r), $(nproc) processors, $(ls /dev/kvm 2>&1)"
cd /kvm
mkdir -p /tmp/www; echo 'outer: served over virtio-net' >/tmp/www/index.html
httpd -p PORT -h /tmp/www
echo "== doctor"; timeout 60 ./triune doctor; echo "== status $?"
echo "== contract"; TRIUNE_TEST_KVM=always timeout LIMIT ./contract_test --gtest_filter='FILTER' --gtest_color=no; echo "== status $?"
echo "== unit"; timeout 120 ./kvm_hv_test --gtest_color=no; echo "== status $?"
for cpus in 1 2; do
    head -c 4194304 /dev/zero >/tmp/disk.img
    echo "== boot $cpus"
    timeout LIMIT ./triune run --engine kvm --cpus $cpus --memory 256M --kernel vmlinuz --initrd inner \
        --append "console=ttyS0 panic=-1 no_timer_check" --disk /tmp/disk.img --net user --stats </dev/null
    echo "== status $?"
    echo "== disk $cpus"; head -c 8893 /tmp/disk.img | md5sum; seq 1 2000 | md5sum; echo "== status $?"
done
echo "== auto"; timeout LIMIT ./triune run --engine auto --memory 256M --kernel vmlinuz --initrd inner-short \
    --append "console=ttyS0 quiet panic=-1 no_timer_check" </dev/null; echo "== status $?"
echo "== end"
"""

def sections(text):
    """Name -> (lines, exit status) of each "== name … == status N" in the machine's output."""
    found = {}
    for match in re.finditer(r"^== (?!status)(.+?)\n(.*?)^== status (\d+)$", text.replace("\r", ""), re.S | re.M):
        found[match.group(1)] = (match.group(2), int(match.group(3)))
    return found


def libraries(program):
    """Shared libraries that a program needs, by the paths where its loader looks."""
    out = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    return sorted(set(re.findall(r"(/[^\s()]+)", out)))


def make_initrd(out, **options):
    command = [os.path.join(ROOT, "tools/make_initrd.py"), "--out", out]
    for name, value in options.items():
        for item in value if name == "add" else [value]:
            command += ["--" + name] + (item if isinstance(item, list) else [item])
    subprocess.run(command, check=True)


class Judge:
    def __init__(self):
        self.failed = 0

    def __call__(self, good, what):
        print(("ok   " if good else "FAIL ") + what, flush=True)
        self.failed += not good


def judge_all(found, text):
    judge = Judge()
    judge("== end" in text, "the machine ran all of it")
    for name in ("doctor", "contract", "unit", "boot 1", "boot 2", "disk 1", "disk 2", "auto"):
        lines, status = found.get(name, ("", None))
        judge(status == 0, f"{name}: status {status}")
        if name == "doctor":
            judge("KVM works, with hardware assist" in lines, "doctor: the probe finds KVM good")
        if name in ("contract", "unit"):
            ran = re.search(r"\[  PASSED  \] (\d+) tests", lines)
            judge(bool(ran), f"{name}: {ran.group(1) if ran else 0} tests passed")
        if name == "contract":
            skipped = re.findall(r"\[  SKIPPED \] (\S+)", lines)
            judge(not skipped, f"contract: nothing skipped {' '.join(sorted(set(skipped)))}")
        if name.startswith("boot"):
            cpus = name.split()[1]
            judge(f"inner: {cpus} processors" in lines, f"{name}: userland sees {cpus} processor(s)")
            judge("inner: rng 16 bytes" in lines, f"{name}: virtio-rng gives bytes")
            judge("inner: address 10.0.2.15" in lines, f"{name}: virtio-net has its address")
            judge("served over virtio-net" in lines, f"{name}: virtio-net carries a page")
            judge("inner: done" in lines and "Power down" in lines, f"{name}: powers off")
            judge(not re.search(r"WARNING|BUG:|Oops|Call Trace|soft lockup", lines), f"{name}: the kernel complains of nothing")
        if name.startswith("disk"):
            judge(len(set(lines.split("\n")[:2])) == 1, f"{name}: what virtio-blk wrote is in the image")
        if name == "auto":
            judge("binary translation (engine kvm is only taken when asked for" in lines, "auto: says that it takes bt, and why")
    return judge.failed


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", required=True, help="folder with triune, contract_test and their libraries")
    parser.add_argument("--guest", required=True, help="folder with vmlinuz, initrd, kernel, busybox (./dev guest)")
    parser.add_argument("--qemu", default="qemu-system-x86_64")
    parser.add_argument("--limit", type=int, default=900, help="seconds for the whole machine")
    parser.add_argument("--filter", default="*kvm*", help="contract tests that are run (a gtest filter)")
    parser.add_argument("--log", help="keep the machine's console in this file")
    options = parser.parse_args()

    build, guest = os.path.abspath(options.build), os.path.abspath(options.guest)
    programs = [os.path.join(build, name) for name in ("triune", "tests/contract/contract_test", "kvm_hv_test")]
    for path in programs + [os.path.join(guest, "vmlinuz"), os.path.join(guest, "busybox/bin/busybox")]:
        if not os.path.exists(path):
            sys.exit(f"{path} is missing: run ./dev guest and ./dev build")
    modules = os.path.join(guest, "kernel/lib/modules")
    release = os.path.join(modules, os.listdir(modules)[0])
    busybox = os.path.join(guest, "busybox/bin/busybox")
    script = OUTER.replace("LIMIT", str(options.limit // 3)).replace("FILTER", options.filter).replace("PORT", "8080")
    inner = INNER.replace("PORT", "8080")

    with tempfile.TemporaryDirectory(prefix="triune-kvm-") as scratch:
        def write(name, text):
            path = os.path.join(scratch, name)
            with open(path, "w") as f:
                f.write(text)
            return path

        inner_initrd, short_initrd, outer = (os.path.join(scratch, n) for n in ("inner", "inner-short", "outer"))
        base = os.path.join(guest, "initrd")
        make_initrd(inner_initrd, base=base, add=[[write("inner.sh", inner) + "=/autorun"]])
        make_initrd(short_initrd, base=base, add=[[write("short.sh", "echo inner: up\n") + "=/autorun"]])
        guests = os.path.join(build, "guests")
        files = [[f"{p}=/kvm/{os.path.basename(p)}"] for p in programs + [inner_initrd, short_initrd]]
        files += [[f"{os.path.join(guest, 'vmlinuz')}=/kvm/vmlinuz"]]
        files += [[f"{os.path.join(guests, n)}={os.path.join(guests, n)}"] for n in os.listdir(guests) if n.endswith(".bin")]
        files += [[f"{lib}={lib}"] for lib in sorted(set(sum((libraries(p) for p in programs), [])))]
        init = os.path.join(ROOT, "tools/guest/init")
        make_initrd(outer, busybox=busybox, init=init, modules=[release, "kvm_amd"],
                    add=files + [[write("outer.sh", script) + "=/autorun"]])
        command = [options.qemu, "-machine", "q35,accel=tcg", "-cpu", "max", "-smp", "2", "-m", "2G", "-nographic",
                   "-nodefaults", "-serial", "stdio", "-no-reboot", "-kernel", os.path.join(guest, "vmlinuz"),
                   "-initrd", outer, "-append", "console=ttyS0 quiet panic=-1 no_timer_check"]
        begin = time.monotonic()
        try:
            out = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                 timeout=options.limit).stdout
        except subprocess.TimeoutExpired as late:
            out = (late.stdout or b"") + b"\n(time is up)\n"
        text = out.decode("utf-8", "replace")
        if options.log:
            with open(options.log, "w") as f:
                f.write(text)
    found = sections(text)
    failed = judge_all(found, text)
    print(f"{time.monotonic() - begin:.0f} s")
    if failed:
        print("--- the end of the machine's console:\n" + text[-6000:])
    sys.exit(1 if failed else 0)


main()
