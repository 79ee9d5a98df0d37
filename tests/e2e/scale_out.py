#!/usr/bin/env python3
"""Three stores become five while clients read and write: pd moves peers and leaders until all stores hold the same, with hardly
a move more than must be, and no client sees anything of it. Then one store is drained: it ends empty, a tombstone.

    tests/e2e/scale_out.py BUILD [--regions 100] [--megabytes 30] [--within 5] [--ratio 1.05] [--seconds 60] [--failovers 0] [--keep]

--within: per cent that a store may hold more or less than the mean, in peers (or one peer, if that is more).
--ratio: peers moved, by those that must be.
--failovers: with three members of pd, kill -9 who leads them so many times on the way. What was begun is finished by the next leader, and
not thrown away: then --ratio is about the learners that were removed again.
"""
import argparse
import json
import os
import re
import signal
import subprocess
import time

import cluster
from cluster import check
from pd_failover import bring_back, harm, wait_members
from split import judge, wait_settled

REPLICAS = 3


class NewStore:
    """A storenode that `polder up` knows nothing of."""

    def __init__(self, c, name):
        self.directory = os.path.join(c.directory, name)
        port = cluster.STORE_PORT + 100 + cluster.free_port_offset(0)
        while not (cluster.is_free(port) and cluster.is_free(port + 20)):
            port += 1
        os.mkdir(self.directory)
        with open(os.path.join(self.directory, "log"), "w", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                [c.binary, "storenode", "--data-dir", os.path.join(self.directory, "data"), "--pd", c.pd(),
                 "--address", f"tcp://127.0.0.1:{port}"], stdout=log, stderr=log, env=c.environment)

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(30)


def peers_by_store(c):
    """By store: how many peers, how many leaders."""
    count, leaders = {}, {}
    for region in json.loads(c.client("region", "list", "-o", "json")):
        for store in region["stores"]:
            count[store] = count.get(store, 0) + 1
        leaders[region["leader_store"]] = leaders.get(region["leader_store"], 0) + 1
    return count, leaders


def is_level(count, stores, within):
    mean = sum(count.values()) / len(stores)
    return all(abs(count.get(store, 0) - mean) <= max(1, mean * within / 100) for store in stores)


def pd_log(c):
    text = ""
    for process in c.processes("pd").values():
        with open(process["log"], encoding="utf-8") as file:
            text += file.read()
    return text


def moves(c):
    """Peers that pd decided to move."""
    return len(re.findall(r"event=operator_started .*policy=\S+ step=add_learner", pd_log(c)))


def store_ids(c):
    return sorted(int(store["id"]) for store in c.status()["stores"])


def wait_until(seconds, what, happened):
    started = time.monotonic()
    while not happened():
        check(time.monotonic() - started < seconds, f"after {seconds} s: {what()}")
        time.sleep(0.5)
    return time.monotonic() - started


def begun(c, policy):
    return len(re.findall(rf"event=operator_started .*policy={policy} ", pd_log(c)))


def fail_over(c, options, total):
    """Each time when a few regions have one peer more, which is a move that is half done."""
    for _ in range(options.failovers):
        deadline = time.monotonic() + options.seconds
        while sum(peers_by_store(c)[0].values()) < total + 5:
            check(time.monotonic() < deadline, "no moves are half done: fewer --failovers, or more --regions")
        bring_back(c, harm(c, "kill -9"), "kill -9")
        wait_members(c, 3)


