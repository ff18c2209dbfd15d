#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 Triune contributors
# SPDX-License-Identifier: Apache-2.0
"""`./dev system-test`: boots a Debian root file system with a compiler, Node and Java inside. A C program is
compiled and run there and its output compared with the host's; Node and Java, whose JIT compilers write code
while it runs, compute what Python and openssl check. The image is made once (mmdebstrap) and used through a
copy. Takes minutes."""
import hashlib
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


PACKAGES = "gcc,libc6-dev,perl,nodejs,openjdk-17-jre-headless"


def make_image(path):
    if os.path.exists(path):
        return
    os.makedirs(os.path.dirname(path), exist_ok=True)
    print("==> Making a Debian root file system (mmdebstrap, some minutes)", flush=True)
    new = path + ".new.ext2"
    subprocess.run(["mmdebstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", new], check=True)
    os.replace(new, path)


def put(image, source, name, mode):
    """Copies a host file into the image, replacing what was there."""
    commands = f"rm {name}\nwrite {source} {name}\nset_inode_field {name} mode 0{mode:o}\n"
    debugfs = shutil.which("debugfs", path=os.environ["PATH"] + ":/sbin:/usr/sbin")
    subprocess.run([debugfs, "-w", "-f", "-", image], input=commands.encode(), check=True, capture_output=True)


def boot_with(test, files):
    """Boots a copy of the image with `files`: (contents, path in the guest, mode); /test is what runs."""
    image = os.path.join(os.path.dirname(test.options.guest.rstrip("/")), "root-fs", "root-jit.ext2")
    make_image(image)
    disk = test.path("root.img")
    shutil.copy(image, disk)
    for n, (contents, name, mode) in enumerate(files):
        source = test.path(f"file{n}")
        with open(source, "w") as f:
            f.write(contents)
        put(disk, source, name, mode)
    print("==> Booting it", flush=True)
    return test.boot(SWITCH, "--disk", disk, memory="1G").between("BEGIN", "END")


END = """echo END
sync
mount -o remount,ro /
echo o >/proc/sysrq-trigger
sleep 100
"""


def compile_and_run_inside(test):
    program = test.path("program.c")
    with open(program, "w") as f:
        f.write(PROGRAM)
    subprocess.run(["gcc", "-O2", "-o", test.path("program"), program, "-lm", "-lpthread"], check=True)
    native = subprocess.run([test.path("program")], capture_output=True, check=True).stdout.decode().splitlines()
    lines = boot_with(test, [(PROGRAM, "/root/program.c", 0o100644), (SCRIPT, "/test", 0o100755)])
    check("gcc" in lines[0], f"no gcc in the guest: {lines[0]}")
    equal(lines[1:1 + len(native)], native, "output of the C program")
    equal(len(lines), len(native) + 4, f"lines of output ({lines})")


NODE = """
let hash = 7;
for (let i = 0; i < 3000000; ++i) hash = (Math.imul(hash, 31) + i) >>> 0;
console.log(hash);
const shapes = [];  // several shapes at one place: optimised code is thrown away and made anew
for (let i = 0; i < 200000; ++i) shapes.push(i % 3 ? {a: i} : i % 2 ? {b: 1, a: i} : {c: 'x', a: i, d: null});
console.log(shapes.reduce((sum, s) => sum + s.a, 0));
console.log(require('crypto').createHash('sha256').update(JSON.stringify(shapes)).digest('hex'));
console.log([...Array(50000).keys()].map(i => (i * 7919) % 50021).sort((a, b) => a - b).filter(i => i % 1000 == 0).join());
const worker = new (require('worker_threads').Worker)(
    'let s = 0n; for (let i = 0n; i < 100000n; ++i) s += i * i; require("worker_threads").parentPort.postMessage(`${s}`)',
    {eval: true});
worker.on('message', m => console.log(m));
"""


def node_inside(test):
    value = 7
    for i in range(3000000):
        value = (value * 31 + i) & 0xffffffff
    text = "[" + ",".join(f'{{"a":{i}}}' if i % 3 else f'{{"b":1,"a":{i}}}' if i % 2 else f'{{"c":"x","a":{i},"d":null}}'
                          for i in range(200000)) + "]"
    wanted = [str(value), str(sum(range(200000))), hashlib.sha256(text.encode()).hexdigest(),
              ",".join(str(i) for i in sorted(k * 7919 % 50021 for k in range(50000)) if i % 1000 == 0),
              str(sum(i * i for i in range(100000)))]
    script = "#!/bin/sh\nmount -t proc proc /proc\necho BEGIN\nNO_COLOR=1 node /root/test.js 2>&1\n" + END
    lines = boot_with(test, [(NODE, "/root/test.js", 0o100644), (script, "/test", 0o100755)])
    equal(lines, wanted, "output of Node")


def java_inside(test):
    """A JRE has no compiler, but keytool: it makes an RSA key and a certificate, which openssl verifies here."""
    tool = "keytool -keystore /tmp/keys -storepass secret -alias one"
    script = ("#!/bin/sh\nmount -t proc proc /proc\nmount -t tmpfs none /tmp\necho BEGIN\njava -version 2>&1 | head -1\n"
              f"{tool} -genkeypair -keyalg RSA -keysize 3072 -dname CN=triune -validity 36500 2>/dev/null\n"
              f"{tool} -exportcert -rfc\n" + END)
    lines = boot_with(test, [(script, "/test", 0o100755)])
    check("17." in lines[0], f"java -version: {lines[0]}")
    certificate = test.path("certificate.pem")
    with open(certificate, "w") as f:
        f.write("\n".join(lines[1:]) + "\n")
    done = subprocess.run(["openssl", "verify", "-check_ss_sig", "-CAfile", certificate, certificate], capture_output=True)
    equal(done.returncode, 0, f"openssl verify: {done.stdout + done.stderr!r}; the guest said {lines}")


if __name__ == "__main__":
    sys.argv += [] if any(a.startswith("--limit") for a in sys.argv) else ["--limit", "600"]
    Test().main(compile_and_run_inside, node_inside, java_inside)
