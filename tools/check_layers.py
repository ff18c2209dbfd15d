#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 Triune contributors
# SPDX-License-Identifier: Apache-2.0
"""Refuses an #include that the module table (cmake/modules.cmake) does not allow.

A file may include its own module, the modules that its line names, and what those may include.
include/triune is open to machine, control and app; app may include everything.

  check_layers.py [ROOT]        checks; exit status 1 and a line per violation when there are any
  check_layers.py --self-test   checks the checker
"""
import os
import re
import sys

MODULE = re.compile(r"^triune_module\((\w+)\s+src/([\w/]+)((?:\s+\w+(?:::\w+)?)*)\)", re.M)
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include\s+["<]([\w./-]+)[">]', re.M)
PUBLIC_USERS = {"machine", "control", "app"}


def read_table(text):
    """Module name -> (folder below src, direct dependencies)."""
    table = {}
    for name, folder, rest in MODULE.findall(text):
        words = rest.split()
        dependencies = []
        if "DEPS" in words:
            for word in words[words.index("DEPS") + 1:]:
                if word == "LIBS":
                    break
                dependencies.append(word)
        table[name] = (folder, dependencies)
    return table


def closure(table, name):
    seen, todo = set(), [name]
    while todo:
        module = todo.pop()
        if module not in seen:
            seen.add(module)
            todo += table[module][1]
    return seen


def module_of(table, path):
    """The module whose folder holds `path` (relative to src); the deepest folder wins."""
    best = None
    for name, (folder, _) in table.items():
        if path.startswith(folder + "/") and (best is None or len(folder) > len(table[best][0])):
            best = name
    return best


def check(table, files):
    """`files`: path relative to the root -> text. Yields one line per violation."""
    for path, text in sorted(files.items()):
        owner = "app" if path.startswith("app/") else module_of(table, path.removeprefix("src/"))
        if path.startswith("include/"):
            owner = "public"
        elif owner is None:
            yield f"{path}: belongs to no module of cmake/modules.cmake"
            continue
        allowed = {"app": set(table), "public": set()}.get(owner) if owner in ("app", "public") else closure(table, owner)
        for match in INCLUDE.finditer(text):
            target = match.group(1)
            line = text.count("\n", 0, match.start()) + 1
            if target.startswith("triune/"):
                if owner not in PUBLIC_USERS | {"public"}:
                    yield f"{path}:{line}: {owner} may not include the public API {target}"
                continue
            module = module_of(table, target)
            if module is not None and module not in allowed:
                yield f"{path}:{line}: {owner} may not include {target} (of {module}): cmake/modules.cmake"


def load(root):
    files = {}
    for top in ("src", "app", "include"):
        for folder, _, names in os.walk(os.path.join(root, top)):
            for name in names:
                if name.endswith((".h", ".cpp")):
                    path = os.path.join(folder, name)
                    with open(path, encoding="utf-8") as f:
                        files[os.path.relpath(path, root)] = f.read()
    return files


def self_test():
    table = read_table("triune_module(base src/base LIBS fmt::fmt)\n"
                       "triune_module(hypervisor src/hypervisor DEPS base)\n"
                       "triune_module(bt src/hypervisor/soft/bt DEPS hypervisor LIBS Zydis)\n"
                       "triune_module(device src/device DEPS base)\n"
                       "triune_module(control src/control LIBS CLI11::CLI11 fmt::fmt)\n")
    assert table["bt"] == ("hypervisor/soft/bt", ["hypervisor"]), table
    assert closure(table, "bt") == {"bt", "hypervisor", "base"}
    good = {"src/hypervisor/soft/bt/a.cpp": '#include "base/x.h"\n#include "hypervisor/h.h"\n#include <vector>\n',
            "src/control/c.cpp": '#include "triune/vm.h"\n', "app/main.cpp": '#include "control/c.h"\n'}
    assert not list(check(table, good)), list(check(table, good))
    bad = {"src/device/d.cpp": '\n#include "hypervisor/h.h"\n', "src/hypervisor/h.h": '#include "hypervisor/soft/bt/bt.h"\n',
           "src/control/c.cpp": '#  include "base/x.h"\n', "src/base/b.h": '#include "triune/vm.h"\n',
           "src/stray/s.cpp": "", "include/triune/vm.h": '#include "base/x.h"\n'}
    found = list(check(table, bad))
    assert len(found) == 6, found
    assert any(line.startswith("src/device/d.cpp:2:") for line in found), found


def main():
    if sys.argv[1:] == ["--self-test"]:
        self_test()
        return
    root = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    with open(os.path.join(root, "cmake/modules.cmake"), encoding="utf-8") as f:
        table = read_table(f.read())
    if len(table) < 5:
        sys.exit("check_layers: cmake/modules.cmake: its table could not be read")
    files = load(root)
    violations = list(check(table, files))
    print("\n".join(violations), file=sys.stderr, end="\n" if violations else "")
    if violations:
        sys.exit(1)
    print(f"check_layers: {len(files)} files of {len(table)} modules obey the table")


main()
