#!/usr/bin/env python3
"""An idle storenode with many regions is small.

    tests/e2e/idle_memory.py BUILD [--regions 1000] [--limit-mb 200] [--seconds 4]
"""
import argparse
import time

import cluster
from cluster import check

MB = 1000 * 1000


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


def look(c, options, when):
    """Prints what every process takes after a while of idleness; the largest storenode."""
    pids = c.pids()
    before = {name: cpu_seconds(pid) for name, pid in pids.items()}
    started = time.monotonic()
    time.sleep(options.seconds)
    worst = 0
    for (role, number), pid in sorted(pids.items()):
        size = c.memory_size(pid)
        cpu = (cpu_seconds(pid) - before[role, number]) / (time.monotonic() - started) * 100
        print(f"{when}: {role} {number}: {size / MB:.0f} MB resident, {cpu:.1f} % of one core while idle", flush=True)
        if role == "storenode":
            worst = max(worst, size)
    check(worst < options.limit_mb * MB, f"{when}: {worst / MB:.0f} MB, not below {options.limit_mb} MB")


def idle_memory(options):
    with cluster.Cluster(options.build, stores=3, regions=options.regions, timeout="120s") as c:
        print(f"3 stores, {options.regions} regions: ready in {c.ready_seconds:.2f} s")
        look(c, options, "fresh")
        c.bench("--op", "mix", "--concurrency", 256, "--keys", 8 * options.regions, "--seconds", 2)
        used = sum(region["keys"] > 0 for region in c.spread())
        print(f"{used} of {options.regions} regions have keys")
        check(used > options.regions / 2, "the load did not reach most regions")
        look(c, options, "used")
        status = c.status()
        check(status["exit_code"] == 0 and status["regions"] == options.regions, f"status: {status['reason']}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build")
    parser.add_argument("--regions", type=int, default=1000)
    parser.add_argument("--limit-mb", type=float, default=200)
    parser.add_argument("--seconds", type=float, default=4, help="of idleness before each look")
    cluster.main(idle_memory, parser.parse_args())
