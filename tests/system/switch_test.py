#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 Triune contributors
# SPDX-License-Identifier: Apache-2.0
"""Switches a VM between the engines bt and interp over and over, from its first instructions to its last, and
looks at what the guest computed meanwhile."""
import os
import random
import signal
import subprocess
import threading
import time

from boot_test import WORK
from harness import POWERED_OFF, Failure, Reader, Test, check, equal, text

SEED = 20261124
MOST = 300  # each takes a while where the host is busy
LINES = {"bt": b"triune: engine bt\n", "interp": b"triune: engine interp\n"}


def wait_until_signals_are_taken(process):
    """SIGUSR1 would end a process that has not got as far as to block it."""
    for _ in range(2000):
        with open(f"/proc/{process.pid}/status", encoding="ascii") as status:
            blocked = next(line for line in status if line.startswith("SigBlk:"))
        if int(blocked.split()[1], 16) >> (signal.SIGUSR1 - 1) & 1:
            return
        time.sleep(0.005)
    raise Failure("triune does not take SIGUSR1")


class Switcher(threading.Thread):
    """Sends SIGUSR1, waits for the engine that it brings, lets that run for a while, and again."""

    def __init__(self, process, reader):
        super().__init__(daemon=True)
        self.process, self.reader = process, reader
        self.switches, self.trouble, self.done = 0, None, threading.Event()
        self.random = random.Random(SEED)

    def run(self):
        engine = "bt"
        while self.switches < MOST and not self.done.wait(self.random.uniform(0.02, 0.4 if engine == "bt" else 0.15)):
            if self.process.poll() is not None:
                return
            engine = "interp" if engine == "bt" else "bt"
            self.process.send_signal(signal.SIGUSR1)
            try:
                self.reader.expect(LINES[engine], 60)
            except Failure as failure:
                if self.process.poll() is None and not self.reader.closed:
                    self.trouble = failure
                return
            self.switches += 1


def boot_and_switch(test, script):
    process = subprocess.Popen(test.run_words(test.initrd_with(script)), stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, err = Reader(process.stdout.fileno()), Reader(process.stderr.fileno())
    try:
        wait_until_signals_are_taken(process)
        switcher = Switcher(process, err)
        switcher.start()
        process.wait(test.options.limit)
        switcher.done.set()
        switcher.join(70)
    except subprocess.TimeoutExpired:
        raise Failure(f"no end within {test.options.limit} s after {switcher.switches} switches; output so far:\n"
                      f"{text(out.data)[-3000:]}\n--- stderr:\n{text(err.data)[-2000:]}")
    finally:
        process.kill()
        process.wait()
    while not out.closed:
        time.sleep(0.01)
    story = f"output:\n{text(out.data)[-3000:]}\n--- stderr:\n{text(err.data)[-2000:]}"
    if switcher.trouble:
        raise Failure(f"{switcher.trouble}\n{story}")
    check(process.returncode == POWERED_OFF, f"status {process.returncode} after {switcher.switches} switches; {story}")
    print(f"     {switcher.switches} switches", flush=True)
    check(switcher.switches >= 20, f"only {switcher.switches} switches; {story}")
    return text(out.data).replace("\r", "")


def lines_between(output, begin, end):
    check(f"{begin}\n" in output and f"\n{end}\n" in output, f"no output between {begin} and {end}:\n{output[-2000:]}")
    return output.split(f"{begin}\n", 1)[1].split(f"{end}\n", 1)[0].splitlines()


def guest_does_not_notice(test):
    parallel = "".join(f"taskset {1 << cpu:x} sh -c 'seq 1 30000 | sha256sum' >/tmp/sum{cpu} &\n"
                       for cpu in range(test.options.cpus))
    script = (f"date +%s >/tmp/begin\necho BEGIN\n({WORK})\necho END\n{parallel}wait\necho SUMS\ncat /tmp/sum*\n"
              "echo TIME\nsleep 2\necho $(($(date +%s) - $(cat /tmp/begin)))\necho DMESG\n"
              "dmesg -s 1000000 | grep -E 'WARNING|BUG|Oops|Call Trace|lockup|unstable|stall'\necho DONE\n")
    begin = time.monotonic()
    output = boot_and_switch(test, script)
    seconds = time.monotonic() - begin
    native = subprocess.run([test.busybox, "sh", "-c", WORK.replace("/bin/busybox", os.path.abspath(test.busybox))],
                            capture_output=True, check=True, env={"PATH": ""}).stdout.decode().splitlines()
    equal(lines_between(output, "BEGIN", "END"), native, "the work's output")
    sums = lines_between(output, "SUMS", "TIME")
    equal(len(sums), test.options.cpus, "number of processors that computed a sum")
    equal(len(set(sums)), 1, "number of different sums")
    elapsed = int(lines_between(output, "TIME", "DMESG")[0])
    check(2 <= elapsed <= seconds + 2, f"{elapsed} s went by in the guest, {seconds:.1f} s outside")
    equal(lines_between(output, "DMESG", "DONE"), [], "complaints in the kernel's log")


if __name__ == "__main__":
    Test(limit=500).main(guest_does_not_notice)
