# SPDX-FileCopyrightText: 2026 Triune contributors
# SPDX-License-Identifier: Apache-2.0
"""What the system tests share: making an initrd with a script, running Triune on it with a time limit."""
import argparse
import os
import re
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
POWERED_OFF, BAD_USAGE, RESET, TRIPLE_FAULT, HOST_ERROR, INTERRUPTED, TERMINATED = 0, 2, 3, 4, 5, 130, 143


class Failure(Exception):
    pass


def check(condition, message):
    if not condition:
        raise Failure(message)


def equal(got, wanted, what):
    check(got == wanted, f"{what}: got {got!r}, wanted {wanted!r}")


class Result:
    def __init__(self, status, out, err, seconds):
        self.status, self.out, self.err, self.seconds = status, out, err, seconds

    def between(self, begin, end):
        """Lines between the lines `begin` and `end` of the guest's output."""
        match = re.search(rf"^{re.escape(begin)}\r?\n(.*?)^{re.escape(end)}\r?$", self.out, re.S | re.M)
        check(match, f"no output between {begin!r} and {end!r}")
        return match.group(1).replace("\r", "").splitlines()


class Test:
    """One test's options, scratch folder and guest."""

    def __init__(self, **defaults):
        parser = argparse.ArgumentParser()
        parser.add_argument("--triune", required=True)
        parser.add_argument("--guest", required=True, help="folder with vmlinuz, initrd, busybox (./dev guest)")
        parser.add_argument("--engine", default="bt")
        parser.add_argument("--cpus", type=int, default=1)
        parser.add_argument("--limit", type=float, default=defaults.pop("limit", 120), help="seconds for a guest run")
        parser.add_argument("--only", help="run the cases whose name contains this")
        self.options = parser.parse_args()
        self.triune = os.path.abspath(self.options.triune)
        self.kernel = os.path.join(self.options.guest, "vmlinuz")
        self.initrd = os.path.join(self.options.guest, "initrd")
        self.busybox = os.path.join(self.options.guest, "busybox/bin/busybox")
        for path in (self.triune, self.kernel, self.initrd, self.busybox):
            if not os.path.exists(path):
                sys.exit(f"{path} is missing: run ./dev guest (kernel, initrd) and ./dev build")
        self._scratch = tempfile.TemporaryDirectory(prefix="triune-test-")
        self.scratch = self._scratch.name
        self._initrds = 0

    def path(self, name):
        return os.path.join(self.scratch, name)

    def initrd_with(self, script, files=()):
        """An initrd whose /init runs `script`, and with further files: (host path, guest path)."""
        self._initrds += 1
        autorun, out = self.path(f"autorun{self._initrds}"), self.path(f"initrd{self._initrds}")
        with open(autorun, "w") as f:
            f.write(script)
        command = [os.path.join(ROOT, "tools/make_initrd.py"), "--out", out, "--base", self.initrd,
                   "--add", f"{autorun}=/autorun"]
        for source, target in files:
            command += ["--add", f"{source}={target}"]
        subprocess.run(command, check=True)
        return out

    def run_words(self, initrd, *words, append="", memory="512M", engine=None, cpus=None):
        return [self.triune, "run", "--engine", engine or self.options.engine,
                "--cpus", str(cpus or self.options.cpus), "--memory", memory, "--kernel", self.kernel,
                "--initrd", initrd, "--append", f"console=ttyS0 quiet panic=-1 {append}".strip(), *words]

    def run(self, command, limit=None, stdin=subprocess.DEVNULL):
        """Runs to the end; output is kept. A run over the time limit is a failure that shows it."""
        begin = time.monotonic()
        process = subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            out, err = process.communicate(timeout=limit or self.options.limit)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            raise Failure(f"no end within {limit or self.options.limit} s; output so far:\n"
                          f"{text(out)[-3000:]}\n--- stderr:\n{text(err)[-2000:]}")
        return Result(process.returncode, text(out), text(err), time.monotonic() - begin)

    def boot(self, script, *words, files=(), status=POWERED_OFF, **settings):
        limit = settings.pop("limit", None)
        result = self.run(self.run_words(self.initrd_with(script, files), *words, **settings), limit)
        check(result.status == status, f"status {result.status}, wanted {status}; output:\n{result.out[-3000:]}\n"
                                       f"--- stderr:\n{result.err[-2000:]}")
        return result

    def main(self, *cases):
        failed = 0
        for case in cases:
            if self.options.only and self.options.only not in case.__name__:
                continue
            begin = time.monotonic()
            try:
                case(self)
                print(f"ok   {case.__name__} ({time.monotonic() - begin:.1f} s)", flush=True)
            except Failure as failure:
                failed += 1
                print(f"FAIL {case.__name__} ({time.monotonic() - begin:.1f} s): {failure}", flush=True)
        self._scratch.cleanup()
        sys.exit(1 if failed else 0)


def text(data):
    return data.decode("utf-8", "replace")


class Reader:
    """Collects what a file descriptor gives, on a thread, and waits for text in it."""

    def __init__(self, fd):
        self.fd, self.data, self.closed = fd, b"", False
        self.changed = threading.Condition()
        threading.Thread(target=self._loop, daemon=True).start()

    def _loop(self):
        while True:
            try:
                chunk = os.read(self.fd, 65536)
            except OSError:  # a pty whose other side is closed gives EIO
                chunk = b""
            with self.changed:
                self.data += chunk
                self.closed = not chunk
                self.changed.notify_all()
            if not chunk:
                return

    def expect(self, wanted, limit):
        """Waits until `wanted` (bytes) arrives; consumes everything up to its end."""
        end = time.monotonic() + limit
        with self.changed:
            while wanted not in self.data:
                left = end - time.monotonic()
                if left <= 0 or self.closed:
                    raise Failure(f"{wanted!r} did not come {'before the end' if self.closed else f'in {limit} s'}; "
                                  f"got:\n{text(self.data)[-3000:]}")
                self.changed.wait(left)
            at = self.data.index(wanted) + len(wanted)
            seen, self.data = self.data[:at], self.data[at:]
            return seen
