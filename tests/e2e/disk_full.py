#!/usr/bin/env python3
"""A disk that fills up under load: clients are told DiskFull, reads and deletes go on, nothing acknowledged is lost,
no process ends; and when there is room again, writes go on without a hand moved.

    tests/e2e/disk_full.py BUILD [--size-mib 900] [--ballast-mib 200] [--limit-ms 5000]

Needs the right to mount (a small tmpfs, in a mount namespace of its own); skipped without.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

import cluster
from cluster import check

SKIPPED = 77


def enter_namespace():
    """Runs this script once more, in a mount namespace: whatever happens, the mount ends with it."""
    if os.environ.get("POLDER_DISK_FULL_INSIDE"):
        return
    command = ["unshare", "--mount", "--propagation", "private"]
    if subprocess.run(command + ["true"], capture_output=True, check=False).returncode != 0:
        print("skipped: no right to make a mount namespace")
        sys.exit(SKIPPED)
    os.environ["POLDER_DISK_FULL_INSIDE"] = "1"
    os.execvp(command[0], command + [sys.executable] + sys.argv)


def put(c, key, deadline="300ms"):
    """Exit code and complaint."""
    ended = c.run("kv", "put", key, "x" * 1000, "--pd", c.pd(), "--deadline", deadline, check_code=None)
    return ended.returncode, ended.stderr.strip()


def check_verified(bench):
    found = bench["verify"]
    check(found["lost"] == found["wrong"] == found["unreadable"] == 0, f"acknowledged writes are not there: {found}")
    return found["acknowledged"]


def fill(c):
    """Until the store says that it is full; returns the complaint."""
    started = time.monotonic()
    for number in range(60):
        bench = c.bench("--op", "put", "--no-load", "--concurrency", 64, "--value-size", 8192, "--keys", 400000,
                        "--seconds", 2, "--deadline", "1s", "--seed", number, "--verify")
        written = check_verified(bench)
        code, complaint = put(c, f"probe{number}")
        if code != 0:
            print(f"full after {time.monotonic() - started:.0f} s (the last bench had {written} keys): {complaint}")
            return complaint
    raise cluster.Failed("the disk does not get full")


def show(options, directory):
    ballast = os.path.join(directory, "ballast")
    with open(ballast, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, options.ballast_mib << 20)
    with cluster.Cluster(options.build, stores=3, regions=16, directory=directory) as c:
        pids = c.pids()
        c.client("kv", "put", "first", "1")
        complaint = fill(c)
        check("DiskFull" in complaint or "disk" in complaint.lower(), f"the complaint does not say why: {complaint}")
        bench = c.bench("--op", "mix", "--no-load", "--concurrency", 64, "--value-size", 8192, "--keys", 400000,
                        "--seconds", 4, "--deadline", "1s", "--verify")
        check_verified(bench)
        print(f"full, under load: {bench['get']['count']} gets, puts not done: {json.dumps(bench['not_done'])}, unknown: "
              f"{json.dumps(bench['unknown'])}")
        check(bench["not_done"].get("DiskFull", 0) > 0, "nobody was told that the disk is full")
        check(c.client("kv", "get", "first") == "1\n", "reads go on")
        c.client("kv", "delete", "first")
        c.client("kv", "get", "first", check_code=3)
        print("reads and deletes go on")
        check(all(cluster.is_alive(pid) for pid in pids.values()), "a process has ended")
        os.unlink(ballast)
        freed = time.monotonic()
        while put(c, "after", "200ms")[0] != 0:
            check(time.monotonic() < freed + 60, "writes do not go on")
        resumed_ms = (time.monotonic() - freed) * 1000
        print(f"writes go on {resumed_ms:.0f} ms after there is room")
        check(resumed_ms < options.limit_ms, f"that is more than {options.limit_ms} ms")
        c.bench("--op", "put", "--no-load", "--concurrency", 16, "--value-size", 100, "--keys", 1000, "--seconds", 1)
        check(c.pids() == pids and all(cluster.is_alive(pid) for pid in pids.values()), "a process was restarted")
        c.wait_healthy()


def run(options):
    with tempfile.TemporaryDirectory(prefix="polder-full-") as directory:
        mount = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={options.size_mib}m", "tmpfs", directory],
                               capture_output=True, text=True, check=False)
        if mount.returncode != 0:
            print(f"skipped: {mount.stderr.strip()}")
            sys.exit(SKIPPED)
        try:
            show(options, directory)
        finally:
            subprocess.run(["umount", "--lazy", directory], check=False)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build")
    parser.add_argument("--size-mib", type=int, default=900)
    parser.add_argument("--ballast-mib", type=int, default=200)
    parser.add_argument("--limit-ms", type=int, default=5000)
    options = parser.parse_args()
    enter_namespace()
    cluster.main(run, options)


if __name__ == "__main__":
    main()
