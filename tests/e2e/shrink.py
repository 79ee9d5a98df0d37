#!/usr/bin/env python3
"""One region is loaded until it has split into many by itself; then nearly all rows are deleted, and the regions merge by
themselves until they are few, while others read and write. Every row that was not deleted is there, and nothing else.

    tests/e2e/shrink.py BUILD [--megabytes 40] [--split-size 2MiB] [--interval 3s] [--seconds 60] [--load-seconds 12]
                        [--keep]

By hand also as it is in production, except for the wait after a split:
    tests/e2e/shrink.py BUILD --megabytes 2048 --split-size 96MiB --interval 10s --seconds 600 --load-seconds 120
"""
import argparse
import json
import subprocess
import time

import cluster
from cluster import check
from split import judge, regions_of, wait_settled, UNITS

KEPT = 20  # one row in so many stays


def rows(options):
    value = "v" * 1000
    return ((f"row{number * 7919 % 1000003:08}-{number:08}", value) for number in range(options.megabytes * 1024))


def feed(c, lines, *args):
    """A command that reads many lines."""
    with subprocess.Popen([c.binary, *args, "--pd", c.pd()], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, env=c.environment) as process:
        process.stdin.writelines(lines)
        said, _ = process.communicate(timeout=900)
        check(process.returncode == 0, f"{args}: exit code {process.returncode}: {said[-1000:]}")


def longest_pause(c, body, options):
    """Runs body while others read and write."""
    bench = c.bench_start("--op", "mix", "--concurrency", 8, "--rate", 200, "--keys", 500, "--value-size", 100, "--seconds",
                          options.load_seconds, "--verify")
    result = body()
    found = c.bench_end(bench, timeout=options.load_seconds + 60)
    check(found["verify"]["lost"] == 0 and found["verify"]["wrong"] == 0, f"verify: {found['verify']}")
    return result, found["longest_gap_ms"]


def wait_few(c, options, most):
    started, seen = time.monotonic(), []
    while True:
        try:
            count = len(regions_of(c))
        except cluster.Failed:
            count = None  # a gap, while a merge is being reported
        if count and (not seen or seen[-1] != count):
            seen.append(count)
        if count and count <= most:
            return time.monotonic() - started, seen
        check(time.monotonic() - started < options.seconds, f"not few after {options.seconds} s: {seen}")
        time.sleep(0.5)


def body(options):
    number, unit = int(options.split_size[:-3]), options.split_size[-3:]
    split_size = number * UNITS[unit]
    env = {"POLDER_REGION_SPLIT_SIZE": options.split_size, "POLDER_REGION_SIZE_MAX": f"{number * 3 // 2}{unit}",
           "POLDER_REGION_MERGE_SIZE": f"{split_size // 5 // 1024}KiB",
           "POLDER_SPLIT_MERGE_INTERVAL": options.interval}
    with cluster.Cluster(options.build, stores=3, regions=1, keep=options.keep, env=env) as c:
        started = time.monotonic()
        feed(c, (f"{key}\t{value}\n" for key, value in rows(options)), "kv", "load", "-")
        grown = len(wait_settled(c))
        print(f"grown: {options.megabytes} MiB in {grown} regions, {time.monotonic() - started:.0f} s", flush=True)
        check(grown >= options.megabytes * 1024 * 1024 // (2 * split_size), f"only {grown} regions")

        def shrink():
            feed(c, (f"delete {key}\n" for at, (key, _) in enumerate(rows(options)) if at % KEPT), "kv", "batch", "-")
            if options.restart:
                for number in (1, 2, 3):
                    c.kill(number)
                for number in (1, 2, 3):
                    c.start("storenode", number)
            left = options.megabytes * 1024 * 1024 // KEPT
            return wait_few(c, options, 2 + 5 * left // split_size)

        (took, seen), gap = longest_pause(c, shrink, options)
        print(f"shrunk: 19 of 20 rows deleted, {seen} regions, {took:.0f} s after the last was; longest pause {gap} ms", flush=True)
        kept = [row for at, row in enumerate(rows(options)) if at % KEPT == 0]
        feed(c, (f"{key}\t{value}\n" for key, value in kept), "kv", "verify", "-")
        count = json.loads(c.client("kv", "checksum", "--prefix", "row", "-o", "json"))["rows"]
        check(count == len(kept), f"{count} rows are there, not {len(kept)}")
        time.sleep(2)  # followers hear what is committed
        c.down()
        print(f"verified: {len(kept)} rows; replicas: {c.compare_replicas()}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build")
    parser.add_argument("--megabytes", type=int, default=40)
    parser.add_argument("--split-size", default="2MiB")
    parser.add_argument("--interval", default="3s")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--load-seconds", type=int, default=12)
    parser.add_argument("--restart", action="store_true", help="all storenodes are killed once the rows are deleted: none knows any more what was")
    parser.add_argument("--keep", action="store_true")
    cluster.main(body, parser.parse_args())
