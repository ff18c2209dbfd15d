#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 Triune contributors
# SPDX-License-Identifier: Apache-2.0
"""Engine kvm on a machine without KVM: QEMU's TCG emulates a processor with AMD-V and nested paging, boots
Debian's kernel with kvm-amd, and there Triune runs the contract suite and boots Linux as its guest."""
import argparse
import hashlib
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
import types

from gdb_test import kernel as debuggee_kernel
from harness import ROOT

# Where QEMU's emulated processor is not as a processor is: guest (or test) -> (what the guest reports, why). It may
# pass (with a QEMU that has it right), but not fail elsewhere. Seen at the same check on QEMU's TCG alone:
# page_fault, exceptions, protected32, debug, v8086, la57; at a neighbouring check: paging32, tasks. The reason of
# vector stands in QEMU's source; those of tasks and of the debugger's tests are inferred.
# What KVM cannot do on any processor: these say so and are skipped.
NOT_ON_KVM = {"All/Guests.Pass/kvm_ferr", "All/Guests.Pass/kvm_user_chips_ferr"}
TCG_FAULTS = {
    "page_fault": (0x11b, "a reserved bit gives error code 8: P is not set"),
    "paging32": (0x106, "a reserved bit gives error code 8: P is not set"),
    "exceptions": (0x10b, "a stack access that is not canonical gives #GP, not #SS"),
    "protected32": (0x10a, "segment limits are not checked"),
    "segments": (0x101, "segment limits are not checked"),
    "v8086": (0x12b, "segment limits are not checked"),
    "debug": (0x110, "the address of a data breakpoint is not aligned to its length"),
    "la57": (0x106, "WRMSR takes base addresses that are not canonical"),
    "tasks": (0x136, "task switches are not intercepted: KVM does not hear of CR0.TS"),
    "Engine/GuestDebugging.BreakpointsStopBeforeTheirInstruction/kvm":
        (None, "VMRUN does not arm the breakpoints of the DR7 that it loads"),
    "Engine/GuestDebugging.WatchpointsStopAfterTheAccess/kvm":
        (None, "VMRUN does not arm the breakpoints of the DR7 that it loads"),
    "vector": (0xdead, "XSETBV is not intercepted: KVM keeps the old XCR0 and restores it"),
}
# For the last reason Linux is booted without XSAVE.
CPU = "host,-xsave"

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

# In a guest that goes from engine to engine: what it computes, and whether its kernel complains.
SWITCHED = """
echo "inner: $(nproc) processors"
date +%s >/tmp/begin
for cpu in $(seq 0 $(($(nproc) - 1))); do taskset $((1 << cpu)) sh -c 'seq 1 20000 | sha256sum' >/tmp/sum$cpu & done; wait
cat /tmp/sum*
dd if=/dev/vda bs=64k 2>/dev/null | sha256sum
echo "inner: disk read"
sleep 2
echo "inner: seconds $(($(date +%s) - $(cat /tmp/begin)))"
dmesg -s 1000000 | grep -E 'WARNING|BUG:|Oops|Call Trace|soft lockup|unstable|stall'
echo "inner: done"
"""
# Engine bt sets XCR0, which QEMU's processor does not let KVM do (TCG_FAULTS): then the guest goes on under kvm.
VECTORS = """
for i in 1 2 3 4; do /avx_state & done; wait
echo "inner: done"
"""

