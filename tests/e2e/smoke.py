#!/usr/bin/env python3
"""A cluster of 3 stores and 64 regions does what it is for: ready in time, leaders and keys spread, every kv command.

    tests/e2e/smoke.py BUILD [--regions 64] [--ready-seconds 3]
"""
import argparse
import collections
import json
import os
import tempfile
import time

import cluster
from cluster import check

STORES = 3


def show_spread(c, options):
    """Bench keys first: what a program would use. Then every region must take a key of its own."""
    leaders = collections.Counter(region["leader_store"] for region in c.spread())
    print(f"leaders per store: {dict(sorted(leaders.items()))}")
    check(len(leaders) == STORES and 0 not in leaders, f"leaders are not on all {STORES} stores: {leaders}")
    c.bench("--op", "put", "--concurrency", 32, "--value-size", 100, "--keys", 5000, "--seconds", 2)
    regions = c.spread()
    used = sum(region["keys"] > 0 for region in regions)
    keys = [region["keys"] for region in regions]
    print(f"bench keys: {sum(keys)} keys in {used} of {len(regions)} regions, {min(keys)} to {max(keys)} each")
    check(len(regions) == options.regions, f"{len(regions)} regions, not {options.regions}")
    check(used == options.regions, f"only {used} of {options.regions} regions have keys")


def kv(c, *args, **options):
    return c.client("kv", *args, **options)


def show_single(c):
    kv(c, "put", "single", "one")
    check(kv(c, "get", "single") == "one\n", "get after put")
    kv(c, "put", "single", "two")
    check(kv(c, "get", "--raw", "single") == "two", "put replaces")
    kv(c, "get", "absent", check_code=3)
    kv(c, "put", "bytes\\x00\\xff", "\\x00\\n\\xfe")
    check(kv(c, "get", "bytes\\x00\\xff") == "\\x00\\n\\xfe\n", "any bytes come back")
    check("key_base64" in json.loads(kv(c, "get", "-o", "json", "bytes\\x00\\xff")), "keys that are no text are base64 in JSON")
    kv(c, "delete", "bytes\\x00\\xff")
    kv(c, "put", "empty", "")
    check(kv(c, "get", "--raw", "empty") == "", "an empty value is a value")
    kv(c, "delete", "single")
    kv(c, "get", "single", check_code=3)
    kv(c, "delete", "single")
    kv(c, "put", "k" * 8193, "v", check_code=2)
    print("put, get, delete: ok")


def show_cas(c):
    kv(c, "cas", "--absent", "cas", "1")
    kv(c, "cas", "--absent", "cas", "2", check_code=4)
    kv(c, "cas", "cas", "1", "2")
    check(kv(c, "cas", "cas", "1", "3", check_code=4) == "2\n", "a failed cas tells the value")
    check(kv(c, "get", "cas") == "2\n", "a failed cas changes nothing")
    kv(c, "cas", "not-there", "1", "2", check_code=4)
    print("cas: ok")


def show_batch(c):
    letters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    lines = [f"put {letter}-batch value of {letter}" for letter in letters]
    answer = json.loads(kv(c, "batch", "-", "-o", "json", input_text="\n".join(lines) + "\n"))
    check(answer == {"done": len(lines), "not_done": 0, "unknown": 0}, f"batch: {answer}")
    rows = json.loads(kv(c, "get", "-o", "json", *[f"{letter}-batch" for letter in letters]))
    check([row["value"] for row in rows] == [f"value of {letter}" for letter in letters], "batch get")
    answer = json.loads(kv(c, "batch", "-", "-o", "json", input_text="delete a-batch\nput b-batch new\ndelete nothing\n"))
    check(answer["done"] == 3, f"mixed batch: {answer}")
    kv(c, "get", "a-batch", check_code=3)
    check(kv(c, "get", "b-batch") == "new\n", "mixed batch")
    kv(c, "delete", *[f"{letter}-batch" for letter in letters])
    print(f"batch over {len(letters)} first letters: ok")


def scan(c, *args):
    answer = json.loads(kv(c, "scan", "-o", "json", *args))
    return [(row["key"], row.get("value")) for row in answer["rows"]], answer


def scan_pages(c, *args):
    """All rows, page by page, by the token."""
    rows, token = [], []
    while True:
        page, answer = scan(c, *args, *token)
        rows += page
        if not answer["more"]:
            return rows
        token = ["--token", answer["token"]]


def show_load_and_scan(c):
    """Keys over all first letters, so that the scan crosses most regions."""
    letters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    rows = sorted((f"{letters[i % 62]}scan{i:05d}", f"value {i}") for i in range(3000))
    with tempfile.NamedTemporaryFile("w", suffix=".tsv", delete=False, encoding="utf-8") as file:
        file.writelines(f"{key}\t{value}\n" for key, value in rows)
    try:
        kv(c, "load", file.name)
        kv(c, "verify", file.name)
    finally:
        os.unlink(file.name)

    bench = {key for key, _ in scan(c, "--limit", "0", "--keys-only")[0]} - {key for key, _ in rows}
    everything = scan(c, "--limit", "0")[0]
    check([row for row in everything if row[0] not in bench] == rows, "scan finds all rows in order")
    check(scan(c, "--limit", "0", "--reverse")[0] == everything[::-1], "reverse is the same backwards")
    check(scan_pages(c, "--limit", "701") == everything, "pages make the whole")
    check(scan_pages(c, "--limit", "701", "--reverse") == everything[::-1], "pages backwards make the whole")
    check(scan(c, "--limit", "0", "--keys-only")[0] == [(key, None) for key, _ in everything], "keys only")
    check(scan(c, "--limit", "0", "--prefix", "Qscan")[0] == [row for row in rows if row[0].startswith("Qscan")], "prefix")
    start, end = "Dscan00100", "kscan02000"
    part = [row for row in everything if start <= row[0] < end]
    check(scan(c, "--limit", "0", "--start", start, "--end", end)[0] == part, "range")
    check(scan(c, "--limit", "10", "--start", start, "--end", end, "--reverse")[0] == part[::-1][:10], "range backwards")
    check(scan(c, "--limit", "5", "--offset", "7", "--start", start)[0] == part[7:12], "offset and limit")
    print(f"load, verify, scan of {len(everything)} rows (forward, reverse, pages, prefix, range, keys only): ok")
    return len(everything)


def smoke(options):
    with cluster.Cluster(options.build, stores=STORES, regions=options.regions, keep=options.keep) as c:
        print(f"{STORES} stores, {options.regions} regions: ready in {c.ready_seconds:.2f} s")
        check(c.ready_seconds < options.ready_seconds, f"not ready in {options.ready_seconds} s")
        status = c.status()
        check(status["exit_code"] == 0 and status["regions"] == options.regions and status["regions_cover_key_space"],
              f"status: {status}")
        show_spread(c, options)
        show_single(c)
        show_cas(c)
        show_batch(c)
        row_count = show_load_and_scan(c)
        c.down()
        check(c.status()["exit_code"] == 2, "status of a stopped cluster is 2")
        c.up()
        print(f"started again: ready in {c.ready_seconds:.2f} s")
        check(len(scan(c, "--limit", "0")[0]) == row_count, "all rows are there after down and up")
        time.sleep(1)  # followers hear what is committed with the next heartbeat
        c.down()
        print(f"replicas: {c.compare_replicas()}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build")
    parser.add_argument("--regions", type=int, default=64)
    parser.add_argument("--ready-seconds", type=float, default=3, help="ready later than this is a failure")
    parser.add_argument("--keep", action="store_true", help="leave the directory of the cluster")
    cluster.main(smoke, parser.parse_args())
