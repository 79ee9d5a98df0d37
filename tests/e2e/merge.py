#!/usr/bin/env python3
"""Regions are merged by hand under load. Every acknowledged write is there, the regions cover the key space, replicas are
equal, and a restart changes nothing of that.

    tests/e2e/merge.py BUILD [--megabytes 48] [--split-size 2MiB] [--limit-ms 1000] [--keep]

The cluster begins with one region, and --megabytes of rows of 1 KiB make many of it.
"""
import argparse
import json
import time

import cluster
from cluster import check
from split import judge, regions_of, wait_settled, UNITS


def merge(c, source, target, code=0):
    done = c.run("region", "merge", source, target, "-o", "json", "--pd", c.pd(), check_code=code, timeout=60)
    return json.loads(done.stdout) if code == 0 else done.stderr


def grow(c, options):
    keys = options.megabytes * 1024
    bench = c.bench("--op", "put", "--concurrency", 64, "--value-size", 1024, "--keys", keys, "--seconds", 2, "--verify",
                    timeout=600)
    longest = judge(bench, options.limit_ms)
    regions = wait_settled(c)
    print(f"grown: {keys} rows of 1 KiB in {len(regions)} regions, longest pause {longest} ms", flush=True)
    return keys


def by_hand(c, options, keys):
    """Whoever writes meanwhile is only late."""
    before = wait_settled(c)
    process = c.bench_start("--op", "mix", "--concurrency", 64, "--value-size", 1024, "--keys", keys, "--seconds", 6,
                            "--verify", "--no-load", "--seed", 2)
    time.sleep(1)
    times = []
    for number in range(4):
        regions = wait_settled(c)
        at = number % (len(regions) - 1)
        pair = (regions[at], regions[at + 1]) if number % 2 else (regions[at + 1], regions[at])
        times.append(merge(c, pair[0]["id"], pair[1]["id"])["took_ms"])
        c.client("region", "split", "\\x%02x%02d" % (7 + 31 * number, number))
    bench = c.bench_end(process, timeout=120)
    longest = judge(bench, options.limit_ms)
    regions = wait_settled(c)
    text = merge(c, regions[0]["id"], regions[2]["id"], code=2)
    check("no neighbours" in text, f"regions that are no neighbours: {text}")
    merge(c, 999999, regions[0]["id"], code=1)
    print(f"by hand: {len(times)} merges under load in {min(times)} to {max(times)} ms (pd's word included), "
          f"{len(before)} regions before, {len(regions)} after, longest pause {longest} ms", flush=True)


def body(options):
    number, unit = int(options.split_size[:-3]), options.split_size[-3:]
    env = {"POLDER_SCHEDULING": "false", "POLDER_REGION_SPLIT_SIZE": options.split_size,
           "POLDER_REGION_SIZE_MAX": f"{number * 3 // 2}{unit}"}
    with cluster.Cluster(options.build, stores=3, regions=1, keep=options.keep, env=env) as c:
        keys = grow(c, options)
        by_hand(c, options, keys)
        ids = [r["id"] for r in wait_settled(c)]
        c.down()
        rows = c.compare_replicas()
        print(f"replicas: {rows}", flush=True)
        c.up()
        c.wait_healthy()
        check([r["id"] for r in wait_settled(c)] == ids, "a restart changed the regions")
        check(sum(region["keys"] for region in c.spread()) >= keys, "rows are missing after the restart")
        print("restarted: all rows are there", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build")
    parser.add_argument("--megabytes", type=int, default=48)
    parser.add_argument("--split-size", default="2MiB")
    parser.add_argument("--limit-ms", type=float, default=1000)
    parser.add_argument("--keep", action="store_true")
    cluster.main(body, parser.parse_args())
