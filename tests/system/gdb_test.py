#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 Triune contributors
# SPDX-License-Identifier: Apache-2.0
"""The GDB stub under Debian's gdb, with a small kernel that has symbols and with Linux; bad clients; and the
report of a triple fault."""
import os
import re
import socket
import subprocess
import time

from harness import BAD_USAGE, ROOT, TRIPLE_FAULT, Failure, Test, check, equal, text

SOURCE = os.path.join(ROOT, "tests/system/kernels")


def build(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    check(done.returncode == 0, f"{' '.join(command)}: {done.stdout.decode()}")


def kernel(test, *defines):
    path = test.path("debuggee" + "".join(defines))
    build("gcc", "-g", "-O0", "-m64", "-ffreestanding", "-fno-pic", "-fno-stack-protector", "-fcf-protection=none",
          "-mno-red-zone", "-mgeneral-regs-only", *defines, "-c", "-o", path + "-c.o",
          os.path.join(SOURCE, "debuggee.c"))
    build("gcc", "-m64", "-c", "-o", path + "-s.o", os.path.join(SOURCE, "debuggee.S"))
    build("ld", "-m", "elf_x86_64", "-z", "max-page-size=4096", "--no-warn-rwx-segments", "-e", "start",
          "--section-start=.header=0x200000", "-Ttext=0x201000", "-o", path, path + "-s.o", path + "-c.o")
    return path


class Vm:
    """Triune with a stub on a unix socket."""

    def __init__(self, test, *words, image=None, memory="64M"):
        self.socket = test.path(f"gdb{time.monotonic_ns()}")
        command = [test.triune, "run", "--engine", test.options.engine, "--serial", "none", "--memory", memory,
                   "--device", "isa-debug-exit", "--kernel", image or kernel(test), "--gdb", f"unix:{self.socket}",
                   *words]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE)
        for _ in range(600):
            if os.path.exists(self.socket):
                return
            time.sleep(0.05)
        raise Failure(f"no socket: {text(self.process.communicate()[1])}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()

    def gdb(self, *commands, symbols=None, limit=120):
        words = ["gdb", "-nx", "-batch", "-ex", "set confirm off", "-ex", "set pagination off", "-ex", "set width 0"]
        for command in (f"target remote {self.socket}", *commands):
            words += ["-ex", command]
        if symbols:
            words.append(symbols)
        try:
            done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  timeout=limit)
        except subprocess.TimeoutExpired as late:
            raise Failure(f"gdb did not end in {limit} s; output:\n{text(late.stdout or b'')[-3000:]}")
        return text(done.stdout)

    def connect(self):
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(30)
        s.connect(self.socket)
        return s

    def end(self, status):
        try:
            _, err = self.process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            raise Failure("the VM did not end")
        check(self.process.returncode == status, f"status {self.process.returncode}, wanted {status}: {text(err)}")
        return text(err)


def in_order(out, *patterns):
    at = 0
    for pattern in patterns:
        match = re.compile(pattern, re.M).search(out, at)
        check(match, f"{pattern!r} is missing after character {at} of:\n{out}")
        at = match.end()


def breakpoints_steps_and_data(test):
    image = kernel(test)
    with Vm(test, "--wait", "--cpus", "2", image=image) as vm:
        out = vm.gdb(
            "advance *&start", "printf \"at start %d\\n\", $rip == (long)&start", "hbreak outer", "continue",
            "break inner", "continue", "backtrace", "info threads", "finish",
            "continue", "delete", "stepi", "stepi", "next", "next", "step",
            "set var counter = 1000", "watch counter", "continue", "continue", "delete",
            "rwatch readable", "continue", "delete", "awatch both", "continue", "delete",
            "set $r12 = 0x123456789abcdef0", "print/x $r12", "set $xmm3.v2_int64[1] = 77", "print $xmm3.v2_int64[1]",
            "set var readable = 4711", "print readable", "print $efer", "print $cr0", "print/x $cs",
            "monitor walk 0x201000", "monitor gva2gpa 0x201000", "monitor phys on", "x/2xw 0x200000",
            "monitor phys off", "monitor info registers", "monitor nonsense",
            "set var quit = 16", "detach", symbols=image)
        in_order(out, r"at start 1", r"Breakpoint 1, outer \(n=3\)", r"Breakpoint 2, inner \(a=1\)",
                 r"#0 +inner \(a=1\)", r"#1 .* outer \(n=3\)", r"#2 .* main", r"\* 1 +Thread 1", r"2 +Thread 2.*start",
                 r"Value returned is \$1 = 2", r"Breakpoint 2, inner \(a=2\)",
                 r"watchpoint 3: counter", r"Old value = 1000", r"watchpoint 3: counter", r"Old value = 100\d",
                 r"read watchpoint 4: readable", r"Value = 7", r"access \(read/write\) watchpoint 5: both", r"alue = 8",
                 r"0x123456789abcdef0", r"= 77", r"= 4711", r"LME.*LMA", r"PE.*PG", r"0x8\b",
                 r"page walk of 0000000000201000 \(4-level", r"PML4E at", r"PDE", r"a page of 2 MB", r"0x201000",
                 r"0x200000:\s+0x1badb002\s+0x00000000", r"64-bit mode, CPL 0", r"'nonsense' is not a command")
        vm.end(16 << 1 | 1)


