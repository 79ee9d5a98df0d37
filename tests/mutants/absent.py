#!/usr/bin/env python3
"""Deliberate bugs (common/base/bug.h) must not be in a program for use; one with -Dbugs=true must have all of them, and
tests/mutants/system.txt must know each.

    tests/mutants/absent.py POLDER yes|no     (yes: it was built with -Dbugs=true)
"""
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def main():
    polder, with_bugs = sys.argv[1], sys.argv[2] == "yes"
    names = re.findall(r"^\s+X\((\w+)\)", open(os.path.join(ROOT, "common/base/bug.h")).read(), re.M)
    listed = [line.split("|")[0].strip() for line in open(os.path.join(ROOT, "tests/mutants/system.txt"))
              if line.strip() and not line.startswith("#")]
    wrong = [f"{name}: in bug.h, but not in tests/mutants/system.txt" for name in names if name.replace("_", "-") not in listed]
    wrong += [f"{name}: in tests/mutants/system.txt, but not in bug.h" for name in listed if name.replace("-", "_") not in names]
    program = open(polder, "rb").read()
    for name in names:
        inside = any(form.encode() + b"\0" in program for form in (name, name.replace("_", "-"), "BUG_" + name))
        if inside != with_bugs:
            wrong.append(f"{name}: {'in' if inside else 'not in'} {polder}")
    told = subprocess.run([polder, "sim", "--bug", "list"], capture_output=True, text=True)
    if (told.returncode == 0) != with_bugs or (with_bugs and told.stdout.replace("-", "_").split() != names):
        wrong.append(f"polder sim --bug list: exit code {told.returncode}, {len(told.stdout.split())} names")
    for line in wrong:
        print(line)
    print(f"{len(names)} bugs, {'all' if with_bugs else 'none'} of them in {polder}" if not wrong else f"{len(wrong)} findings")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
