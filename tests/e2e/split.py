#!/usr/bin/env python3
"""A region grows until it is split by itself, again and again, while it serves: every acknowledged write is there, the
regions cover the key space, none is much too large, replicas are equal, and a restart changes nothing of that.

    tests/e2e/split.py BUILD [--megabytes 48] [--split-size 2MiB] [--limit-ms 1000] [--keep]

The cluster begins with one region. A bench with --verify writes values of 1 KiB; --limit-ms is the longest time in which
nothing succeeded. Then regions are split by hand at given keys under load.
"""
import argparse
import json
import time

import cluster
from cluster import check

UNITS = {"KiB": 1024, "MiB": 1024 * 1024}


def regions_of(c):
    """In key order; the ranges must cover the key space."""
    regions = json.loads(c.client("region", "list", "-o", "json"))
    end = ""
    for region in regions:
        check(key_of(region, "start") == end, f"a gap before region {region['id']}: {end} .. {key_of(region, 'start')}")
        end = key_of(region, "end")
    check(end == "", "the last region ends before the key space does")
    return regions


def key_of(region, name):
    return region.get(name, region.get(name + "_base64"))


def wait_settled(c, seconds=30):
    """pd learns of splits as their leaders report; until then there may be gaps."""
    deadline, last = time.monotonic() + seconds, None
    while True:
        try:
            regions = regions_of(c)
            ids = [region["id"] for region in regions]
            if ids == last and all(region["leader_store"] for region in regions):
                return regions
            last = ids
        except cluster.Failed:
            check(time.monotonic() < deadline, "regions do not settle")
        time.sleep(1.5)


def judge(bench, limit_ms):
    found = bench["verify"]
    check(found["lost"] == 0 and found["wrong"] == 0 and found["unreadable"] == 0, f"verify: {found}")
    longest = bench["longest_gap_ms"]
    check(longest <= limit_ms, f"nothing succeeded for {longest} ms")
    return longest


def grow(c, options):
    keys = options.megabytes * 1024
    bench = c.bench("--op", "put", "--concurrency", 64, "--value-size", 1024, "--keys", keys, "--seconds", 3, "--verify",
                    timeout=300)
    longest = judge(bench, options.limit_ms)
    regions = wait_settled(c)
    spread = [region["keys"] for region in c.spread()]
    check(sum(spread) == keys, f"{sum(spread)} of {keys} rows are there")
    number, unit = int(options.split_size[:-3]), options.split_size[-3:]
    limit = 2 * number * UNITS[unit] // 1024
    print(f"grown: {keys} rows of 1 KiB in {len(regions)} regions of {min(spread)} to {max(spread)} rows, "
          f"longest pause {longest} ms", flush=True)
    check(len(regions) >= keys // limit, f"only {len(regions)} regions")
    check(max(spread) <= 2 * limit, f"a region of {max(spread)} rows, at most {limit} were wanted")
    return keys


def at_many_keys(c, before):
    """Given, read, and found by counting."""
    c.client("region", "split", "-", *[f"zz{number:03}" for number in range(80)])
    told = json.loads(c.client("region", "split", "--file", "-", "-o", "json", input_text="zz000\nzz0005\n\nzz0015\n"))
    check([row["outcome"] for row in told] == ["done"] * 3, f"split --file: {told}")
    told = json.loads(c.client("region", "split", "--count", "4", "--end", "zz", "-o", "json"))
    check(len(told) == 3, f"split --count 4: {told}")
    after = len(wait_settled(c))
    check(before + 83 <= after <= before + 86, f"{before} regions became {after} when they were split at 86 keys")
    ended = c.run("region", "split", "a", "--count", "2", "--pd", c.pd(), check_code=2)
    check("only one of them" in ended.stderr, f"split KEY --count: {ended.stderr}")


def by_hand(c, options, keys):
    before = len(wait_settled(c))
    process = c.bench_start("--op", "mix", "--concurrency", 64, "--value-size", 1024, "--keys", keys, "--seconds", 4, "--verify",
                            "--no-load", "--seed", 2)
    time.sleep(1)
    made = 20
    slowest = 0
    for number in range(made):
        started = time.monotonic()
        c.client("region", "split", "\\x%02x%02d" % (3 + 11 * number, number))
        slowest = max(slowest, time.monotonic() - started)
    bench = c.bench_end(process, timeout=120)
    longest = judge(bench, options.limit_ms)
    c.client("region", "split", "\\x0300")  # again: nothing happens
    after = len(wait_settled(c))
    check(after >= before + made, f"{made} splits made {after} of {before} regions")
    at_many_keys(c, after)
    print(f"by hand: {made} splits under load, the slowest in {1000 * slowest:.0f} ms; {before} regions became {after}; "
          f"longest pause {longest} ms; p99 {bench['latency']['p99_us'] / 1000:.1f} ms", flush=True)


def body(options):
    number, unit = int(options.split_size[:-3]), options.split_size[-3:]
    env = {"POLDER_SCHEDULING": "false", "POLDER_REGION_SPLIT_SIZE": options.split_size,
           "POLDER_REGION_SIZE_MAX": f"{number * 3 // 2}{unit}"}
    with cluster.Cluster(options.build, stores=3, regions=1, keep=options.keep, env=env) as c:
        keys = grow(c, options)
        by_hand(c, options, keys)
        regions = wait_settled(c)
        c.down()
        rows = c.compare_replicas()
        print(f"replicas: {rows}", flush=True)
        c.up()
        c.wait_healthy()
        check([r["id"] for r in wait_settled(c)] == [r["id"] for r in regions], "a restart changed the regions")
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
