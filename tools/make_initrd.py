#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 Triune contributors
# SPDX-License-Identifier: Apache-2.0
"""Makes an initrd (cpio "newc", gzip): busybox, an /init, kernel modules with what they need, files.

Needs no root: devices and owners are written, not created. Examples:

  make_initrd.py --out initrd.gz --busybox busybox --init tools/guest/init \\
      --modules pkg/lib/modules/6.1.0-1-cloud-amd64 virtio_pci,virtio_blk
  make_initrd.py --out test.gz --base initrd.gz --add script.sh=/autorun
"""
import argparse
import gzip
import os
import re
import stat
import sys


class Cpio:
    """Collects entries of a newc archive (kernel Documentation/driver-api/early-userspace/buffer-format)."""

    def __init__(self):
        self.chunks = []
        self.names = set()
        self.inode = 0

    def entry(self, name, mode, data=b"", device=(0, 0)):
        name = name.strip("/")
        if name in self.names:
            return
        parent = os.path.dirname(name)
        if parent:
            self.directory(parent)
        self.names.add(name)
        self.write(name, mode, data, device)

    def write(self, name, mode, data, device):
        self.inode += 1
        links = 2 if stat.S_ISDIR(mode) else 1
        encoded = name.encode() + b"\0"
        fields = [self.inode, mode, 0, 0, links, 0, len(data), 0, 0, device[0], device[1], len(encoded), 0]
        header = b"070701" + b"".join(b"%08X" % f for f in fields) + encoded
        for part in (header, data):
            self.chunks += [part, b"\0" * (-len(part) % 4)]

    def directory(self, name, mode=0o755):
        self.entry(name, stat.S_IFDIR | mode)

    def file(self, name, data, mode=0o644):
        self.entry(name, stat.S_IFREG | mode, data)

    def symlink(self, name, target):
        self.entry(name, stat.S_IFLNK | 0o777, target.encode())

    def character_device(self, name, major, minor):
        self.entry(name, stat.S_IFCHR | 0o600, device=(major, minor))

    def finish(self):
        self.inode = -1
        self.write("TRAILER!!!", 0, b"", (0, 0))
        archive = b"".join(self.chunks)
        return archive + b"\0" * (-len(archive) % 512)


def read(path):
    with open(path, "rb") as f:
        return f.read()


def module_order(folder, wanted):
    """Paths of `wanted` modules and of all that they depend on, in an order in which they can be
    loaded. The names come from each module's own .modinfo section ("depends=a,b")."""
    paths = {}
    for directory, _, files in os.walk(folder):
        for file in files:
            if file.endswith(".ko"):
                paths[file[:-3].replace("-", "_")] = os.path.join(directory, file)
    order = []

    def visit(name):
        path = paths.get(name.replace("-", "_"))
        if path is None:
            sys.exit(f"make_initrd: {folder}: there is no module {name}")
        if path in order:
            return
        match = re.search(rb"\0depends=([^\0]*)\0", read(path))
        for needed in filter(None, match.group(1).decode().split(",") if match else []):
            visit(needed)
        if path not in order:
            order.append(path)

    for name in wanted:
        visit(name)
    return order


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True)
    parser.add_argument("--base", help="an initrd that this one is appended to")
    parser.add_argument("--busybox")
    parser.add_argument("--init")
    parser.add_argument("--modules", nargs=2, metavar=("DIR", "NAMES"))
    parser.add_argument("--add", action="append", default=[], metavar="FILE=/PATH", help="keeps the execute bit")
    options = parser.parse_args()

    cpio = Cpio()
    if options.busybox:
        for name in ("proc", "sys", "dev", "tmp", "root", "mnt", "run", "etc", "sbin", "usr/bin", "usr/sbin", "lib64"):
            cpio.directory(name, 0o1777 if name == "tmp" else 0o755)
        cpio.character_device("dev/console", 5, 1)
        cpio.character_device("dev/null", 1, 3)
        cpio.file("bin/busybox", read(options.busybox), 0o755)
        cpio.symlink("bin/sh", "busybox")
    if options.init:
        cpio.file("init", read(options.init), 0o755)
    if options.modules:
        order = module_order(options.modules[0], options.modules[1].split(","))
        for path in order:
            cpio.file("lib/modules/" + os.path.basename(path), read(path))
        names = "".join(f"/lib/modules/{os.path.basename(p)}\n" for p in order)
        cpio.file("lib/modules/order", names.encode())
    for item in options.add:
        source, _, target = item.partition("=")
        if not target.startswith("/"):
            parser.error(f"--add {item}: write FILE=/PATH")
        cpio.file(target, read(source), 0o755 if os.access(source, os.X_OK) else 0o644)

    base = read(options.base) if options.base else b""
    base += b"\0" * (-len(base) % 4)
    temporary = options.out + ".new"
    with open(temporary, "wb") as f:
        f.write(base + gzip.compress(cpio.finish(), 6, mtime=0))
    os.replace(temporary, options.out)


main()
