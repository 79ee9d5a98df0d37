#!/usr/bin/env python3
"""kill -9 under load: nothing acknowledged is lost, reads stay linearizable, the rest of the cluster goes on.

    tests/e2e/failover.py BUILD [--seconds 4] [--rounds 1] [--limit-ms 5000] [--keep]

Phases: each storenode in turn is killed, stays dead for a while, is started again and catches up; then all storenodes
are killed at once and started again; and last they are restarted in order, one after the other. In each of them a bench
is running (64 clients, puts and gets, every operation recorded). After it every key is read once more and put into the
record, and the record must be linearizable: an acknowledged write that is gone shows. In the end the stopped stores must
hold the same rows.

Unavailability is the longest time without a success *in one region* (the worst one): other regions going on does not
hide it. With all stores dead it is counted from the moment that the last of them was started again.
"""
import argparse
import bisect
import json
import os
import time

import cluster
from cluster import check

STORES = 3
CONCURRENCY = 64


class Load:
    """A bench in the background that records its history; times are seconds of time.monotonic()."""

    def __init__(self, c, options, number, seconds):
        self.c = c
        self.path = os.path.join(c.directory, f"history-{number}.jsonl")
        self.started = time.monotonic()
        self.process = c.bench_start("--op", "mix", "--concurrency", CONCURRENCY, "--value-size", options.value_size,
                                     "--keys", options.keys, "--seconds", seconds, "--seed", number,
                                     "--history", self.path)
        self.wait_started()

    def wait_started(self):
        """The bench writes all keys first; its history begins with that."""
        while not os.path.exists(self.path) or os.path.getsize(self.path) == 0:
            check(self.process.poll() is None and time.monotonic() < self.started + 30, "the load does not start")
            time.sleep(0.01)

    def end(self):
        return self.c.bench_end(self.process, timeout=120)

    def read(self):
        """Lists of (operation, end second) of all successes, and the number of operations by outcome."""
        successes, counts, last_us = [], {}, 0
        with open(self.path, encoding="utf-8") as file:
            for line in file:
                op = json.loads(line)
                counts[op["outcome"]] = counts.get(op["outcome"], 0) + 1
                last_us = max(last_us, op["start_us"], op.get("end_us", 0))
                if op["outcome"] == "ok":
                    successes.append((op["end_us"], op["key"]))
        successes.sort()
        check(successes, "no operation succeeded")
        # Recorded times may count from the start of the bench or from the start of the machine.
        absolute = successes[0][0] / 1e6 > self.started - 1
        zero = 0 if absolute else self.started
        return [(us / 1e6 + zero, key) for us, key in successes], counts, last_us


def regions_of(spread):
    """key -> number of its region."""
    starts = [region["start"] for region in spread]
    memory = {}

    def region_of(key):
        if key not in memory:
            memory[key] = bisect.bisect_right(starts, key.encode()) - 1
        return memory[key]
    return region_of


def worst_gap(successes, region_of, region_count, start, end):
    """Longest time without a success, in ms: over all, and in the worst region; between `start` and `end`."""
    first = bisect.bisect_left(successes, (start, ""))
    last = bisect.bisect_right(successes, (end, ""))
    overall_last, overall = start, 0.0
    region_last, worst = [start] * region_count, [0.0] * region_count
    for when, key in successes[first:last]:
        region = region_of(key)
        overall, overall_last = max(overall, when - overall_last), when
        worst[region], region_last[region] = max(worst[region], when - region_last[region]), when
    for region in range(region_count):
        worst[region] = max(worst[region], end - region_last[region])
    return 1000 * max(overall, end - overall_last), 1000 * max(worst)


def kill_one(c, store, options):
    """Returns since when to look for gaps."""
    killed = time.monotonic()
    c.kill(store)
    time.sleep(options.seconds)
    back = time.monotonic()
    c.restart(store)
    print(f"storenode {store}: killed, dead for {back - killed:.1f} s, serves {time.monotonic() - back:.2f} s after "
          "its restart", flush=True)
    return killed


def restart_one(c, store):
    """In order: nobody should have to wait for an election."""
    begun = time.monotonic()
    c.restart(store)
    print(f"storenode {store}: restarted in order, serves again after {time.monotonic() - begun:.2f} s", flush=True)
    return begun


