#!/usr/bin/env python3
"""Random kills, pauses and restarts of all processes under load; then the record must be linearizable.

    tests/e2e/havoc.py BUILD [--seconds 20] [--seed N] [--keys 200] [--keep]

The faults come from the seed (printed): kill -9 of one, two or all storenodes, of pd, or of everything; SIGSTOP of a
storenode or pd for longer than its lease (a leader that wakes up must not answer from the past); a restart in good
order. After the load all processes are brought back, the cluster must get healthy, every key is read once more, and the
stopped stores must hold the same rows. Few keys, so that many operations meet on each.
"""
import argparse
import os
import random
import signal
import time

import cluster
import failover
from cluster import check

STORES = 3


def alive(c, role="storenode"):
    return [number for number, process in c.processes(role).items() if cluster.is_alive(process["pid"])]


def start_dead(c):
    for role in ("pd", "storenode"):
        for number in sorted(set(c.processes(role)) - set(alive(c, role))):
            c.start(role, number)


def send(c, role, number, what):
    os.kill(c.processes(role)[number]["pid"], what)


def kill_some(c, rng, count):
    victims = rng.sample(range(1, STORES + 1), count)
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
    role, number = rng.choice([("storenode", 1), ("storenode", 2), ("storenode", 3), ("pd", 1)])
    seconds = rng.choice([0.3, 1, 2.5])
    send(c, role, number, signal.SIGSTOP)
    time.sleep(seconds)
    send(c, role, number, signal.SIGCONT)
    return f"pause of {role} {number} for {seconds} s"


def pause_and_kill_another(c, rng):
    """The one that sleeps may be the leader of the past; the others need it again when a second one is gone."""
    first, second = rng.sample(range(1, STORES + 1), 2)
    send(c, "storenode", first, signal.SIGSTOP)
    time.sleep(rng.uniform(1, 2.5))
    c.kill(second)
    send(c, "storenode", first, signal.SIGCONT)
    time.sleep(rng.uniform(0, 1))
    start_dead(c)
    return f"pause of storenode {first}, then kill -9 of storenode {second}"


def orderly_restart(c, rng):
    store = rng.randint(1, STORES)
    c.restart(store, wait=False)
    return f"restart of storenode {store}"


FAULTS = [lambda c, rng: kill_some(c, rng, 1), lambda c, rng: kill_some(c, rng, 2),
          lambda c, rng: kill_some(c, rng, STORES), kill_pd, kill_everything, pause, pause, pause_and_kill_another,
          orderly_restart]


def havoc(options):
    rng = random.Random(options.seed)
    print(f"seed {options.seed}", flush=True)
    with cluster.Cluster(options.build, stores=STORES, regions=options.regions, keep=options.keep) as c:
        load = failover.Load(c, options, 1, options.seconds)
        started = time.monotonic()
        while time.monotonic() < started + options.seconds - 1 and load.process.poll() is None:
            time.sleep(rng.uniform(0.2, 2))
            at = time.monotonic() - started
            print(f"  {at:5.1f} s: {rng.choice(FAULTS)(c, rng)}", flush=True)
        result = load.end()
        start_dead(c)
        healthy = c.wait_healthy(60)
        _, counts, last_us = load.read()
        print(f"{result['ops_per_s']} operations/s, {counts}, not done {result['not_done']}, "
              f"unknown {result['unknown']}; healthy {healthy:.1f} s after the load", flush=True)
        check(failover.add_final_reads(c, load, last_us) == options.keys, "keys are missing in the history")
        failover.check_linear(c, load)
        time.sleep(1)
        c.down()
        print(f"replicas: {c.compare_replicas()}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build")
    parser.add_argument("--seconds", type=int, default=20, help="of load and faults")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 31))
    parser.add_argument("--regions", type=int, default=16)
    parser.add_argument("--keys", type=int, default=200)
    parser.add_argument("--value-size", type=int, default=40)
    parser.add_argument("--keep", action="store_true", help="leave the directory of the cluster, with the history")
    cluster.main(havoc, parser.parse_args())
