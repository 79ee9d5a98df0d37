#!/usr/bin/env python3
"""Random kills, pauses and restarts of all processes under load; then the record must be linearizable.

    tests/e2e/havoc.py BUILD [--seconds 20] [--seed N] [--keys 200] [--stores 3] [--stir] [--keep]

The faults come from the seed (printed): kill -9 of one, two or all storenodes, of pd, or of everything; SIGSTOP of a
storenode or pd for longer than its lease (a leader that wakes up must not answer from the past); a restart in good
order. After the load all processes are brought back, the cluster must get healthy, every key is read once more, and the
stopped stores must hold the same rows. Few keys, so that many operations meet on each. With --stir regions are split and
merged meanwhile, leaders handed over, and with more than three stores replicas moved: all without waiting for the faults.
"""
import argparse
import json
import os
import random
import signal
import string
import threading
import time

import cluster
import failover
from cluster import check

def alive(c, role="storenode"):
    return [number for number, process in c.processes(role).items() if cluster.is_alive(process["pid"])]


def start_dead(c):
    for role in ("pd", "storenode"):
        for number in sorted(set(c.processes(role)) - set(alive(c, role))):
            c.start(role, number)


def send(c, role, number, what):
    os.kill(c.processes(role)[number]["pid"], what)


def kill_some(c, rng, count):
    victims = rng.sample(range(1, c.stores + 1), count)
    c.kill(*victims)
    time.sleep(rng.uniform(0, 2))
    start_dead(c)
    return f"kill -9 of storenode {victims}"


def kill_pd(c, rng):
    send(c, "pd", 1, signal.SIGKILL)
    time.sleep(rng.uniform(0, 2))
    start_dead(c)
    return "kill -9 of pd"


def kill_everything(c, rng):
    for role in ("pd", "storenode"):
        for number in alive(c, role):
            send(c, role, number, signal.SIGKILL)
    time.sleep(rng.uniform(0, 0.5))
    start_dead(c)
    return "kill -9 of everything"


def pause(c, rng):
    role, number = rng.choice([("storenode", number + 1) for number in range(c.stores)] + [("pd", 1)])
    seconds = rng.choice([0.3, 1, 2.5])
    send(c, role, number, signal.SIGSTOP)
    time.sleep(seconds)
    send(c, role, number, signal.SIGCONT)
    return f"pause of {role} {number} for {seconds} s"


def pause_and_kill_another(c, rng):
    """The one that sleeps may be the leader of the past; the others need it again when a second one is gone."""
    first, second = rng.sample(range(1, c.stores + 1), 2)
    send(c, "storenode", first, signal.SIGSTOP)
    time.sleep(rng.uniform(1, 2.5))
    c.kill(second)
    send(c, "storenode", first, signal.SIGCONT)
    time.sleep(rng.uniform(0, 1))
    start_dead(c)
    return f"pause of storenode {first}, then kill -9 of storenode {second}"


def orderly_restart(c, rng):
    store = rng.randint(1, c.stores)
    c.restart(store, wait=False)
    return f"restart of storenode {store}"


FAULTS = [lambda c, rng: kill_some(c, rng, 1), lambda c, rng: kill_some(c, rng, 2),
          lambda c, rng: kill_some(c, rng, c.stores), kill_pd, kill_everything, pause, pause, pause_and_kill_another,
          orderly_restart]


def random_key(rng):
    """Bench keys are letters and digits."""
    return "".join(rng.choices(string.ascii_letters + string.digits, k=4))


class Stirrer(threading.Thread):
    """Changes regions until it is told to end; most of it fails while processes are dead, and is tried no second time."""

    def __init__(self, c, seed):
        super().__init__()
        self.c, self.rng, self.done, self.failed, self.ending = c, random.Random(seed), {}, 0, False

    def client(self, *args):
        ended = self.c.run("region", *args, "--pd", self.c.pd(), "--deadline", "3s", check_code=None, timeout=60)
        return ended.stdout or "done" if ended.returncode == 0 else None

    def stir(self):
        regions = json.loads(self.client("list", "-o", "json") or "[]")
        if not regions:
            return None
        at = self.rng.randrange(len(regions))
        region = regions[at]
        what = self.rng.choice(["split", "split", "merge", "merge", "transfer-leader", "move-peer"])
        if what == "split":
            return what if self.client("split", random_key(self.rng)) else None
        if what == "merge":
            other = regions[at + 1 if at + 1 < len(regions) else at - 1]
            return what if self.client("merge", region["id"], other["id"]) else None
        shown = json.loads(self.client("show", region["id"], "-o", "json") or "{}")
        there = {peer["store"] for peer in shown.get("peers", [])}
        elsewhere = {int(store["id"]) for store in self.c.status()["stores"]} - there
        if what == "transfer-leader" and there:
            return what if self.client(what, region["id"], self.rng.choice(sorted(there))) else None
        if what == "move-peer" and there and elsewhere:
            return what if self.client(what, region["id"], self.rng.choice(sorted(there)),
                                       self.rng.choice(sorted(elsewhere)), "--wait", "10s") else None
        return None

    def run(self):
        while not self.ending:
            try:
                done = self.stir()
            except (cluster.Failed, KeyError, ValueError):
                done = None
            self.failed += done is None
            if done:
                self.done[done] = self.done.get(done, 0) + 1
            time.sleep(self.rng.uniform(0, 0.2))

    def end(self):
        self.ending = True
        self.join()
        return f"{', '.join(f'{count} {what}' for what, count in sorted(self.done.items()))}; {self.failed} not done"


def havoc(options):
    rng = random.Random(options.seed)
    print(f"seed {options.seed}", flush=True)
    with cluster.Cluster(options.build, stores=options.stores, regions=options.regions, keep=options.keep) as c:
        load = failover.Load(c, options, 1, options.seconds)
        stirrers = [Stirrer(c, options.seed + number) for number in range(4 if options.stir else 0)]
        for stirrer in stirrers:
            stirrer.start()
        started = time.monotonic()
        while time.monotonic() < started + options.seconds - 1 and load.process.poll() is None:
            time.sleep(rng.uniform(0.2, 2))
            at = time.monotonic() - started
            print(f"  {at:5.1f} s: {rng.choice(FAULTS)(c, rng)}", flush=True)
        result = load.end()
        start_dead(c)
        for stirrer in stirrers:
            print(f"regions: {stirrer.end()}", flush=True)
        healthy = c.wait_healthy(60)
        _, counts, last_us = load.read()
        print(f"{result['ops_per_s']} operations/s, {counts}, not done {result['not_done']}, "
              f"unknown {result['unknown']}; healthy {healthy:.1f} s after the load", flush=True)
        check(failover.add_final_reads(c, load, last_us) == options.keys, "keys are missing in the history")
        failover.check_linear(c, load)
        time.sleep(1)
        print(c.client("region", "check", "--all", timeout=120).splitlines()[-1])
        c.down()
        if options.stores == 3:
            print(f"replicas: {c.compare_replicas()}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build")
    parser.add_argument("--seconds", type=int, default=20, help="of load and faults")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 31))
    parser.add_argument("--stores", type=int, default=3)
    parser.add_argument("--regions", type=int, default=16)
    parser.add_argument("--stir", action="store_true", help="split, merge and move regions meanwhile")
    parser.add_argument("--keys", type=int, default=200)
    parser.add_argument("--value-size", type=int, default=40)
    parser.add_argument("--keep", action="store_true", help="leave the directory of the cluster, with the history")
    cluster.main(havoc, parser.parse_args())