def scale_out(c, options):
    before, _ = peers_by_store(c)
    new = [NewStore(c, "new-1"), NewStore(c, "new-2")]
    c.new_stores = new
    wait_until(30, lambda: f"stores {store_ids(c)}", lambda: len(store_ids(c)) == 5)
    stores = store_ids(c)
    fail_over(c, options, sum(before.values()))
    took = wait_until(options.seconds, lambda: f"peers and leaders {peers_by_store(c)}",
                      lambda: all(is_level(count, stores, options.within) for count in peers_by_store(c)))
    wait_until(options.seconds, lambda: f"peers {peers_by_store(c)}",
               lambda: sum(peers_by_store(c)[0].values()) == sum(before.values()))
    time.sleep(3)  # and it stays so
    count, leaders = peers_by_store(c)
    check(is_level(count, stores, options.within) and is_level(leaders, stores, options.within), f"not level any more: {count}")
    necessary = sum(before.values()) * 2 / 5
    moved = moves(c)
    print(f"scaled out: peers {count}, leaders {leaders} after {took:.0f} s; {moved} moves, {necessary:.0f} necessary", flush=True)
    if options.failovers == 0:
        check(moved <= max(necessary * options.ratio, necessary + 1), f"{moved} moves, {necessary:.0f} are necessary")
        return stores
    finished, thrown_away = begun(c, "half-done-move"), begun(c, "extra-peer")
    print(f"{options.failovers} times without a leader: {finished} moves were finished by another, {thrown_away} begun anew", flush=True)
    check(finished > 0, "nothing was under way when pd's leader went")
    check(thrown_away <= necessary * (options.ratio - 1), f"{thrown_away} learners were removed again")
    return stores


def ctl(c, *args, code=0):
    done = c.run("ctl", *args, "--dir", c.directory, "-o", "json", check_code=code)
    return json.loads(done.stdout) if code == 0 else done.stdout + done.stderr


def store_of(c, store):
    return ctl(c, "store", "show", store)


def drain(c, options, stores):
    """The second of the old ones; then no more, since three would be two."""
    leaving = stores[1]
    ctl(c, "store", "drain", leaving, "--yes")
    took = wait_until(options.seconds, lambda: f"{store_of(c, leaving)}", lambda: store_of(c, leaving)["life"] == "tombstone")
    count, _ = peers_by_store(c)
    check(count.get(leaving, 0) == 0, f"peers are left on store {leaving}: {count}")
    print(f"drained: store {leaving} is a tombstone after {took:.0f} s; peers {count}", flush=True)
    ctl(c, "store", "drain", stores[0], "--yes")
    refused = ctl(c, "store", "drain", stores[2], "--yes", code=4)
    check("2 stores would be left" in refused, f"draining below the replicas: {refused}")
    ctl(c, "store", "cancel-drain", stores[0])
    ctl(c, "store", "remove-tombstone", leaving, "--yes")
    wait_until(10, lambda: f"stores {store_ids(c)}", lambda: leaving not in store_ids(c))


def under_load(c, options, body):
    bench = c.bench_start("--op", "mix", "--concurrency", 16, "--value-size", 200, "--keys", 20000, "--rate", 1000, "--seconds",
                          options.load_seconds, "--verify")
    time.sleep(2)
    result = body()
    found = c.bench_end(bench, timeout=options.load_seconds + 60)
    longest = judge(found, options.limit_ms)
    check(found["errors"] == 0, f"operations failed: {found['not_done']} {found['unknown']}")
    print(f"clients: {found['ops']} operations, none failed, longest pause {longest} ms", flush=True)
    return result


def body(options):
    env = {"POLDER_STORE_SPACE_LOW": "2"}
    pds = 3 if options.failovers > 0 else 1
    with cluster.Cluster(options.build, stores=3, pds=pds, regions=options.regions, keep=options.keep, env=env) as c:
        c.new_stores = []
        try:
            keys = options.megabytes * 1024
            c.bench("--op", "put", "--concurrency", 64, "--value-size", 1000, "--keys", keys, "--seconds", 1, "--verify")
            wait_settled(c)
            under_load(c, options, lambda: drain(c, options, scale_out(c, options)))
        finally:
            for store in c.new_stores:
                store.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build")
    parser.add_argument("--regions", type=int, default=100)
    parser.add_argument("--megabytes", type=int, default=30)
    parser.add_argument("--within", type=float, default=5)
    parser.add_argument("--ratio", type=float, default=1.05)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--failovers", type=int, default=0)
    parser.add_argument("--load-seconds", type=int, default=45)
    parser.add_argument("--limit-ms", type=float, default=1000)
    parser.add_argument("--keep", action="store_true")
    cluster.main(body, parser.parse_args())
