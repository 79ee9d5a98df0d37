#!/usr/bin/env python3
"""A store that was down for long under writes returns: by the log below its limit, by snapshots above it.

    tests/e2e/snapshot.py BUILD [--seconds 4] [--value-size 1000] [--keys 20000] [--regions 4] [--limit-seconds 60] [--keep]

Both ways: load, kill -9 of one store, load for some seconds more, start it again, wait until its peers have all that their leaders have. Then all
stores must hold the same rows; by the log nothing was sent as a snapshot, above the limit every region was, and no file of
one is left over. Prints a table: what was written meanwhile, how it came, how long that took, how much the store wrote.
"""
import argparse
import json
import re
import time

import cluster
from cluster import check

STORE = 3
CALM_SECONDS = 1.5


def written_size(pid):
    with open(f"/proc/{pid}/io", encoding="utf-8") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("wchar"))


def is_level(c, regions):
    """Does every peer have the log of its leader to its end?"""
    for region in regions:
        view = json.loads(c.client("region", "show", region, "-o", "json"))
        if any(peer["match"] < view["last_index"] for peer in view["peers"]):
            return False
    return True


def wait_level(c, pid, seconds):
    """(seconds until every replica had everything, bytes that were written until it wrote no more)."""
    started = time.monotonic()
    regions = [region["id"] for region in json.loads(c.client("region", "list", "-o", "json"))]
    while not is_level(c, regions):
        check(time.monotonic() < started + seconds, f"store {STORE} is not level with the others after {seconds} s")
        time.sleep(0.02)
    level = time.monotonic()
    size, changed = written_size(pid), level
    while time.monotonic() < changed + CALM_SECONDS:
        check(time.monotonic() < started + seconds, f"store {STORE} still writes after {seconds} s")
        time.sleep(0.02)
        now = written_size(pid)
        if now > size + 64 * 1024:  # its log file and heartbeats do not count
            size, changed = now, time.monotonic()
    return level - started, size


def events(c, name):
    """Of all stores: dictionaries."""
    found = []
    for process in c.processes().values():
        with open(process["log"], encoding="utf-8", errors="replace") as file:
            for line in file:
                if f"event={name} " in line:
                    found.append(dict(re.findall(r"(\w+)=(\S+)", line)))
    return found


def load(c, options, seconds, seed):
    result = c.bench("--op", "put", "--concurrency", 64, "--value-size", options.value_size, "--keys", options.keys,
                     "--seconds", seconds, "--seed", seed)
    return result


def come_back(options, log_size_max):
    """One way: the numbers of it."""
    environment = {"POLDER_SCHEDULING": "false", "POLDER_LOG_SIZE_MAX": log_size_max, "POLDER_LOG_RETAIN_COUNT": "64"}
    with cluster.Cluster(options.build, stores=3, regions=options.regions, keep=options.keep, env=environment) as c:
        c.wait_healthy()
        load(c, options, 1, 1)
        c.kill(STORE)
        missed = load(c, options, options.seconds, 2)
        time.sleep(2.5)  # the logs are looked at once a second
        c.restart(STORE, wait=False)
        seconds, size = wait_level(c, c.processes()[STORE]["pid"], options.limit_seconds)
        c.wait_healthy()
        sent, installed = events(c, "snapshot_sent"), events(c, "snapshot_installed")
        c.down()
        for directory in c.data_dirs():
            left = json.loads(c.polder("store", "snapshot", "list", "--data-dir", directory, "-o", "json"))
            check(not left["staged"] and not left["files"], f"left over in {directory}: {left}")
        rows = c.compare_replicas()
    return {"limit": log_size_max, "seconds": seconds, "written": size, "sent": sent, "installed": installed, "rows": rows,
            "missed": missed["put"]["count"] + missed["loaded"]}


def print_table(options, results):
    print("  LIMIT  MISSED PUTS   OF BYTES  CAME BY   SNAPSHOTS   OF BYTES  BACK AFTER  STORE WROTE")
    for result in results:
        size = sum(int(event["size"]) for event in result["sent"])
        print(f"{result['limit']:>7}  {result['missed']:11}  {result['missed'] * options.value_size / 1e6:6.1f} MB  "
              f"{'snapshot' if result['sent'] else 'log':8}  {len(result['sent']):9}  {size / 1e6:6.1f} MB  "
              f"{result['seconds']:8.1f} s  {result['written'] / 1e6:8.1f} MB", flush=True)


def body(options):
    by_log = come_back(options, "1GiB")
    check(not by_log["sent"], f"{len(by_log['sent'])} snapshots were sent, though the log had everything")
    by_snapshot = come_back(options, "1MiB")
    regions = {event["region"] for event in by_snapshot["installed"]}
    check(len(regions) >= options.regions, f"snapshots of {len(regions)} regions were installed, not of {options.regions}")
    check(by_log["rows"]["same"] and by_snapshot["rows"]["same"], "replicas differ")
    print_table(options, (by_log, by_snapshot))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build")
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--value-size", type=int, default=1000)
    parser.add_argument("--keys", type=int, default=20000)
    parser.add_argument("--regions", type=int, default=4)
    parser.add_argument("--limit-seconds", type=float, default=60)
    parser.add_argument("--keep", action="store_true")
    cluster.main(body, parser.parse_args())
