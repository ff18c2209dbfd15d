#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 Triune contributors
# SPDX-License-Identifier: Apache-2.0
"""Checks what README.md and docs/*.md name in `code` or link to: paths of this tree must exist, and
`./dev` verbs must be ones that ./dev knows. Exit status 1 and a line per wrong name.
"""
import os
import re
import sys

ROOT = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TOPS = ("src/", "include/", "tests/", "tools/", "docs/", "cmake/", "app/", "bench/", "fuzz/", ".ci/")


def pages():
    yield "README.md"
    for folder, _, names in os.walk(os.path.join(ROOT, "docs")):
        for name in sorted(names):
            if name.endswith(".md"):
                yield os.path.relpath(os.path.join(folder, name), ROOT)


def main():
    with open(os.path.join(ROOT, "dev"), encoding="utf-8") as f:
        verbs = set(re.findall(r"^verb_([\w]+)\(\)", f.read(), re.M))
    wrong = []
    for page in pages():
        path = os.path.join(ROOT, page)
        if not os.path.exists(path):
            wrong.append(f"{page}: missing")
            continue
        with open(path, encoding="utf-8") as f:
            lines = f.readlines()
        for number, line in enumerate(lines, 1):
            names = re.findall(r"`([^`\s]+)`", line)
            links = [t.split("#")[0] for t in re.findall(r"\]\(([^)\s]+)\)", line) if "://" not in t]
            for name in names:
                if name.startswith(TOPS) and not re.search(r"[*<{…]", name):
                    if not os.path.exists(os.path.join(ROOT, name.split(":")[0])):
                        wrong.append(f"{page}:{number}: {name} does not exist")
            for target in filter(None, links):
                if not os.path.exists(os.path.join(os.path.dirname(path), target)):
                    wrong.append(f"{page}:{number}: link to {target}, which does not exist")
            for verb in re.findall(r"\./dev ([a-z][\w-]*)", line):
                if verb.replace("-", "_") not in verbs:
                    wrong.append(f"{page}:{number}: ./dev {verb} is not a verb of ./dev")
    if wrong:
        sys.exit("\n".join(wrong))
    print("check_docs: all names exist")


main()
