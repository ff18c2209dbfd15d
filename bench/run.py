#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 Triune contributors
# SPDX-License-Identifier: Apache-2.0
"""Compares Triune with QEMU's TCG and with native, in one run: the same kernel, initrd and binaries,
one virtual processor, runs alternating. Prints a table of medians with ratios; writes JSON."""
import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)


def say(message):
    print(f"==> {message}", file=sys.stderr, flush=True)


def native_root(folder, busybox, micro):
    """A chroot with what the guest has."""
    root = os.path.join(folder, "root")
    for name in ("bin", "dev", "tmp", "proc"):
        os.makedirs(os.path.join(root, name))
    shutil.copy(busybox, os.path.join(root, "bin/busybox"))
    os.symlink("busybox", os.path.join(root, "bin/sh"))
    os.symlink("busybox", os.path.join(root, "bin/seq"))
    shutil.copy(micro, os.path.join(root, "bin/micro"))
    shutil.copy(os.path.join(HERE, "guest/workloads.sh"), os.path.join(root, "autorun"))
    return root


def cpu_seconds(pid):
    """Processor time of a process with all its threads and the children it waited for."""
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rpartition(")")[2].split()
    return sum(int(v) for v in fields[11:15]) / os.sysconf("SC_CLK_TCK")


def build_kernel(folder):
    """The kernel of our own that measures what a kernel's operations cost."""
    kernel = os.path.join(folder, "ring0")
    subprocess.run(["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-ffreestanding", "-nostdlib", "-static", "-no-pie",
                    "-mno-red-zone", "-mgeneral-regs-only", "-fno-stack-protector", "-fno-asynchronous-unwind-tables",
                    "-Wl,-Ttext-segment=0x200000", "-Wl,--build-id=none", "-Wl,-z,noexecstack",
                    "-Wl,-z,max-page-size=4096", "-Wl,-e,start32", "-o", kernel,
                    os.path.join(HERE, "guest/ring0.c")], check=True)
    return kernel


def run_once(command, limit):
    """For the way to init and each workload (wall seconds, processor seconds); cycles by micro-cost."""
    begin = time.monotonic()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    times, cycles, started, lines, done = {}, {}, {}, [], False
    os.set_blocking(process.stdout.fileno(), False)
    pending = b""
    import select
    try:
        while time.monotonic() - begin < limit:
            ready, _, _ = select.select([process.stdout], [], [], 1)
            if not ready:
                continue
            chunk = os.read(process.stdout.fileno(), 65536)
            if not chunk:
                break
            now = (time.monotonic(), cpu_seconds(process.pid))
            pending += chunk
            *complete, pending = pending.split(b"\n")
            for raw in complete:
                line = raw.decode("utf-8", "replace").strip()
                lines.append(line)
                words = line.split()
                if "init: reached after" in line:
                    times["init"] = (now[0] - begin, now[1])
                elif line.startswith("@begin") and len(words) == 2:
                    started[words[1]] = now
                elif line.startswith("@end") and len(words) == 2 and words[1] in started:
                    times[words[1]] = tuple(b - a for a, b in zip(started[words[1]], now))
                elif line.startswith("micro ") and len(words) == 3:
                    cycles[words[1]] = float(words[2])
                elif line == "@done":
                    done = True
    finally:
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if not done:
        err = process.stderr.read().decode("utf-8", "replace")
        sys.exit("bench: the workloads did not end: " + " ".join(command) + "\n" + "\n".join(lines[-15:]) + "\n" + err[-2000:])
    return times, cycles


