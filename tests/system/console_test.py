#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 Triune contributors
# SPDX-License-Identifier: Apache-2.0
"""The virtio console, hvc0: text both ways, beside a serial line or instead of it."""
import os
import subprocess

from bad_input_test import refuse
from harness import POWERED_OFF, Reader, Test, check, equal

SCRIPT = """
echo on the serial line
exec </dev/hvc0 >/dev/hvc0 2>&1
stty -echo
echo hello from $(tty)
read -r line
echo "got: $line"
seq 1 20000
"""


def text_both_ways(test):
    log = test.path("serial.log")
    command = test.run_words(test.initrd_with(SCRIPT), "--console", "stdio", "--serial", f"file:{log}",
                             append="console=hvc0")
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        reader = Reader(process.stdout.fileno())
        reader.expect(b"hello from /dev/hvc0", test.options.limit)
        process.stdin.write(b"some text from outside\n")
        process.stdin.flush()
        reader.expect(b"got: some text from outside", 30)
        numbers = reader.expect(b"\n20000", 60).replace(b"\r", b"")
        check("".join(f"\n{i}" for i in range(1, 20001)).encode() in numbers, "the numbers did not arrive whole")
        equal(process.wait(60), POWERED_OFF, "status")
    except subprocess.TimeoutExpired:
        check(False, "the guest did not end")
    finally:
        process.kill()
        process.wait()
    with open(log) as f:
        check("on the serial line" in f.read(), "the serial line's file is empty")


def a_terminal_that_controls_nothing(test):
    """As under `su -c` or `docker exec`: stdin is a terminal, but not this session's."""
    main, terminal = os.openpty()
    script = 'stty -F /dev/ttyS0 -echo; echo ready; read -r line </dev/ttyS0; echo "got: $line"'
    process = subprocess.Popen(test.run_words(test.initrd_with(script), append="quiet"), stdin=terminal,
                               stdout=terminal, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        os.close(terminal)
        reader = Reader(main)
        reader.expect(b"ready", test.options.limit)
        os.write(main, b"typed\r")
        reader.expect(b"got: typed", 30)
        equal(process.wait(60), POWERED_OFF, "status")
    except subprocess.TimeoutExpired:
        check(False, "the guest did not end")
    finally:
        process.kill()
        process.wait()


def one_terminal_for_one_console(test):
    refuse(test, "stdio twice", ["run", "--kernel", test.kernel, "--serial", "stdio", "--console", "stdio"], "--console")
    refuse(test, "an unknown place", ["run", "--kernel", test.kernel, "--console", "tcp:1"], "--console")


if __name__ == "__main__":
    Test().main(text_both_ways, a_terminal_that_controls_nothing, one_terminal_for_one_console)
