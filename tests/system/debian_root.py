#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 Triune contributors
# SPDX-License-Identifier: Apache-2.0
"""`./dev system-test`: boots a Debian root file system with a compiler inside, compiles and runs a C
program there, and compares its output with the host's. The image is made once (mmdebstrap) and used
through a copy. Takes minutes."""
import os
import shutil
import subprocess
import sys

from harness import Test, check, equal

PROGRAM = r"""
#include <math.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t state = 88172645463325252u;
static uint64_t next(void) { state ^= state << 13; state ^= state >> 7; state ^= state << 17; return state; }
static int compare(const void* a, const void* b) {
    const double x = *(const double*)a, y = *(const double*)b;
    return (x > y) - (x < y);
}
static void* add_up(void* p) {
    double* const range = p, sum = 0;
    for (int i = 0; i < 50000; ++i) sum += sqrt(range[i]);
    range[0] = sum;
    return NULL;
}
int main(void) {
    static double numbers[200000];
    for (int i = 0; i < 200000; ++i) numbers[i] = (double)(next() >> 11) / 9007199254740992.0;
    qsort(numbers, 200000, sizeof *numbers, compare);
    printf("%.17g %.17g\n", numbers[0], numbers[199999]);
    pthread_t threads[4];
    for (int i = 0; i < 4; ++i) pthread_create(&threads[i], NULL, add_up, numbers + 50000 * i);
    for (int i = 0; i < 4; ++i) pthread_join(threads[i], NULL);
    for (int i = 0; i < 4; ++i) printf("%.12g\n", numbers[50000 * i]);
    long double x = 1;
    for (int i = 1; i < 30; ++i) x = sinl(x) + 1.0L / i;
    printf("%.15Lg %.15g %a\n", x, pow(1.0001, 12345), exp(1));
    char text[100];
    snprintf(text, sizeof text, "%s-%d", "triune", 42);
    printf("%zu %s\n", strlen(text), text);
    return 0;
}
"""

SCRIPT = r"""#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev
cd /root
echo BEGIN
gcc --version | head -n 1
gcc -O2 -Wall -o program program.c -lm -lpthread && ./program
gcc -O0 -o program0 program.c -lm -lpthread && ./program0 | sha256sum
perl -e 'my %h; $h{$_ % 97} += $_ for 1..20000; print join(",", map { $h{$_} } sort { $a <=> $b } keys %h), "\n"' | sha256sum
dpkg -l | grep -c ^ii
echo END
sync
mount -o remount,ro /
echo o >/proc/sysrq-trigger
sleep 100
"""

# In the initrd: goes on in the disk's file system (the script is not PID 1, so no switch_root).
SWITCH = "mount -t ext4 /dev/vda /mnt && exec chroot /mnt /test\necho 'could not mount the disk'\n"


def make_image(path):
    if os.path.exists(path):
        return
    os.makedirs(os.path.dirname(path), exist_ok=True)
    print("==> Making a Debian root file system (mmdebstrap, some minutes)", flush=True)
    new = path + ".new.ext2"
    subprocess.run(["mmdebstrap", "--variant=minbase", "--include=gcc,libc6-dev,perl", "bookworm", new], check=True)
    os.replace(new, path)


def put(image, source, name, mode):
    """Copies a host file into the image, replacing what was there."""
    commands = f"rm {name}\nwrite {source} {name}\nset_inode_field {name} mode 0{mode:o}\n"
    debugfs = shutil.which("debugfs", path=os.environ["PATH"] + ":/sbin:/usr/sbin")
    subprocess.run([debugfs, "-w", "-f", "-", image], input=commands.encode(), check=True, capture_output=True)


def compile_and_run_inside(test):
    image = os.path.join(os.path.dirname(test.options.guest.rstrip("/")), "root-fs", "root.ext2")
    make_image(image)
    disk = test.path("root.img")
    shutil.copy(image, disk)
    program, script = test.path("program.c"), test.path("test.sh")
    with open(program, "w") as f:
        f.write(PROGRAM)
    with open(script, "w") as f:
        f.write(SCRIPT)
    put(disk, program, "/root/program.c", 0o100644)
    put(disk, script, "/test", 0o100755)
    subprocess.run(["gcc", "-O2", "-o", test.path("program"), program, "-lm", "-lpthread"], check=True)
    native = subprocess.run([test.path("program")], capture_output=True, check=True).stdout.decode().splitlines()
    print("==> Booting it", flush=True)
    result = test.boot(SWITCH, "--disk", disk)
    lines = result.between("BEGIN", "END")
    check("gcc" in lines[0], f"no gcc in the guest: {lines[0]}")
    equal(lines[1:1 + len(native)], native, "output of the C program")
    equal(len(lines), len(native) + 4, f"lines of output ({lines})")


if __name__ == "__main__":
    sys.argv += [] if any(a.startswith("--limit") for a in sys.argv) else ["--limit", "600"]
    Test().main(compile_and_run_inside)