def show(rows):
    header = ["", "triune", "qemu tcg", "native", "triune/native", "tcg/native", "triune/tcg"]
    table = [header]
    for row in rows:
        m = row["median"]
        form = (lambda v: f"{v:.2f} {row['unit']}") if row["unit"] != "cycles" else (lambda v: f"{v:,.0f} cyc" if v >= 20 else f"{v:.1f} cyc")
        ratio = lambda a, b: f"{m[a] / m[b]:.2f}" if a in m and b in m and m[b] > 0 else "-"
        table.append([row["name"], *(form(m[s]) if s in m else "-" for s in ("triune", "qemu", "native")),
                      ratio("triune", "native"), ratio("qemu", "native"), ratio("triune", "qemu")])
    widths = [max(len(line[i]) for line in table) for i in range(len(header))]
    for line in table:
        print("  ".join(cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths))))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--triune", required=True)
    parser.add_argument("--guest", required=True)
    parser.add_argument("--json")
    parser.add_argument("--engine", default="bt")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--limit", type=float, default=300, help="seconds for one run")
    parser.add_argument("--systems", default="triune,qemu,native")
    options = parser.parse_args()
    systems = options.systems.split(",")

    with tempfile.TemporaryDirectory(prefix="triune-bench-") as folder:
        say("Building the micro-cost program")
        micro = os.path.join(folder, "micro")
        subprocess.run(["gcc", "-O2", "-static", "-Wall", "-Werror", "-o", micro, os.path.join(HERE, "guest/micro.c")], check=True)
        initrd = os.path.join(folder, "initrd")
        subprocess.run([os.path.join(ROOT, "tools/make_initrd.py"), "--out", initrd, "--base",
                        os.path.join(options.guest, "initrd"), "--add", f"{micro}=/bin/micro",
                        "--add", os.path.join(HERE, "guest/workloads.sh") + "=/autorun"], check=True)
        root = native_root(folder, os.path.join(options.guest, "busybox/bin/busybox"), micro)
        kernel, append = os.path.join(options.guest, "vmlinuz"), "console=ttyS0 quiet panic=-1 triune.modules=no"
        # Private mount namespace: the host's devices and a tmpfs inside the chroot, gone afterwards.
        inside = 'mount --rbind /dev "$0/dev" && mount -t tmpfs tmpfs "$0/tmp" && exec chroot "$0" /bin/sh /autorun'
        ring0 = build_kernel(folder)
        linux = ["-kernel", kernel, "-initrd", initrd, "-append", append]
        triune = [options.triune, "run", "--engine", options.engine, "--cpus", "1", "--memory", "512M"]
        qemu = ["qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-smp", "1", "-m", "512M", "-nic", "none",
                "-display", "none", "-monitor", "none", "-serial", "stdio", "-no-reboot"]
        kernel_commands = {"triune": [*triune, "--no-reboot", "--kernel", ring0], "qemu": [*qemu, "-kernel", ring0]}
        commands = {
            "triune": [*triune, *("-" + word if word.startswith("-") else word for word in linux)],
            "qemu": [*qemu, *linux],
            "native": ["unshare", *([] if os.geteuid() == 0 else ["--map-root-user"]), "--mount", "sh", "-c", inside, root],
        }
        samples = {}
        for number in range(options.rounds):
            for system in systems:
                say(f"Round {number + 1} of {options.rounds}: {system}")
                times, cycles = run_once(commands[system], options.limit)
                if system in kernel_commands:
                    cycles |= {"ring0-" + name: value
                               for name, value in run_once(kernel_commands[system], options.limit)[1].items()}
                for name, value in times.items():
                    for unit, seconds in zip(("s", "cpu s"), value):
                        samples.setdefault((name, unit), {}).setdefault(system, []).append(seconds)
                for name, value in cycles.items():
                    samples.setdefault((name, "cycles"), {}).setdefault(system, []).append(value)

    rows = []
    for (name, unit), by_system in sorted(samples.items(), key=lambda i: (("s", "cpu s", "cycles").index(i[0][1]), i[0][0] != "init")):
        rows.append({"name": name, "unit": unit, "samples": by_system,
                     "median": {s: statistics.median(v) for s, v in by_system.items()}})
    with open("/proc/cpuinfo") as f:
        model = next((line.split(":", 1)[1].strip() for line in f if line.startswith("model name")), "unknown")
    print(f"\n{model}, {os.cpu_count()} processors, Linux {platform.release()}; medians of {options.rounds}; engine {options.engine}\n")
    show(rows)
    if options.json:
        with open(options.json, "w") as f:
            json.dump({"host": {"processor": model, "processors": os.cpu_count(), "kernel": platform.release()},
                       "engine": options.engine, "rounds": options.rounds, "rows": rows}, f, indent=1)
        say(f"Wrote {options.json}")


main()
