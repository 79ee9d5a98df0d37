#!/usr/bin/env python3
"""Many regions: how long a cluster and its stores take to start, what an idle one costs, how long a loss is felt.

    tests/bench/scale.py --build BUILD [--only up,idle,restart,load,loss] [--regions 10000] [--idle-regions 20000] [-o json]

up       a cluster of 3 stores with --idle-regions is made, and `polder status`, a scan of its routes and `store region
         list` are asked of it
idle     memory and CPU time of a store with --idle-regions that nobody wants anything of: alone, and as one of three
restart  one store, --regions, --size of data: stopped in order and killed; until it says that it is ready, and until
         every region has taken a write
load     three stores, --load-regions, killed (kill -9, all three) under load: until every region has taken a write
loss     three stores, --regions, asleep: one of them is killed; then all three are, and are started again

Times are wall clock from the moment of the kill (loss) or the start of the process (the others). A write to each region
is begun at that moment.
"""
import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
import cluster  # noqa: E402
from cluster import check  # noqa: E402

MIB = 1024 * 1024
MB = 1000 * 1000


class EachRegion:
    """Learns the regions when made, writes to all of them when told to go."""

    def __init__(self, c, deadline_seconds=120):
        self.process = subprocess.Popen([cluster.program(c.build, "each_region"), c.pd(), str(deadline_seconds)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        check("regions" in self.process.stdout.readline(), "each_region did not learn the regions")

    def go(self):
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def end(self):
        out, complaints = self.process.communicate(timeout=200)
        check(self.process.returncode == 0, f"each_region: {out}{complaints}")
        return json.loads(out)


def ready_count(c, store):
    with open(c.processes()[store]["log"], encoding="utf-8", errors="replace") as file:
        return sum(' msg="ready"' in line for line in file)


def start_stores(c, stores):
    """Until each of them said that it is ready: milliseconds, and seconds of CPU time of the one that used most."""
    said = {store: ready_count(c, store) for store in stores}
    began, times = time.monotonic(), {}
    for store in stores:
        c.start("storenode", store)
    while len(times) < len(stores):
        for store in stores:
            if store not in times and ready_count(c, store) > said[store]:
                times[store] = (time.monotonic() - began) * 1000
        check(time.monotonic() - began < 120, "a store did not become ready in two minutes")
        time.sleep(0.005)
    return {"ready_ms": max(times.values()),
            "ready_cpu_s": max(cpu_seconds(c.processes()[store]["pid"]) for store in stores)}


def stop_in_order(c, store):
    pid = c.processes()[store]["pid"]
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + 60
    while cluster.is_alive(pid):
        check(time.monotonic() < deadline, f"store {store} did not stop in a minute")
        time.sleep(0.01)


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def make(options, stores, regions):
    return cluster.Cluster(options.build, stores=stores, regions=regions, directory=options.dir, timeout="180s")


def timed(command):
    began = time.monotonic()
    result = command()
    return result, (time.monotonic() - began) * 1000


def load(c, options):
    """--size bytes of values of 1000 bytes, spread over all regions."""
    count = options.size_mib * MIB // 1024
    c.bench("--op", "put", "--concurrency", 1024, "--keys", count, "--value-size", 1000, "--seconds", 1,
            "--deadline", "60s", timeout=1200)


# ---- what is measured

def up(options):
    with make(options, 3, options.idle_regions) as c:
        row = {"regions": options.idle_regions, "up_ms": c.ready_seconds * 1000}
        _, row["status_ms"] = timed(lambda: c.polder("status", "--dir", c.directory, "-o", "json"))
        writes, row["routes_ms"] = timed(lambda: EachRegion(c))
        writes.go()
        row["write_each_ms"] = writes.end()["last_ms"]
        c.kill(1)
        text, row["region_list_ms"] = timed(
            lambda: c.polder("store", "region", "list", "--data-dir", c.data_dirs()[0], "-o", "json"))
        regions = json.loads(text)
        check(len(regions["regions"] if isinstance(regions, dict) else regions) == options.idle_regions,
              "store region list does not list all regions")
        return [row]


def idle(options):
    rows = []
    for stores in (1, 3):
        with make(options, stores, options.idle_regions) as c:
            for state in ("fresh", "written to"):
                if state == "written to":
                    writes = EachRegion(c)
                    writes.go()
                    writes.end()
                time.sleep(options.settle_seconds)
                pids = [process["pid"] for process in c.processes().values()]
                before = [cpu_seconds(pid) for pid in pids]
                began = time.monotonic()
                time.sleep(options.idle_seconds)
                passed = time.monotonic() - began
                rows.append({"stores": stores, "regions": options.idle_regions, "state": state,
                             "resident_mb": max(c.memory_size(pid) for pid in pids) / MB,
                             "cpu_percent": max((cpu_seconds(pid) - used) / passed * 100
                                                for pid, used in zip(pids, before)),
                             "pd_resident_mb": c.memory_size(c.pids()["pd", 1]) / MB})
    return rows


def restart(options):
    rows = []
    with make(options, 1, options.regions) as c:
        load(c, options)
        for how in ("in order", "kill -9", "in order", "kill -9"):
            busy = c.bench_start("--op", "put", "--no-load", "--keys", options.size_mib * 1024, "--value-size", 1000,
                                 "--concurrency", 256, "--seconds", 3, "--deadline", "1s")
            c.bench_end(busy)
            writes = EachRegion(c)
            if how == "in order":
                stop_in_order(c, 1)
            else:
                c.kill(1)
            log_size = sum(os.path.getsize(os.path.join(c.data_dirs()[0], "engine", name))
                           for name in os.listdir(os.path.join(c.data_dirs()[0], "engine")) if re.fullmatch(r"\d+\.log", name))
            writes.go()
            row = {"stopped": how, "regions": options.regions, "data_mib": options.size_mib,
                   "wal_mib": log_size / MIB, **start_stores(c, [1])}
            done = writes.end()
            rows.append({**row, "p50_ms": done["p50_ms"], "last_ms": done["last_ms"]})
    return rows


def loss_row(c, what, stores, restarted):
    writes = EachRegion(c)
    c.kill(*stores)
    writes.go()
    ready = start_stores(c, stores) if restarted else {"ready_ms": None, "ready_cpu_s": None}
    done = writes.end()
    row = {"killed": what, **ready, "p50_ms": done["p50_ms"], "p99_ms": done["p99_ms"],
           "last_ms": done["last_ms"]}
    if not restarted:
        start_stores(c, stores)
    c.wait_healthy(120)
    row["leaders"] = "/".join(str(store["leaders"]) for store in sorted(c.status()["stores"], key=lambda s: s["id"]))
    return row


def under_load(options):
    rows = []
    with make(options, 3, options.load_regions) as c:
        for _ in range(options.rounds):
            busy = c.bench_start("--op", "put", "--keys", 8 * options.load_regions, "--concurrency", 256, "--seconds", 6,
                                 "--deadline", "60s")
            time.sleep(4)
            rows.append({"regions": options.load_regions, **loss_row(c, "all, under load", [1, 2, 3], True)})
            c.bench_end(busy)
    return rows


def loss(options):
    rows = []
    with make(options, 3, options.regions) as c:
        for i in range(options.rounds):
            for what, stores, restarted in (("one of three", [1 + i % 3], False), ("all", [1, 2, 3], True)):
                time.sleep(options.settle_seconds)
                rows.append({"regions": options.regions, **loss_row(c, what, stores, restarted)})
    return rows


PARTS = {"up": up, "idle": idle, "restart": restart, "load": under_load, "loss": loss}


def show(value):
    return "-" if value is None else f"{value:,.1f}" if isinstance(value, float) and value < 100 else \
        f"{value:,.0f}" if isinstance(value, (int, float)) else value


def print_table(part, rows):
    cells = [list(rows[0])] + [[show(value) for value in row.values()] for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    print(part)
    for line in cells:
        print("  " + "  ".join(text.rjust(width) for text, width in zip(line, widths)))
    sys.stdout.flush()


def measure(options):
    results = {}
    for part in options.only.split(","):
        check(part in PARTS, f"{part}: not one of {', '.join(PARTS)}")
        results[part] = PARTS[part](options)
        if options.output == "text":
            print_table(part, results[part])
    if options.output == "json":
        print(json.dumps(results))


if __name__ == "__main__":
    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=os.path.join(root, "build"))
    parser.add_argument("--only", default=",".join(PARTS))
    parser.add_argument("--regions", type=int, default=10000)
    parser.add_argument("--idle-regions", type=int, default=20000)
    parser.add_argument("--load-regions", type=int, default=1000)
    parser.add_argument("--size-mib", type=int, default=1024, help="of data, for restart")
    parser.add_argument("--settle-seconds", type=float, default=10, help="until regions sleep")
    parser.add_argument("--idle-seconds", type=float, default=20)
    parser.add_argument("--rounds", type=int, default=2, help="of load and loss")
    parser.add_argument("--dir", default="/var/tmp", help="where the data go")
    parser.add_argument("-o", "--output", choices=["text", "json"], default="text")
    cluster.main(measure, parser.parse_args())