def kill_all(c):
    killed = time.monotonic()
    stores = list(range(1, STORES + 1))
    c.kill(*stores)
    for store in stores:
        c.restart(store, wait=False)
    back = time.monotonic()
    print(f"all storenodes: killed, all started again {back - killed:.1f} s later", flush=True)
    return back


def scan_all(c):
    answer = json.loads(c.client("kv", "scan", "--limit", "0", "-o", "json"))
    return {row["key"]: row["value"] for row in answer["rows"]}


def add_final_reads(c, load, last_us):
    """What is there in the end, as reads behind everything: the checker then demands every acknowledged write."""
    rows = scan_all(c)
    with open(load.path, encoding="utf-8") as file:
        keys = sorted({json.loads(line)["key"] for line in file})
    with open(load.path, "a", encoding="utf-8") as file:
        for key in keys:
            file.write(json.dumps({"client": CONCURRENCY + 1000, "op": "get", "key": key, "start_us": last_us + 1000000,
                                   "end_us": last_us + 1000001, "outcome": "ok", "result": rows.get(key)}) + "\n")
    return len(keys)


def check_linear(c, load):
    ended = c.tool("check_history", load.path, check_code=None, timeout=300)
    print(f"  {ended.stdout.strip()}")
    check(ended.returncode == 0, f"the history is not linearizable: {ended.stderr}")


def phase(c, number, what, harm, options, region_of):
    """`harm` runs under load and returns since when to look for gaps. Returns the worst one, in ms."""
    load = Load(c, options, number, round(1 + options.seconds + options.after_seconds))
    time.sleep(1)
    since = harm()
    result = load.end()
    successes, counts, last_us = load.read()
    until = successes[-1][0]
    check(until > since, f"{what}: nothing succeeded afterwards")
    overall, worst = worst_gap(successes, region_of, options.regions, since, until)
    healthy = c.wait_healthy(60)
    print(f"{what}: longest time without a success {overall:.0f} ms over all, {worst:.0f} ms in the worst region; "
          f"{result['ops_per_s']} operations/s, {counts}; healthy {healthy:.1f} s after the load", flush=True)
    key_count = add_final_reads(c, load, last_us)
    check(key_count == options.keys, f"{key_count} keys in the history, not {options.keys}")
    check_linear(c, load)
    if not options.keep:
        os.unlink(load.path)
    return worst


def failover(options):
    with cluster.Cluster(options.build, stores=STORES, regions=options.regions, keep=options.keep) as c:
        region_of = regions_of(c.spread())
        worst, number = 0, 0
        for _ in range(options.rounds):
            for store in range(1, STORES + 1):
                number += 1
                gap = phase(c, number, f"kill -9 of storenode {store}", lambda store=store: kill_one(c, store, options),
                            options, region_of)
                worst = max(worst, gap)
            number += 1
            gap = phase(c, number, "kill -9 of all storenodes, from their restart on", lambda: kill_all(c), options, region_of)
            check(gap < options.all_limit_ms, f"nothing works {gap:.0f} ms after all storenodes were started again")
            number += 1
            gap = phase(c, number, "all storenodes restarted in order, one after the other",
                        lambda: [restart_one(c, store) for store in range(1, STORES + 1)][0], options, region_of)
            check(gap < options.order_limit_ms, f"{gap:.0f} ms without a success at a restart in order")
        time.sleep(options.settle_seconds)
        c.down()
        print(f"replicas: {c.compare_replicas()}")
        print(f"with one storenode dead: unavailable for {worst:.0f} ms at most")
        check(worst < options.limit_ms, f"unavailable for {worst:.0f} ms, not below {options.limit_ms:.0f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build")
    parser.add_argument("--regions", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=4, help="how long a killed store stays dead")
    parser.add_argument("--after-seconds", type=float, default=5, help="of load after its restart")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--limit-ms", type=float, default=5000, help="longer unavailability is a failure")
    parser.add_argument("--all-limit-ms", type=float, default=30000, help="the same after all stores were dead")
    parser.add_argument("--order-limit-ms", type=float, default=1000, help="the same at a restart in order")
    parser.add_argument("--keys", type=int, default=5000)
    parser.add_argument("--value-size", type=int, default=40)
    parser.add_argument("--settle-seconds", type=float, default=1, help="between the last write and the comparison")
    parser.add_argument("--keep", action="store_true", help="leave the directory of the cluster, with the histories")
    cluster.main(failover, parser.parse_args())
