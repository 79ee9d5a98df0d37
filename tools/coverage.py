#!/usr/bin/env python3
"""Sums up gcov's JSON for a build directory: covered lines per folder and the ten least covered files."""
import collections
import json
import os
import subprocess
import sys


def main():
    build = os.path.abspath(sys.argv[1])
    root = os.getcwd()
    notes = [os.path.join(folder, name) for folder, _, names in os.walk(build) for name in names if name.endswith(".gcda")]
    lines = collections.defaultdict(dict)
    for start in range(0, len(notes), 50):
        out = subprocess.run(["gcov", "--json-format", "--stdout", *notes[start:start + 50]], cwd=build,
                             capture_output=True, check=False, text=True).stdout
        for report in filter(None, out.splitlines()):
            for file in json.loads(report)["files"]:
                path = os.path.relpath(os.path.normpath(os.path.join(build, file["file"])), root)
                if path.startswith("..") or path.startswith("build") or path.startswith("tests"):
                    continue
                for line in file["lines"]:
                    number = line["line_number"]
                    lines[path][number] = max(lines[path].get(number, 0), line["count"])
    folders = collections.defaultdict(lambda: [0, 0])
    shares = []
    for path, counts in lines.items():
        covered = sum(1 for count in counts.values() if count)
        shares.append((covered / len(counts), len(counts), path))
        for folder in (os.path.dirname(path), "all"):
            folders[folder][0] += covered
            folders[folder][1] += len(counts)
    for folder, (covered, total) in sorted(folders.items(), key=lambda item: (item[0] == "all", item[0])):
        print(f"{100 * covered / total:6.1f} %  {covered:6d} of {total:6d} lines  {folder}")
    print("\nleast covered:")
    for share, total, path in sorted(shares)[:10]:
        print(f"{100 * share:6.1f} %  of {total:4d} lines  {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
