#!/usr/bin/env python3
"""Idle regions sleep; when the store that leads them is killed, or killed and started again at once, they wake and elect.

    tests/e2e/asleep.py BUILD [--regions 300] [--seconds 4] [--limit-ms 3000]

A scan over all regions is begun at the moment of the kill: its time is that of the slowest region.
"""
import argparse
import time

import cluster
from cluster import check


def scan(c):
    """Number of rows, and milliseconds."""
    started = time.monotonic()
    rows = c.client("kv", "scan", "--limit", 0, "--keys-only", "--deadline", "30s").count("\n")
    return rows, (time.monotonic() - started) * 1000


def asleep(options):
    with cluster.Cluster(options.build, stores=3, regions=options.regions) as c:
        c.bench("--op", "put", "--concurrency", 64, "--keys", 8 * options.regions, "--seconds", 1)
        rows, awake_ms = scan(c)
        time.sleep(options.seconds)
        same, asleep_ms = scan(c)
        print(f"a scan of {rows} rows in {options.regions} regions: awake {awake_ms:.0f} ms, asleep {asleep_ms:.0f} ms")
        check(same == rows and rows > 0, f"{same} rows, not {rows}")
        for store, what in ((1, "killed"), (2, "killed and started again")):
            time.sleep(options.seconds)
            c.kill(store)
            if what != "killed":
                c.start("storenode", store)
            same, took_ms = scan(c)
            print(f"store {store} {what}: every region answered within {took_ms:.0f} ms", flush=True)
            check(same == rows, f"{same} rows, not {rows}")
            check(took_ms <= options.limit_ms, f"{took_ms:.0f} ms, not {options.limit_ms}")
            if what == "killed":
                c.restart(store)
            c.wait_healthy()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build")
    parser.add_argument("--regions", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=4, help="of idleness before each look")
    parser.add_argument("--limit-ms", type=float, default=3000)
    cluster.main(asleep, parser.parse_args())