# In the machine with AMD-V. The disk images and the web server are for the guests.
BEGIN = r"""
dmesg | grep 'TSC unstable'
echo "outer: $(uname -r), $(nproc) processors, $(ls /dev/kvm 2>&1)"
cd /kvm
mkdir -p /tmp/www; echo 'outer: served over virtio-net' >/tmp/www/index.html
httpd -p PORT -h /tmp/www
"""
PARTS = {
    "doctor": r"""
echo "== doctor"; timeout 60 ./triune doctor; echo "== status $?"
""",
    "contract": r"""
echo "== contract"; TRIUNE_TEST_KVM=always timeout LIMIT ./contract_test --gtest_filter='FILTER' --gtest_color=no; echo "== status $?"
""",
    "unit": r"""
echo "== unit"; timeout 120 ./kvm_hv_test --gtest_color=no; echo "== status $?"
""",
    "boot": r"""
for kind in "1 kernel" "2 kernel" "2 user"; do
    cpus=${kind% *}
    head -c 4194304 /dev/zero >/tmp/disk.img
    echo "== boot $kind"
    timeout LIMIT ./triune run --engine kvm --kvm-irqchip ${kind#* } --cpu CPU --cpus $cpus --memory 256M --kernel vmlinuz --initrd inner \
        --append "console=ttyS0 panic=-1 no_timer_check" --disk /tmp/disk.img --net user --stats </dev/null
    echo "== status $?"
    echo "== disk $kind"; head -c 8893 /tmp/disk.img | md5sum; seq 1 2000 | md5sum; echo "== status $?"
done
""",
    "switch": r"""
begin=$(date +%s)
echo "== switch"
head -c 1048576 /dev/zero >/tmp/switch.img
timeout LIMIT ./triune run --engine kvm --switch kvm,bt,interp --cpu CPU --cpus 2 --memory 256M --kernel vmlinuz --initrd inner-switched \
    --append "console=ttyS0 panic=-1 no_timer_check" --disk /tmp/switch.img --stats </dev/null >/tmp/switch.out 2>/tmp/switch.err &
pid=$!
vm() { for t in /proc/[0-9]*; do grep -q '^Name:.*triune' $t/status 2>/dev/null && echo ${t#/proc/}; done | tail -1; }
until grep -qs 'SigBlk:.*4203' /proc/$(vm)/status || ! kill -0 $pid 2>/dev/null; do sleep 0.1; done
n=0
while [ $n -lt SWITCHES ] && kill -0 $pid 2>/dev/null; do
    kill -USR1 $(vm) 2>/dev/null
    n=$((n + 1))
    while [ $(grep -c '^triune: ' /tmp/switch.err) -lt $n ] && kill -0 $pid 2>/dev/null; do sleep 0.05; done
    case $((n % 3)) in 0) sleep 1.2;; 1) sleep 0.6;; 2) sleep 0.1;; esac
done
wait $pid; status=$?
cat /tmp/switch.out; grep -v '^triune: engine' /tmp/switch.err
echo "outer: seconds $(($(date +%s) - begin))"
for e in kvm bt interp; do echo "outer: to $e $(grep -c "^triune: engine $e$" /tmp/switch.err)"; done
echo "== status $status"
""",
    "vectors": r"""
echo "== vectors"
timeout LIMIT ./triune run --engine bt --switch bt,kvm --memory 256M --kernel vmlinuz --initrd inner-vectors \
    --append "console=ttyS0 panic=-1 no_timer_check" --stats </dev/null >/tmp/vectors.out 2>/tmp/vectors.err &
pid=$!
until grep -q 'x86/fpu: Enabled xstate' /tmp/vectors.out || ! kill -0 $pid 2>/dev/null; do sleep 0.2; done
vm() { for t in /proc/[0-9]*; do grep -q '^Name:.*triune' $t/status 2>/dev/null && echo ${t#/proc/}; done | tail -1; }
kill -USR1 $(vm)
wait $pid; status=$?
cat /tmp/vectors.out /tmp/vectors.err; echo "== status $status"
""",
    "gdb": r"""
echo "== gdb"
ifconfig lo 127.0.0.1 up; stty -F /dev/ttyS1 raw -echo 115200
timeout LIMIT ./triune run --engine kvm --serial none --memory 64M --device isa-debug-exit --kernel debuggee \
    --gdb tcp:127.0.0.1:1234 --wait </dev/null &
pid=$!
until netstat -ltn | grep -q ':1234 ' || ! kill -0 $pid 2>/dev/null; do sleep 0.2; done
nc 127.0.0.1 1234 </dev/ttyS1 >/dev/ttyS1 & line=$!
echo "gdb: ready"
wait $pid; status=$?; kill $line
echo "== status $status"
""",
    "firmware": r"""
echo "== firmware"; timeout 100 ./triune run --engine kvm --firmware bios.bin --cpus 2 --disk boot.img \
    --device isa-debug-exit </dev/null; status=$?; echo; echo "== status $status"
""",
    "auto": r"""
echo "== auto"; timeout LIMIT ./triune run --engine auto --cpu CPU --memory 256M --kernel vmlinuz --initrd inner-short \
    --append "console=ttyS0 quiet panic=-1 no_timer_check" </dev/null; echo "== status $?"
""",
}
END = 'echo "== end"\n'


def sections(text):
    """Name -> (lines, exit status) of each "== name … == status N" in the machine's output."""
    found = {}
    for match in re.finditer(r"^== (?!status|end$)(.+?)\n(.*?)^== status (\d+)$", text.replace("\r", ""), re.S | re.M):
        found[match.group(1)] = (match.group(2), int(match.group(3)))
    return found


