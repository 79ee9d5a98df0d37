#!/usr/bin/env python3
"""Runs the tests of a build directory and ends with one plain line: `N passed, N failed`.

    tools/run_tests.py build                  the suites unit, raft, sim, e2e
    tools/run_tests.py build --suite unit     only these (may be repeated)

The exit code is 0 only if nothing failed and something passed. Output of failed tests is printed before that line.
"""
import argparse
import json
import os
import subprocess
import sys
import time

SUITES = ["unit", "raft", "sim", "e2e"]
PASSED = {"OK", "EXPECTEDFAIL"}


def read_results(build):
    """One JSON object per line, one per test, as meson wrote them."""
    path = os.path.join(build, "meson-logs", "testlog.json")
    results = []
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                results.append(json.loads(line))
    except FileNotFoundError:
        pass
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build")
    parser.add_argument("--suite", action="append")
    parser.add_argument("--timeout-multiplier", default="1")
    options = parser.parse_args()

    log = os.path.join(options.build, "meson-logs", "testlog.json")
    if os.path.exists(log):
        os.remove(log)
    command = ["meson", "test", "-C", options.build, "--no-rebuild", "--print-errorlogs",
               "--timeout-multiplier", options.timeout_multiplier]
    for suite in options.suite or SUITES:
        command += ["--suite", suite]
    started = time.monotonic()
    code = subprocess.run(command, check=False).returncode
    seconds = time.monotonic() - started

    results = read_results(options.build)
    passed = [r for r in results if r["result"] in PASSED]
    skipped = [r for r in results if r["result"] == "SKIP"]
    failed = [r for r in results if r["result"] not in PASSED and r["result"] != "SKIP"]
    print()
    for result in failed:
        print(f"FAILED {result['name']} ({result['result'].lower()} after {result['duration']:.1f} s)")
    for result in skipped:
        print(f"skipped {result['name']}")
    if not results:
        print(f"no test ran: meson test ended with code {code}")
    print(f"{seconds:.0f} s")
    # meson itself may fail without a failed test (a broken build directory): never call that a success.
    failures = max(len(failed), 1 if code != 0 or not passed else 0)
    print(f"{len(passed)} passed, {failures} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
