#!/usr/bin/env python3
"""How long do writes wait while regions split? Real processes, 3 stores; puts at a fixed rate to keys of all regions, which
are split in their middle, ten and then a while none.

    tests/bench/split.py BUILD [OTHER_BUILD] [--regions 100] [--rate 3000] [--interval-ms 50] [--rounds 1]
                         [--limit-ms 50] [--gate] [-o json]

For each round and build (in turns, so that a noisy machine is unfair to neither): latencies of the writes that were due in
peace, and of those that were due while regions split; of these, such that were sent once (no region refused them), twice,
more often; and for each split the longest write to its region. --gate: exit code 1 if the p99 of the writes while regions
split is above --limit-ms.
"""
import argparse
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
import cluster  # noqa: E402


def measure(build, options):
    with cluster.Cluster(build, stores=3, regions=options.regions) as c:
        c.wait_healthy()
        ended = c.tool("split_bench", c.pd(), options.rate, options.regions, options.interval_ms)
        return json.loads(ended.stdout)


def line(name, found):
    return (f"  {name:26} {found['count']:7} writes  p50 {found['p50_us'] / 1000:7.2f}  p99 {found['p99_us'] / 1000:7.2f}  "
            f"p99.9 {found['p999_us'] / 1000:7.2f}  max {found['max_us'] / 1000:7.2f} ms  over 50 ms {found['over_50_ms']:5}  "
            f"failed {found['failed']}")


def show(build, found):
    print(build)
    for name, title in (("peace", "in peace"), ("splitting", "while regions split"),
                        ("splitting_sent_once", "  of these sent once"), ("splitting_sent_twice", "  sent twice"),
                        ("splitting_sent_more", "  more often")):
        print(line(title, found[name]))
    splits, pause, again = found["splits"], found["pause"], found["pause_of_those_sent_again"]
    print(f"  {splits['count']} splits, {splits['failed']} failed: p50 {splits['p50_us'] / 1000:.1f}, max {splits['max_us'] / 1000:.1f} ms")
    print(f"  longest write to a region that splits: p50 {pause['p50_us'] / 1000:.1f}, p90 {pause['p90_us'] / 1000:.1f}, "
          f"max {pause['max_us'] / 1000:.1f} ms; of those sent again: p50 {again['p50_us'] / 1000:.1f}, "
          f"p90 {again['p90_us'] / 1000:.1f}, max {again['max_us'] / 1000:.1f} ms")
    print(f"  client: {found['client']}", flush=True)


def body(options):
    builds = [build for build in (options.build, options.other) if build]
    all_found = []
    for _ in range(options.rounds):
        for build in builds:
            found = measure(build, options)
            all_found.append({"build": build, **found})
            if options.output == "text":
                show(build, found)
    if options.output == "json":
        print(json.dumps(all_found))
    worst = max(found["splitting"]["p99_us"] for found in all_found if found["build"] == options.build) / 1000
    cluster.check(not options.gate or worst <= options.limit_ms, f"p99 {worst:.1f} ms while regions split")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build")
    parser.add_argument("other", nargs="?")
    parser.add_argument("--regions", type=int, default=100)
    parser.add_argument("--rate", type=int, default=3000)
    parser.add_argument("--interval-ms", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--limit-ms", type=float, default=50)
    parser.add_argument("--gate", action="store_true")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")
    cluster.main(body, parser.parse_args())