def the_guest_goes_on_and_is_interrupted(test):
    image = kernel(test)
    with Vm(test, image=image) as vm:
        # Attaching stops it, detaching lets it go on; Ctrl-C stops it wherever it is.
        first = vm.gdb("print rounds", "detach", symbols=image)
        out = vm.gdb("print rounds", "shell (sleep 1; kill -INT $PPID) &", "continue", "print rounds",
                     "break touch", "continue", "continue", "kill", symbols=image)
        in_order(out, r"\$1 = \d+", r"SIGINT", r"\$2 = \d+", r"Breakpoint 1, touch", r"Breakpoint 1, touch")
        rounds = [int(n) for n in re.findall(r"^\$\d = (\d+)", first + out, re.M)]
        check(rounds == sorted(set(rounds)), f"the guest did not go on: {rounds}")
        vm.process.wait(60)


def code_of_32_bits(test):
    image = kernel(test)
    with Vm(test, "--wait", image=image) as vm:
        vm.gdb("monitor arch i386")
        out = vm.gdb("set architecture i386", "advance *0x%x" % symbol(image, "start"), "x/i $eip", "hbreak *0x%x" % symbol(image, "enabling"), "continue",
                     "p/x $ecx", "stepi", "stepi", "info registers eip", "p $cr0", "p/x $ds_base",
                     "disconnect")
        in_order(out, r"mov +\$0x[0-9a-f]+,%esp", r"Breakpoint 1,", r"= 0x200", r"eip +0x%x" %
                 (symbol(image, "enabling") + 8), r"PE")


def symbol(image, name):
    out = subprocess.run(["nm", image], stdout=subprocess.PIPE, check=True).stdout.decode()
    return int(re.search(rf"^([0-9a-f]+) \w {name}$", out, re.M).group(1), 16)


def bad_clients(test):
    image = kernel(test)
    with Vm(test, image=image) as vm:
        for data in (b"$", b"\x03\x03\x03", b"$" + b"A" * 100000 + b"#00", b"$m0,ffffffffffffffff#00" * 50,
                     b"$vCont;s:99;q:#00+$g#67", b"$Z9,zz#00$qXfer:features:read:target.xml:ffff,ffff#00",
                     bytes(range(256)) * 64, b"$vCont;c#a8"):
            with vm.connect() as client:
                client.sendall(data)
                time.sleep(0.05)
        with vm.connect() as client:
            client.sendall(b"+$QStartNoAckMode#b0")
            got = b""
            while b"$OK#9a" not in got:
                more = client.recv(100)
                check(more, f"the stub hung up after {got!r}")
                got += more
        out = vm.gdb("print rounds > 0", "kill", symbols=image)
        in_order(out, r"\$1 = 1")
        vm.process.wait(60)


def linux(test):
    with Vm(test, "--initrd", test.initrd, "--append", "console=ttyS0", "--cpus", "2",
            image=test.kernel, memory="256M") as vm:
        time.sleep(10)
        out = vm.gdb("info threads", "shell (sleep 2; kill -INT $PPID) &", "continue", "info threads",
                     "print/x $cs & 3", "print $cr0", "stepi", "x/i $pc", "monitor info cpus", "thread 2",
                     "print/x $rip", "detach")
        in_order(out, r"Thread 1", r"Thread 2", r"SIGINT", r"\$1 = 0x[03]", r"PG", r"=> 0x", r"vCPU 0", r"vCPU 1",
                 r"\$3 = 0x")


def bad_options(test):
    for words, part in ((["--gdb", "tcp:nowhere"], "is not an address"), (["--gdb", "1234"], "is not an address"),
                        (["--wait"], "add --gdb"), (["--gdb", f"unix:{test.kernel}"], "not a socket")):
        result = test.run([test.triune, "run", "--kernel", test.kernel, "--serial", "none", *words], limit=60)
        equal(result.status, BAD_USAGE, f"status with {words}")
        check(part in result.err and result.err.count("\n") == 1, f"{words}: {result.err!r}")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"tcp:127.0.0.1:{taken.getsockname()[1]}"
        result = test.run([test.triune, "run", "--kernel", test.kernel, "--serial", "none", "--gdb", address], limit=60)
        equal(result.status, BAD_USAGE, "status with a port in use")
        check("the port is in use" in result.err and result.err.count("\n") == 1, result.err)


def triple_fault_report(test):
    result = test.run([test.triune, "run", "--engine", test.options.engine, "--serial", "none", "--kernel",
                       kernel(test, "-DCRASH")], limit=60)
    equal(result.status, TRIPLE_FAULT, "status")
    in_order(result.err, r"64-bit mode, CPL 0", r"^RIP=0+201", r"^CS ", r"^GDTR", r"CR2=0000007000000000",
             r"^instruction at [0-9a-f]+: mov qword ptr \[.*\], 0x0*1", r"^bytes: .*<48>", r"last exceptions",
             r"#PF .*address 0000007000000000", r"page walk of 0000007000000000 \(4-level", r"PML4E at .*not present|"
             r"PDPTE at .* not present", r"not mapped")


if __name__ == "__main__":
    Test().main(breakpoints_steps_and_data, the_guest_goes_on_and_is_interrupted, code_of_32_bits, bad_clients, linux,
                bad_options, triple_fault_report)
