#!/usr/bin/env python3
"""How fast a large region travels, and what it does to those who work meanwhile.

    tests/bench/snapshot.py BUILD [--megabytes 256] [--rounds 3] [--seconds 6] [--value-size 1000] [--directory DIR]

Three stores, one region of --megabytes. One store is killed, the log is cut behind it, it is started again and gets a
snapshot. Per round:

  copy      cp and fsync of a file of that size, in the same directory
  alone     limits lifted (snapshot-rate 0B, snapshot-receive-rate 0B), nobody else works: rows per second from the first
            chunk to the end of the installation
  default   default limits, a bench of puts and gets for --seconds: p99 without a snapshot and while one is on its way, in turn

The goals: alone at 60 % of copy or more, p99 at most doubled. Prints all rounds and the medians. Exit code 0 whatever they are.
"""
import argparse
import os
import re
import statistics
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
import cluster  # noqa: E402
from cluster import check  # noqa: E402

STORE = 3


def events(c, name):
    found = []
    for process in c.processes().values():
        with open(process["log"], encoding="utf-8", errors="replace") as file:
            found += [dict(re.findall(r"(\w+)=(\S+)", line)) for line in file if f"event={name} " in line]
    return found


def copy_speed(directory, megabytes):
    """MB/s."""
    source, target = os.path.join(directory, "copy-from"), os.path.join(directory, "copy-to")
    with open(source, "wb") as file:
        for _ in range(megabytes):
            file.write(os.urandom(1 << 20))
        os.fsync(file.fileno())
    started = time.monotonic()
    subprocess.run(["cp", source, target], check=True)
    with open(target, "rb+") as file:
        os.fsync(file.fileno())
    seconds = time.monotonic() - started
    os.remove(source)
    os.remove(target)
    return megabytes * 1.048576 / seconds


def settle(c, options):
    """Until nothing is written any more: compactions of the last round do not belong to the next."""
    def written():
        total = 0
        for process in c.processes().values():
            if not cluster.is_alive(process["pid"]):
                continue
            with open(f"/proc/{process['pid']}/io", encoding="utf-8") as file:
                total += next(int(line.split()[1]) for line in file if line.startswith("write_bytes"))
        return total
    deadline, before = time.monotonic() + 60, written()
    while time.monotonic() < deadline:
        time.sleep(1)
        now = written()
        if now - before < 2 << 20:
            return
        before = now


def load(c, options):
    rows = options.megabytes * (1 << 20) // (options.value_size + 20)
    c.bench("--op", "put", "--value-size", options.value_size, "--keys", rows, "--seconds", 1, timeout=600)


def put_behind(c, options):
    """More than the log keeps, while the store is down. What it was compacting would begin again when it is back."""
    settle(c, options)
    c.kill(STORE)
    c.bench("--op", "put", "--value-size", options.value_size, "--keys", 4000, "--seconds", 1)
    time.sleep(2.5)  # the logs are looked at once a second
    settle(c, options)


def come_back(c, before, seconds=120):
    """The snapshot that was installed since there were `before` of them."""
    deadline = time.monotonic() + seconds
    while len(events(c, "snapshot_installed")) <= before:
        check(time.monotonic() < deadline, "no snapshot was installed")
        time.sleep(0.1)
    return events(c, "snapshot_installed")[-1]


def speed_of(event):
    return int(event["size"]) / 1e6 / (int(event["took_ms"]) / 1e3)


def alone(options, rounds, copies):
    environment = {"POLDER_LOG_SIZE_MAX": "1MiB", "POLDER_LOG_RETAIN_COUNT": "16", "POLDER_TOKENS_SAVE_INTERVAL": "16",
                   "POLDER_REGION_SIZE_MAX": "0B",
                   "POLDER_SNAPSHOT_RATE": "0B", "POLDER_SNAPSHOT_RECEIVE_RATE": "0B"}
    with cluster.Cluster(options.build, stores=3, regions=1, directory=options.directory, env=environment) as c:
        c.wait_healthy()
        load(c, options)
        for _ in range(options.rounds):
            put_behind(c, options)
            copies.append(copy_speed(c.directory, options.megabytes))
            before = len(events(c, "snapshot_installed"))
            c.restart(STORE, wait=False)
            event = come_back(c, before)
            rounds.append(speed_of(event))
            print(f"alone: {int(event['size']) / 1e6:.0f} MB of rows in {event['took_ms']} ms: {rounds[-1]:.0f} MB/s, "
                  f"{event['tables']} tables; copy {copies[-1]:.0f} MB/s", flush=True)
            c.wait_healthy()


def foreground(c, options):
    return c.bench("--op", "mix", "--concurrency", 16, "--keys", 4000, "--no-load", "--seconds", options.seconds)


def p99(result):
    return result["latency"]["p99_us"] / 1000


def with_work(options, rounds):
    environment = {"POLDER_LOG_SIZE_MAX": "1MiB", "POLDER_LOG_RETAIN_COUNT": "16", "POLDER_TOKENS_SAVE_INTERVAL": "16",
                   "POLDER_REGION_SIZE_MAX": "0B"}
    with cluster.Cluster(options.build, stores=3, regions=1, directory=options.directory, env=environment) as c:
        c.wait_healthy()
        load(c, options)
        for _ in range(options.rounds):
            put_behind(c, options)
            quiet = foreground(c, options)
            before = len(events(c, "snapshot_installed"))
            c.restart(STORE, wait=False)
            busy = foreground(c, options)
            event = come_back(c, before)
            rounds.append((p99(quiet), p99(busy)))
            print(f"default: snapshot in {event['took_ms']} ms of {options.seconds} s; p99 {p99(quiet):.2f} ms without, "
                  f"{p99(busy):.2f} ms with", flush=True)
            c.wait_healthy()


def body(options):
    speeds, copies, latencies = [], [], []
    alone(options, speeds, copies)
    with_work(options, latencies)
    speed, copy = statistics.median(speeds), statistics.median(copies)
    quiet, busy = (statistics.median(values) for values in zip(*latencies))
    print(f"medians: alone {speed:.0f} MB/s, copy {copy:.0f} MB/s: {100 * speed / copy:.0f} %; "
          f"p99 {quiet:.2f} -> {busy:.2f} ms: x {busy / quiet:.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build")
    parser.add_argument("--megabytes", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=6)
    parser.add_argument("--value-size", type=int, default=1000)
    parser.add_argument("--directory")
    cluster.main(body, parser.parse_args())
