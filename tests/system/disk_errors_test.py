#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 Triune contributors
# SPDX-License-Identifier: Apache-2.0
"""What goes wrong with disks and ports while a guest runs: the guest gets an I/O error, the monitor goes on;
a stop by a signal loses nothing that was written."""
import os
import signal
import socket
import subprocess

import harness
from harness import Failure, Reader, Test, check, equal

WRITE = "dd if=/dev/zero of=/dev/vda bs=1M count={} oflag=direct 2>/dev/null && echo WRITTEN || echo FAILED\n"


def sparse(path, size):
    with open(path, "wb") as f:
        f.truncate(size)
    return path


def full_file_system(test):
    """A sparse image larger than what its file system can hold: ENOSPC becomes the guest's I/O error."""
    folder = test.path("small")
    os.makedirs(folder)
    words = test.run_words(test.initrd_with(WRITE.format(32) + "dd if=/dev/vda of=/dev/null bs=512 count=1 "
                                            "2>/dev/null && echo ALIVE\npoweroff -f\n"), "--disk", folder + "/disk.img")
    # A mount of its own, which needs a user namespace where this is not root.
    unshare = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-rm"]
    script = f'mount -t tmpfs -o size=8M none "{folder}" && truncate -s 64M "{folder}/disk.img" && exec "$@"'
    if subprocess.run([*unshare, "sh", "-c", f'mount -t tmpfs none "{folder}"'], capture_output=True).returncode:
        print("     this host lets nobody mount a tmpfs: not tried")
        return
    result = test.run([*unshare, "sh", "-c", script, "sh", *words])
    equal(result.status, harness.POWERED_OFF, f"status; stderr {result.err!r}")
    check("FAILED" in result.out and "WRITTEN" not in result.out, f"the guest's write: {result.out[-500:]}")
    check("ALIVE" in result.out, f"a read after the error: {result.out[-500:]}")


def image_that_shrinks(test):
    """Somebody truncates the image under a running guest: reads beyond its end are I/O errors."""
    disk = sparse(test.path("shrinks.img"), 8 << 20)
    script = ("echo WAITING\nread line\n"
              "dd if=/dev/vda of=/dev/null bs=512 skip=8192 count=1 2>/dev/null && echo READ || echo FAILED\npoweroff -f\n")
    process = subprocess.Popen(test.run_words(test.initrd_with(script), "--disk", disk), stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        reader = Reader(process.stdout.fileno())
        reader.expect(b"WAITING", test.options.limit)
        os.truncate(disk, 1 << 20)
        process.stdin.write(b"go\n")
        process.stdin.flush()
        reader.expect(b"FAILED", 60)
        equal(process.wait(60), harness.POWERED_OFF, "status")
    except subprocess.TimeoutExpired:
        raise Failure("no end within 60 s") from None
    finally:
        process.kill()
        process.wait()


def sigterm_keeps_what_was_written(test):
    disk = sparse(test.path("kept.img"), 1 << 20)
    script = ("printf precious | dd of=/dev/vda conv=notrunc 2>/dev/null; dd if=/dev/vda of=/dev/null bs=1 count=1 2>/dev/null\n"
              "sync\necho WAITING\nsleep 1000\n")
    process = subprocess.Popen(test.run_words(test.initrd_with(script), "--disk", disk), stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        Reader(process.stdout.fileno()).expect(b"WAITING", test.options.limit)
        process.send_signal(signal.SIGTERM)
        equal(process.wait(20), harness.TERMINATED, "status")
    finally:
        process.kill()
        process.wait()
    with open(disk, "rb") as f:
        equal(f.read(8), b"precious", "the disk afterwards")


def port_taken(test):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        port = s.getsockname()[1]
        result = test.run([test.triune, "run", "--kernel", test.kernel, "--net",
                           f"user,hostfwd=tcp:127.0.0.1:{port}-:22"], limit=20)
        equal(result.status, harness.BAD_USAGE, f"status; stderr {result.err!r}")
        check(len(result.err.splitlines()) == 1 and str(port) in result.err, f"stderr {result.err!r}")


def without_rights(test):
    """As nobody: a kernel and a disk that may not be read, a disk that may only be read."""
    def run(*words):
        command = [test.triune, "run", *words]
        if os.geteuid() == 0:
            command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *command]
        return test.run(command, limit=20)
    if run("--help").status != 0:
        print("     nobody may not run the program where it lies: not tried")
        return
    os.chmod(test.scratch, 0o755)
    secret, disk = sparse(test.path("secret"), 1 << 20), sparse(test.path("readable.img"), 1 << 20)
    os.chmod(secret, 0)
    os.chmod(disk, 0o444)
    if os.geteuid() != 0:
        os.chmod(test.path(""), 0o755)
    for what, named, words in (("unreadable kernel", "secret", ["--kernel", secret]),
                               ("unreadable disk", "secret", ["--kernel", test.kernel, "--disk", secret]),
                               ("read-only disk", "readable.img", ["--kernel", test.kernel, "--disk", disk])):
        result = run(*words)
        equal(result.status, harness.BAD_USAGE, f"{what}: stderr {result.err!r}")
        check(len(result.err.splitlines()) == 1 and named in result.err, f"{what}: stderr {result.err!r}")


if __name__ == "__main__":
    Test().main(port_taken, without_rights, full_file_system, image_that_shrinks, sigterm_keeps_what_was_written)