def debug(console, socket, image, said):
    """Debian's gdb, over the machine's second serial line, once the machine says that the stub listens there."""
    while b"gdb: ready" not in open(console, "rb").read():
        time.sleep(0.5)
    words = ["gdb", "-nx", "-batch"]
    for command in ("set confirm off", "set pagination off", "set width 0", "set remotetimeout 60", f"target remote {socket}",
                    'printf "at start %d\\n", $rip == (long)&start', "stepi", "stepi", "stepi", 'printf "stepped %d\\n", $rip != (long)&start',
                    "set var readable = 4711", "print readable", "set $r12 = 0x123456789abcdef0", "print/x $r12", "print $cr0",
                    "shell (sleep 20; kill -INT $PPID) &", "continue", "stepi", 'printf "rounds %d\\n", rounds > 0',
                    "set var quit = 16", "detach"):
        words += ["-ex", command]
    with open(said, "wb") as out:
        subprocess.run(words + [image], stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, timeout=400)


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


def judge_contract(judge, lines):
    """Every test of the suite has passed, but for what TCG_FAULTS says."""
    ran = re.search(r"^\[==========\] (\d+) tests? from .* ran\.", lines, re.M)
    judge(bool(ran), f"contract: {ran.group(1) if ran else 0} tests ran to the end")
    for part in re.split(r"^\[ RUN      \] ", lines, flags=re.M)[1:]:
        test = part.split()[0]
        name = re.sub(r".*/kvm_(user_chips_)?", "", test)
        if re.search(r"^\[       OK \]", part, re.M):
            print(f"ok   contract: {test}")
            continue
        if test in NOT_ON_KVM and "[  SKIPPED ]" in part:
            print(f"skip contract: {test}")
            continue
        report = re.search(r"^result 0x([0-9a-f]+)", part, re.M)
        value, why = TCG_FAULTS.get(name if "Guests.Pass" in test else test, (None, None))
        seen = int(report.group(1), 16) if report else None
        excused = why and seen == value and "SKIPPED" not in part
        judge(bool(excused), f"contract: {test}" + (f": QEMU's, not ours: {why}" if excused else " failed or was skipped"))


def judge_switch(judge, lines, outer_tsc_unstable):
    """A guest that went from engine to engine computed what it would have, in the time that it took."""
    if outer_tsc_unstable:  # a guest's is no better than its host's
        lines = lines.replace("tsc: Marking TSC unstable", "")
    wanted = hashlib.sha256("".join(f"{i}\n" for i in range(1, 20001)).encode()).hexdigest()
    judge(lines.count(wanted) == 2, "switch: both processors computed the right sum")
    judge(hashlib.sha256(bytes(1 << 20)).hexdigest() in lines, "switch: the disk reads right")
    judge("inner: done" in lines and "Power down" in lines, "switch: powers off")
    judge(not re.search(r"WARNING|BUG:|Oops|Call Trace|soft lockup|unstable|stall", lines),
          "switch: the kernel complains of nothing")
    inside, outside = (re.search(rf"^{where}: seconds (\d+)", lines, re.M) for where in ("inner", "outer"))
    judge(inside and outside and 2 <= int(inside[1]) <= int(outside[1]) + 2,
          f"switch: {inside and inside[1]} s went by in the guest, {outside and outside[1]} s outside")
    for engine in ("kvm", "bt", "interp"):
        count = re.search(rf"^outer: to {engine} (\d+)", lines, re.M)
        judge(count and int(count[1]) >= 3, f"switch: {count and count[1]} times to engine {engine}")


BOOT_SECTOR = bytes.fromhex(
    "31c0 8ed8 8ec0 b80102 b90200 b600 bb0080 cd13 7211 be0080 ac 84c0 7409 b40e bb0700 cd10 ebf2 b021 e6f4")
# xor ax, ax; ds = es = 0; int 13h: the second sector to 0x8000; each character by int 10h; 0x21 to port 0xf4


def boot_disk():
    text = b"read from the second sector\r\n"
    return BOOT_SECTOR.ljust(510, b"\0") + b"\x55\xaa" + text.ljust(512, b"\0") + bytes(1 << 20)


