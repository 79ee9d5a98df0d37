#!/usr/bin/env python3
"""Keys that expire, ranges that are deleted, checksums: with real processes, real clocks, splits and kill -9.

    tests/e2e/ttl.py BUILD [--rows 3000] [--ttl-ms 3000] [--late-ms 1000] [--settle-seconds 60] [--keep]

Half of the rows are put with a TTL. They are there, then gone, `--late-ms` after their time at the latest, also on idle
regions; a killed leader does not bring them back. The checksum of the rest is the same before and after splits and
restarts, and the exclusive or of its parts. A range is deleted while its regions are split. In the end replicas are equal.
"""
import argparse
import json
import threading
import time

import cluster
from cluster import check


def checksum(c, *args):
    found = json.loads(c.client("kv", "checksum", *(args or ("--all",)), "-o", "json"))
    return int(found["checksum"], 16), found["rows"], found["size"]


def batch(c, lines, *args):
    c.client("kv", "batch", *args, "-", input_text="".join(lines))


def left_ms(c, key):
    """None: there is no such key; 0: it does not expire."""
    ended = c.run("kv", "ttl", key, "-o", "json", "--pd", c.pd(), check_code=None)
    check(ended.returncode in (0, 3), f"ttl: exit code {ended.returncode}: {ended.stderr}")
    found = json.loads(ended.stdout)
    return found.get("ttl_ms", 0) if found["found"] else None


def expire(c, options):
    keep = [f"put {number % 250:03}k{number} value-{number}\n" for number in range(options.rows)]
    go = [f"put {number % 250:03}g{number} {'x' * (number % 100)}\n" for number in range(options.rows)]
    batch(c, keep)
    alone = checksum(c)
    check(alone[1] == options.rows, f"{alone[1]} rows of {options.rows}")
    started = time.monotonic()
    batch(c, go, "--ttl", f"{options.ttl_ms}ms")
    loaded = time.monotonic()
    early = left_ms(c, "007g7")
    both = checksum(c)
    if time.monotonic() - started < options.ttl_ms / 1000:
        check(both[1] == 2 * options.rows, f"{both[1]} rows of {2 * options.rows}")
        check(early is not None and 0 < early <= options.ttl_ms, f"{early} ms are left of {options.ttl_ms}")
    check(left_ms(c, "007k7") == 0, "a key without end has one")
    time.sleep(max(0, loaded + (options.ttl_ms + options.late_ms) / 1000 - time.monotonic()))
    check(checksum(c) == alone, "what is left is not what never expires")
    check(left_ms(c, "007g7") is None, "a key is there after its time")
    c.run("kv", "get", "007g7", "--pd", c.pd(), check_code=3)
    rows = json.loads(c.client("kv", "scan", "--limit", "0", "--keys-only", "-o", "json"))["rows"]
    check(len(rows) == options.rows, f"a scan finds {len(rows)} rows")
    c.client("kv", "cas", "--absent", "007g7", "again", "--ttl", "100s")
    print(f"expired: {options.rows} of {2 * options.rows} rows", flush=True)
    return alone


def survive(c):
    before = left_ms(c, "007g7")
    for store in range(1, c.stores + 1):
        c.kill(store)
        c.start("storenode", store)
        c.wait_healthy()
    after = left_ms(c, "007g7")
    check(after is not None and 0 < after < before, f"{before} ms were left, now {after}")
    c.run("kv", "get", "008g8", "--pd", c.pd(), check_code=3)
    c.client("kv", "delete", "007g7")
    print(f"killed one after the other: what was gone stays gone; {before} ms were left, then {after}", flush=True)


def split_at(c, keys, failures):
    try:
        for key in keys:
            c.client("region", "split", key)
    except cluster.Failed as failed:
        failures.append(failed)


def delete(c, options, alone):
    low, high = checksum(c, "", "125"), checksum(c, "125", "")
    check(low[0] ^ high[0] == alone[0] and low[1] + high[1] == alone[1], "two halves are not the whole")
    told = json.loads(c.client("kv", "delete-range", "", "125", "-o", "json"))
    check(told["dry_run"] and told["rows"] == low[1], f"it would remove {told}")
    failures = []
    splitter = threading.Thread(target=split_at, args=(c, [f"{number:03}" for number in range(3, 250, 31)], failures))
    splitter.start()
    for start in range(0, 120, 10):
        c.client("kv", "delete-range", f"{start:03}", f"{start + 10:03}", "--yes")
    c.client("kv", "delete-range", "", "125", "--yes")
    splitter.join()
    check(not failures, f"split: {failures}")
    check(checksum(c) == high, "what is left is not the other half")
    check(checksum(c, "", "125")[1] == 0, "something is left")
    c.run("kv", "get", f"{124:03}k124", "--pd", c.pd(), check_code=3)
    print(f"deleted {low[1]} rows while regions were split; {high[1]} are left", flush=True)
    return high


def settle(c, options):
    """A store that was behind when regions were split gets the new ones by snapshots, one after the other. Leaves the
    cluster down."""
    deadline = time.monotonic() + options.settle_seconds
    while True:
        time.sleep(3)
        c.down()
        try:
            return c.compare_replicas()
        except cluster.Failed:
            if time.monotonic() > deadline:
                raise
        c.up()
        c.wait_healthy()


def compact(c, left):
    for directory in c.data_dirs():
        found = json.loads(c.polder("store", "compact", "--data-dir", directory, "-o", "json"))
        again = json.loads(c.polder("store", "compact", "--data-dir", directory, "-o", "json"))
        check(again["expired_rows"] == 0, f"compacted again: {again}")
        check(found["after_bytes"] <= found["before_bytes"], f"compacted: {found}")
        c.polder("store", "check", "--data-dir", directory)
        print(f"compacted: {found}", flush=True)
    rows = c.compare_replicas()
    check(rows["rows"] == left[1], f"replicas hold {rows['rows']} rows after the compaction, not {left[1]}")


def body(options):
    env = {"POLDER_EXPIRY_INTERVAL": "200ms"}
    with cluster.Cluster(options.build, stores=3, regions=4, keep=options.keep, env=env) as c:
        alone = expire(c, options)
        survive(c)
        check(checksum(c) == alone, "a restart changed the rows")
        left = delete(c, options, alone)
        batch(c, [f"put {number:03}e x\n" for number in range(250)], "--ttl", "1ms")
        time.sleep(options.late_ms / 1000)
        check(checksum(c) == left, "the last rows have not expired")
        rows = settle(c, options)
        check(rows["rows"] == left[1], f"replicas hold {rows['rows']} rows, not {left[1]}")
        print(f"replicas: {rows}", flush=True)
        compact(c, left)
        c.up()
        c.wait_healthy()
        check(checksum(c) == left, "a restart of all changed the rows")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build")
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--ttl-ms", type=int, default=3000)
    parser.add_argument("--late-ms", type=int, default=1000)
    parser.add_argument("--settle-seconds", type=float, default=60)
    parser.add_argument("--keep", action="store_true")
    cluster.main(body, parser.parse_args())
