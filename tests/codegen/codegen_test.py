#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 Triune contributors
# SPDX-License-Identifier: Apache-2.0
"""Holds the translations in blocks.txt against what `triune disasm-block` prints now.

A change of the translator shows up as a difference here. When it is wanted, write it down with
    tests/codegen/codegen_test.py --triune build/triune --update
and review the difference with the change that made it.
"""
import argparse
import difflib
import pathlib
import re
import shlex
import subprocess
import sys

PROMPT = "$ triune "
COUNTS = re.compile(r"; host: (\d+) instructions in the body, (\d+) in all")


def parse(text):
    """The text before the first block, then per block: its title, its command, its listing."""
    parts = re.split(r"(?m)^(?=== )", text)
    blocks = []
    for part in parts[1:]:
        title, command, listing = part.split("\n", 2)
        if not command.startswith(PROMPT):
            sys.exit(f"blocks.txt: '{title}' wants a line '{PROMPT}disasm-block …' below it")
        blocks.append((title, command, listing.rstrip("\n") + "\n"))
    return parts[0], blocks


def listing_now(triune, command):
    done = subprocess.run([triune, *shlex.split(command[len(PROMPT):])], capture_output=True, text=True, timeout=60)
    if done.returncode != 0:
        sys.exit(f"'{command}' ended with status {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def counts(listing):
    found = COUNTS.search(listing)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--triune", required=True, help="the program")
    options.add_argument("--blocks", type=pathlib.Path, default=pathlib.Path(__file__).with_name("blocks.txt"))
    options.add_argument("--update", action="store_true", help="write the translations of now into the file")
    args = options.parse_args()

    head, blocks = parse(args.blocks.read_text())
    if not blocks:
        sys.exit(f"{args.blocks}: no blocks")
    new = [(title, command, listing_now(args.triune, command)) for title, command, _ in blocks]
    changed = [(old, now) for old, now in zip(blocks, new) if old != now]
    for (title, _, before), (_, _, after) in changed:
        (body_before, all_before), (body, all_) = counts(before), counts(after)
        print(f"{title}\n   in the body {body_before} -> {body}, in all {all_before} -> {all_}")
        if not args.update:
            sys.stdout.writelines(difflib.unified_diff(before.splitlines(True), after.splitlines(True),
                                                       "blocks.txt", "now", n=2))
    if args.update:
        args.blocks.write_text(head + "\n".join(f"{t}\n{c}\n{text}" for t, c, text in new))
        print(f"{len(changed)} of {len(blocks)} blocks written anew")
        return 0
    if changed:
        print(f"\n{len(changed)} of {len(blocks)} blocks are translated otherwise than tests/codegen/blocks.txt says.\n"
              "If that is what you want: tests/codegen/codegen_test.py --triune build/triune --update")
        return 1
    print(f"{len(blocks)} blocks, as blocks.txt says")
    return 0


if __name__ == "__main__":
    sys.exit(main())
