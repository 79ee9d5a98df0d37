#!/usr/bin/env python3
"""Replicas of regions move from store to store under load, leaders are handed over, a store is killed in the middle: every
acknowledged write is there, each region ends where it was told to, and nothing is left where it was.

    tests/e2e/members.py BUILD [--moves 6] [--limit-ms 3000] [--keep]

Five stores, four regions of three replicas. While a bench with --verify writes, replicas move (polder region move-peer) and
leaders go (transfer-leader). Then a store is killed, its replicas are removed and put elsewhere, and it comes back: it finds
out, and deletes what it has. --limit-ms is the longest time in which nothing succeeded.
"""
import argparse
import json
import time

import cluster
from cluster import check

STORES = 5


def regions_of(c):
    return json.loads(c.client("region", "list", "-o", "json"))


def show(c, region):
    return json.loads(c.client("region", "show", region, "-o", "json"))


def stores_of(shown):
    return {peer["store"] for peer in shown["peers"]}


def judge(bench, limit_ms):
    found = bench["verify"]
    check(found["lost"] == 0 and found["wrong"] == 0 and found["unreadable"] == 0, f"verify: {found}")
    check(bench["longest_gap_ms"] <= limit_ms, f"nothing succeeded for {bench['longest_gap_ms']} ms")
    return bench["longest_gap_ms"]


def move_about(c, options, ids):
    slowest = 0
    for number in range(options.moves):
        region = ids[number % len(ids)]
        before = show(c, region)
        there = stores_of(before)
        source = before["leader_store"] if number % 2 == 0 else min(there - {before["leader_store"]})
        target = min(set(range(1, STORES + 1)) - there)
        started = time.monotonic()
        after = json.loads(c.client("region", "move-peer", region, source, target, "-o", "json"))
        slowest = max(slowest, time.monotonic() - started)
        check(stores_of(after) == there - {source} | {target}, f"region {region}: {before} became {after}")
        check({peer["role"] for peer in after["peers"]} == {"voter"}, f"not all vote: {after}")
        leader = max(stores_of(after) - {after["leader_store"]})
        led = json.loads(c.client("region", "transfer-leader", region, leader, "-o", "json"))
        check(led["leader_store"] == leader, f"region {region} is not led by {leader}: {led}")
    return slowest


def without(c, ids, lost):
    """What lies on a store that is down goes elsewhere."""
    moved = 0
    for region in ids:
        there = stores_of(show(c, region))
        if lost not in there:
            continue
        target = min(set(range(1, STORES + 1)) - there)
        check(lost not in stores_of(json.loads(c.client("region", "move-peer", region, lost, target, "-o", "json"))),
              f"region {region} is still on store {lost}")
        moved += 1
    return moved




def process_of(c, store):
    """pd's number of a store is not that of its process."""
    address = next(s["address"] for s in c.status()["stores"] if int(s["id"]) == store)
    return next(number for number, process in c.processes().items() if process["address"] == address)


def body(options):
    with cluster.Cluster(options.build, stores=STORES, regions=4, keep=options.keep,
                         env={"POLDER_SCHEDULING": "false"}) as c:
        c.wait_healthy()
        ids = [region["id"] for region in regions_of(c)]
        bench = c.bench_start("--op", "put", "--concurrency", 32, "--value-size", 512, "--keys", 20000, "--seconds",
                              4 + 2 * options.moves, "--verify")
        time.sleep(2)
        slowest = move_about(c, options, ids)
        longest = judge(c.bench_end(bench, timeout=300), options.limit_ms)
        print(f"moved: {options.moves} replicas and leaders under load, the slowest in {slowest:.1f} s; longest pause "
              f"{longest} ms", flush=True)
        before = show(c, ids[0])
        where = max(stores_of(before) - {before["leader_store"]})
        after = json.loads(c.client("region", "rebuild-peer", ids[0], where, "-o", "json"))
        check(stores_of(after) == stores_of(before) and {peer["role"] for peer in after["peers"]} == {"voter"},
              f"rebuilt: {before} became {after}")
        check(len({peer["id"] for peer in after["peers"]} - {peer["id"] for peer in before["peers"]}) == 1, f"not a new peer: {after}")
        lost = show(c, ids[0])["leader_store"]
        number = process_of(c, lost)
        c.kill(number)
        moved = without(c, ids, lost)
        check(moved > 0, "nothing lay on the store that was killed")
        c.start("storenode", number)
        c.wait_healthy()
        deadline = time.monotonic() + 30
        while True:
            held = [s["regions"] for s in c.status()["stores"] if int(s["id"]) == lost]
            if held == [0]:
                break
            check(time.monotonic() < deadline, f"store {lost} still has {held} regions")
            time.sleep(0.5)
        for region in ids:
            shown = show(c, region)
            check(len(shown["peers"]) == 3 and all(peer["active"] for peer in shown["peers"]), f"region {region}: {shown}")
        print(f"killed: {moved} replicas of store {lost} went elsewhere, and it has nothing left", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build")
    parser.add_argument("--moves", type=int, default=6)
    parser.add_argument("--limit-ms", type=float, default=3000)
    parser.add_argument("--keep", action="store_true")
    cluster.main(body, parser.parse_args())
