#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 Triune contributors
# SPDX-License-Identifier: Apache-2.0
"""Prints the source files that clang-tidy should look at, one a line: those that differ from main (or, on
main, what the last commit changed), a changed header standing for the .cpp files beside it that include it.
With --all: every source file. LINT_BASE names another commit to compare with."""
import os
import re
import subprocess
import sys


def git(*words):
    return subprocess.run(["git", *words], capture_output=True, text=True)


def base():
    if os.environ.get("LINT_BASE"):
        return os.environ["LINT_BASE"]
    head = git("rev-parse", "HEAD").stdout.strip()
    for name in ("origin/main", "main"):
        found = git("merge-base", "HEAD", name)
        if found.returncode == 0 and found.stdout.strip() != head:
            return found.stdout.strip()
    return "HEAD~1" if git("rev-parse", "-q", "--verify", "HEAD~1").returncode == 0 else head


def main():
    sources = [f for f in git("ls-files", "*.cpp").stdout.split() if not f.startswith("bench/")]
    if "--all" in sys.argv[1:]:
        print("\n".join(sources))
        return
    changed = set(git("diff", "--name-only", "--diff-filter=d", base(), "--", "*.cpp", "*.h").stdout.split())
    wanted = changed & set(sources)
    for header in (f for f in changed if f.endswith(".h")):
        name = re.sub(r"^(src|include)/", "", header)
        for source in sources:
            if os.path.dirname(source) != os.path.dirname(header):
                continue
            with open(source, encoding="utf-8") as f:
                if f'"{name}"' in f.read():
                    wanted.add(source)
    print("\n".join(sorted(wanted)))


if __name__ == "__main__":
    main()