def judge_all(found, text, parts):
    judge = Judge()
    judge("== end" in text, "the machine ran all of it")
    names = ["doctor", "contract", "unit", "boot 1 kernel", "boot 2 kernel", "boot 2 user", "disk 1 kernel",
             "disk 2 kernel", "disk 2 user", "switch", "vectors", "gdb", "firmware", "auto"]
    for name in [n for n in names if n.split()[0].replace("disk", "boot") in parts]:
        lines, status = found.get(name, ("", None))
        if name == "contract":
            judge_contract(judge, lines)
            continue
        wanted = {"firmware": 0x43, "gdb": 16 << 1 | 1}.get(name, 0)
        judge(status == wanted, f"{name}: status {status}")
        if name == "doctor":
            judge("KVM works, with hardware assist" in lines, "doctor: the probe finds KVM good")
        if name == "unit":
            ran = re.search(r"\[  PASSED  \] (\d+) tests", lines)
            judge(bool(ran), f"{name}: {ran.group(1) if ran else 0} tests passed")
        if name.startswith("boot"):
            cpus = name.split()[1]
            judge(f"inner: {cpus} processors" in lines, f"{name}: userland sees {cpus} processor(s)")
            judge("inner: rng 16 bytes" in lines, f"{name}: virtio-rng gives bytes")
            judge("inner: address 10.0.2.15" in lines, f"{name}: virtio-net has its address")
            judge("served over virtio-net" in lines, f"{name}: virtio-net carries a page")
            judge("inner: done" in lines and "Power down" in lines, f"{name}: powers off")
            judge(not re.search(r"WARNING|BUG:|Oops|Call Trace|soft lockup", lines), f"{name}: the kernel complains of nothing")
        if name == "gdb":
            said = found.get("debugger", ("", 0))[0]
            judge(re.search(r"at start 1.*stepped 1.*= 4711.*= 0x123456789abcdef0.*PE.*SIGINT.*rounds 1", said, re.S),
                  "gdb: steps, registers, memory, Ctrl-C under Debian's gdb")
        if name == "switch":
            judge_switch(judge, lines, "TSC unstable" in text.split("== ")[0])
        if name == "vectors":
            judge("triune: engine kvm" in lines and "inner: done" in lines, f"{name}: goes from bt to kvm, and to its end")
            judge(lines.count("avx: right") == 4, f"{name}: AVX2 programs compute the same as general registers do")
            judge(re.search(r"^returns from KVM to user space +[1-9]", lines, re.M), f"{name}: KVM counts its exits")
        if name.startswith("disk"):
            judge(len(set(lines.split("\n")[:2])) == 1, f"{name}: what virtio-blk wrote is in the image")
        if name == "firmware":
            judge("read from the second s" in lines, "firmware: SeaBIOS boots a virtio disk")
        if name == "auto":
            judge("engine kvm: KVM works, with hardware assist" in lines, "auto: says that it takes kvm, and why")
            judge("inner: up" in lines, "auto: userland is reached")
    return judge.failed


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", required=True, help="folder with triune, contract_test and their libraries")
    parser.add_argument("--guest", required=True, help="folder with vmlinuz, initrd, kernel, busybox (./dev guest)")
    parser.add_argument("--qemu", default="qemu-system-x86_64")
    parser.add_argument("--limit", type=int, default=1500, help="seconds for the whole machine")
    parser.add_argument("--filter", default="*kvm*", help="contract tests that are run (a gtest filter)")
    parser.add_argument("--firmware", default="/usr/share/seabios/bios.bin", help="SeaBIOS (package seabios)")
    parser.add_argument("--only", help="parts to run and judge, with commas: doctor, contract, unit, boot, firmware, auto")
    parser.add_argument("--log", help="keep the machine's console in this file")
    options = parser.parse_args()

    build, guest = os.path.abspath(options.build), os.path.abspath(options.guest)
    programs = [os.path.join(build, name) for name in ("triune", "tests/contract/contract_test", "kvm_hv_test")]
    for path in programs + [options.firmware, os.path.join(guest, "vmlinuz"), os.path.join(guest, "busybox/bin/busybox")]:
        if not os.path.exists(path):
            sys.exit(f"{path} is missing: ./dev test-kvm builds and fetches what is needed")
    modules = os.path.join(guest, "kernel/lib/modules")
    release = os.path.join(modules, os.listdir(modules)[0])
    busybox = os.path.join(guest, "busybox/bin/busybox")
    parts = options.only.split(",") if options.only else list(PARTS)
    script = BEGIN + "".join(PARTS[part] for part in parts) + END
    for word, value in (("LIMIT", options.limit // 3), ("FILTER", options.filter), ("PORT", 8080), ("CPU", CPU), ("SWITCHES", 18)):
        script = script.replace(word, str(value))
    inner = INNER.replace("PORT", "8080")

    with tempfile.TemporaryDirectory(prefix="triune-kvm-") as scratch:
        def write(name, text):
            path = os.path.join(scratch, name)
            with open(path, "wb") as f:
                f.write(text if isinstance(text, bytes) else text.encode())
            return path

        inner_initrd, short_initrd, outer = (os.path.join(scratch, n) for n in ("inner", "inner-short", "outer"))
        base = os.path.join(guest, "initrd")
        make_initrd(inner_initrd, base=base, add=[[write("inner.sh", inner) + "=/autorun"]])
        make_initrd(os.path.join(scratch, "inner-switched"), base=base, add=[[write("switched.sh", SWITCHED) + "=/autorun"]])
        avx = os.path.join(scratch, "avx_state")
        subprocess.run(["cc", "-O2", "-mavx2", "-static", "-nostdlib", "-ffreestanding", "-fno-stack-protector", "-no-pie", "-o",
                        avx, os.path.join(ROOT, "tests/system/kernels/avx_state.c")], check=True)
        make_initrd(os.path.join(scratch, "inner-vectors"), base=base,
                    add=[[write("vectors.sh", VECTORS) + "=/autorun"], [avx + "=/avx_state"]])
        debuggee = debuggee_kernel(types.SimpleNamespace(path=lambda name: os.path.join(scratch, name)))
        make_initrd(short_initrd, base=base, add=[[write("short.sh", "echo inner: up\n") + "=/autorun"]])
        guests = os.path.join(build, "guests")
        files = [[f"{p}=/kvm/{os.path.basename(p)}"] for p in programs + [inner_initrd, short_initrd]]
        files += [[f"{os.path.join(scratch, n)}=/kvm/{n}"] for n in ("inner-switched", "inner-vectors")]
        files += [[f"{os.path.join(guest, 'vmlinuz')}=/kvm/vmlinuz"], [f"{options.firmware}=/kvm/bios.bin"]]
        files += [[debuggee + "=/kvm/debuggee"]]
        files += [[write("boot.img", boot_disk()) + "=/kvm/boot.img"]]
        files += [[f"{os.path.join(guests, n)}={os.path.join(guests, n)}"] for n in os.listdir(guests) if n.endswith(".bin")]
        files += [[f"{lib}={lib}"] for lib in sorted(set(sum((libraries(p) for p in programs), [])))]
        init = os.path.join(ROOT, "tools/guest/init")
        make_initrd(outer, busybox=busybox, init=init, modules=[release, "kvm_amd"],
                    add=files + [[write("outer.sh", script) + "=/autorun"]])
        socket, console, said = (os.path.join(scratch, n) for n in ("gdb.sock", "console", "gdb.out"))
        command = [options.qemu, "-machine", "q35,accel=tcg", "-cpu", "max", "-smp", "2", "-m", "2G", "-nographic",
                   "-nodefaults", "-serial", "stdio", "-no-reboot", "-kernel", os.path.join(guest, "vmlinuz"),
                   "-initrd", outer, "-append", "console=ttyS0 quiet panic=-1 no_timer_check",
                   "-chardev", f"socket,id=gdb,path={socket},server=on,wait=off", "-serial", "chardev:gdb"]
        begin = time.monotonic()
        with open(console, "wb") as out, subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out,
                                                          stderr=subprocess.STDOUT) as machine:
            threading.Thread(target=debug, args=(console, socket, debuggee, said), daemon=True).start()
            try:
                machine.wait(options.limit)
            except subprocess.TimeoutExpired:
                machine.kill()
                out.write(b"\n(time is up)\n")
        with open(console, encoding="utf-8", errors="replace") as f:
            text = f.read()
        if os.path.exists(said):
            with open(said, encoding="utf-8", errors="replace") as f:
                text += "\n== debugger\n" + f.read() + "\n== status 0\n"
        if options.log:
            with open(options.log, "w") as f:
                f.write(text)
    found = sections(text)
    failed = judge_all(found, text, parts)
    print(f"{time.monotonic() - begin:.0f} s")
    if failed:
        print("--- the end of the machine's console:\n" + text[-6000:])
    sys.exit(1 if failed else 0)


main()
