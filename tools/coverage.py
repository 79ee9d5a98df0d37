#!/usr/bin/env python3
"""Sums up gcov's JSON for a build directory: covered lines of the product.

With --folder, file by file for these folders, and exit code 1 if one of them is below --min; the lines that nothing
reached are named. Else a table of all folders and the ten least covered files, beside what --save kept of an earlier run."""
import argparse
import collections
import json
import os
import subprocess
import sys


def read_lines(build):
    """Path -> line -> how often."""
    lines = collections.defaultdict(dict)
    root = os.getcwd()
    notes = [os.path.join(folder, name) for folder, _, names in os.walk(build) for name in names if name.endswith(".gcda")]
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
    return lines


def add_up(lines):
    """Folder, file or "all" -> [covered, total]."""
    sums = collections.defaultdict(lambda: [0, 0])
    for path, counts in lines.items():
        for name in (path, os.path.dirname(path), "all"):
            sums[name][0] += sum(1 for count in counts.values() if count)
            sums[name][1] += len(counts)
    return sums


def percent(sums, name):
    return 100 * sums[name][0] / sums[name][1] if sums[name][1] else 0.0


def ranges(numbers):
    out = []
    for number in sorted(numbers):
        if out and number == out[-1][1] + 1:
            out[-1][1] = number
        else:
            out.append([number, number])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in out)


def print_files(lines, sums, folders, least):
    low = False
    for folder in folders:
        for path in sorted(path for path in lines if os.path.dirname(path) == folder and path.endswith(".c")):
            missed = ranges(number for number, count in lines[path].items() if not count)
            print(f"{percent(sums, path):6.1f} %  {sums[path][0]:5d} of {sums[path][1]:5d} lines  {path}{'  not: ' + missed if missed else ''}")
        enough = percent(sums, folder) >= least
        low = low or not enough
        print(f"{percent(sums, folder):6.1f} %  {sums[folder][0]:5d} of {sums[folder][1]:5d} lines  {folder} in total, by unit and raft tests alone"
              f"{'' if enough else f': LESS THAN {least:g} %'}\n")
    return low


def print_folders(lines, sums, before):
    print("   now  before")
    for folder in sorted({os.path.dirname(path) for path in lines}) + ["all"]:
        print(f"{percent(sums, folder):6.1f}  {percent(before, folder) if before else float('nan'):6.1f} %  of {sums[folder][1]:6d} lines  {folder}")
    print("\nleast covered:")
    for path in sorted(lines, key=lambda path: percent(sums, path))[:10]:
        print(f"{percent(sums, path):6.1f} %  of {sums[path][1]:4d} lines  {path}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build")
    parser.add_argument("--folder", action="append", default=[])
    parser.add_argument("--min", type=float, default=0, metavar="PERCENT")
    parser.add_argument("--save", metavar="FILE", help="keep the sums")
    parser.add_argument("--before", metavar="FILE", help="sums of an earlier run, shown beside")
    options = parser.parse_args()
    lines = read_lines(os.path.abspath(options.build))
    sums = add_up(lines)
    if options.save:
        json.dump(sums, open(options.save, "w"))
    if options.folder:
        return 1 if print_files(lines, sums, options.folder, options.min) else 0
    before = collections.defaultdict(lambda: [0, 0], json.load(open(options.before))) if options.before else None
    print_folders(lines, sums, before)
    return 0


if __name__ == "__main__":
    sys.exit(main())
