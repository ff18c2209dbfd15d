#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 Triune contributors
# SPDX-License-Identifier: Apache-2.0
"""Disks: a file system made, written, synced and read back after a reboot, and from the host."""
import hashlib
import os
import shutil
import subprocess

from harness import Test, check, equal


def image(test, name, size):
    path = test.path(name)
    with open(path, "wb") as f:
        f.truncate(size)
    return path


def written_file_survives_a_reboot(test):
    disk = image(test, "disk.img", 48 << 20)
    script = """
if mount -t ext2 /dev/vda /mnt 2>/dev/null; then
    echo BEGIN; sha256sum </mnt/data; echo END
    umount /mnt
    poweroff -f
fi
mke2fs /dev/vda >/dev/null && mount -t ext2 /dev/vda /mnt
seq 1 500000 >/mnt/data
mkdir /mnt/folder; for i in 1 2 3 4 5; do echo $i >/mnt/folder/$i; done
sync
umount /mnt
reboot -f
"""
    result = test.boot(script, "--disk", disk)
    data = "".join(f"{i}\n" for i in range(1, 500001)).encode()
    equal(result.between("BEGIN", "END"), [hashlib.sha256(data).hexdigest() + "  -"], "sum read back after the reboot")
    fsck, debugfs = (shutil.which(t, path=os.environ["PATH"] + ":/sbin:/usr/sbin") for t in ("e2fsck", "debugfs"))
    check(fsck and debugfs, "e2fsck and debugfs (package e2fsprogs) are missing")
    checked = subprocess.run([fsck, "-fn", disk], capture_output=True)
    equal(checked.returncode, 0, f"e2fsck on the host: {checked.stdout.decode()}")
    from_host = subprocess.run([debugfs, "-R", "cat data", disk], capture_output=True).stdout
    check(from_host == data, "the file read from the host differs")


def raw_sectors_arrive(test):
    """Two disks at once, large and small requests, both directions, compared byte by byte."""
    source, target = image(test, "source.img", 8 << 20), image(test, "target.img", 8 << 20)
    data = b"".join(hashlib.sha512(i.to_bytes(4, "little")).digest() for i in range((8 << 20) // 64))
    with open(source, "wb") as f:
        f.write(data)
    test.boot("""
dd if=/dev/vda of=/dev/vdb bs=64k count=64 2>/dev/null
dd if=/dev/vda of=/dev/vdb bs=512 skip=8192 seek=8192 2>/dev/null
sync
if echo x 2>/dev/null >/dev/vda; then echo WRITABLE; fi
""", "--disk", source + ",readonly", "--disk", target)
    with open(target, "rb") as f:
        check(f.read() == data, "the copy differs")
    with open(source, "rb") as f:
        check(f.read() == data, "the read-only disk changed")


if __name__ == "__main__":
    Test().main(written_file_survives_a_reboot, raw_sectors_arrive)
