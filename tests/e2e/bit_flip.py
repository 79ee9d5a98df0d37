#!/usr/bin/env python3
"""One byte is flipped in each kind of file of one store, one at a time: detected, named, healed or refused, never served.

    tests/e2e/bit_flip.py BUILD [--keys 3000] [--value-size 200] [--kinds SST-data,WAL] [--keep]

For each kind: a cluster of three, a load, one store is stopped, a byte in the middle of its largest file of that kind is flipped,
`polder store check` must name the file, the store is started again. Either it refuses to start, naming what it found, and
`polder store rebuild` makes it anew from the others; or it starts, replicas are compared (which reads every row), and those that
cannot be read are healed. All values are read back in any case: none may be wrong. Prints a table.
"""
import argparse
import glob
import json
import os
import re
import signal
import subprocess
import time

import cluster
from cluster import check

STORE = 3
KINDS = {"SST-data": "*.sst", "SST-raft": "*.sst", "SST-promises": "*.sst", "WAL": "*.log", "WAL-end": "*.log", "MANIFEST": "MANIFEST-*", "CURRENT": "CURRENT", "OPTIONS": "OPTIONS-*",
         "IDENTITY": "IDENTITY"}


def family_of(path):
    """The column family that a table says it belongs to, in its properties at the end."""
    with open(path, "rb") as file:
        tail = file.read()[-8192:]
    return tail[tail.rfind(b"column.family.id"):][:60]


def file_of(directory, pattern, family=None):
    paths = [path for path in glob.glob(os.path.join(directory, "**", pattern), recursive=True)
             if os.path.getsize(path) > 0 and os.path.basename(path) != "log"]
    if family:
        paths = [path for path in paths if family in family_of(path)]
    check(paths, f"there is no {pattern} of {family} in {directory}")
    return max(paths, key=os.path.getsize)


def flip(path, kind):
    """The offset: the middle of what it says; or its end, which is in the record that was synced last; or its first block, which has
    the first region's hard state."""
    with open(path, "r+b") as file:
        content = file.read()
        size = len(content.rstrip(b"\0"))
        at = {"WAL-end": size - 8, "SST-promises": 100}.get(kind, size // 2)
        file.seek(at)
        file.write(bytes([content[at] ^ 0x40]))
    return at


def log_of(c):
    with open(c.processes()[STORE]["log"], encoding="utf-8", errors="replace") as file:
        return file.read()


def wrong_values(c, expected):
    wrong = 0
    for key, value in expected.items():
        ended = c.run("kv", "get", key, "--pd", c.pd(), check_code=None)
        wrong += ended.returncode != 0 or ended.stdout.rstrip("\n") != value
    return wrong


def load(c, options):
    rows = {f"key/{i:06}": f"{i:06}" + "v" * options.value_size for i in range(options.keys)}
    text = "".join(f"put {key} {value}\n" for key, value in rows.items())
    for at in range(0, options.keys, 500):
        part = "".join(text.splitlines(True)[at:at + 500])
        c.client("kv", "batch", "-", input_text=part)
    step = max(1, options.keys // 40)
    return {key: rows[key] for key in list(rows)[::step]}


def stop(c):
    """In order: what is applied is in the engine's files."""
    pid = c.processes()[STORE]["pid"]
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + 20
    while cluster.is_alive(pid):
        check(time.monotonic() < deadline, f"storenode {STORE} does not stop")
        time.sleep(0.05)


def replicas_are_the_same(c):
    ended = c.run("region", "check", "--all", "--pd", c.pd(), "-o", "json", check_code=None)
    return ended.returncode == 0 and all(region["complete"] for region in json.loads(ended.stdout))


def rebuild(c):
    """The way back for a store that refuses to start: one command, which waits for the storenode to be started."""
    process = c.processes()[STORE]
    old = next(s["id"] for s in c.status()["stores"] if s["address"] == process["address"])
    command = [c.binary, "store", "rebuild", "--data-dir", process["data_dir"], "--store", str(old), "--pd", c.pd(), "-o", "json"]
    looked = c.run(*command[1:], "--dry-run", check_code=None)
    deadline = time.monotonic() + 30
    while looked.returncode != 0 and "is up" in looked.stderr and time.monotonic() < deadline:
        time.sleep(0.5)
        looked = c.run(*command[1:], "--dry-run", check_code=None)
    check(looked.returncode == 0 and json.loads(looked.stdout)["regions"] > 0, f"dry run: {looked}")
    started = time.monotonic()
    with subprocess.Popen(command + ["--yes", "--discard"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        while not glob.glob(os.path.join(process["data_dir"], "engine.lost-*")):
            check(running.poll() is None, f"store rebuild: {running.communicate() if running.poll() is not None else ''}")
            time.sleep(0.05)
        c.start("storenode", STORE)
        out, complaints = running.communicate(timeout=120)
        check(running.returncode == 0, f"store rebuild: {running.returncode}: {complaints}")
    done = json.loads(out)
    check(done["new_store"] not in (0, done["store"]) and done["regions"] == json.loads(looked.stdout)["regions"], out)
    check(replicas_are_the_same(c), "replicas differ, or are not complete")
    return int((time.monotonic() - started) * 1000)


def one(options, kind):
    with cluster.Cluster(options.build, stores=3, regions=2, keep=options.keep) as c:
        c.wait_healthy()
        expected = load(c, options)
        time.sleep(2)  # followers apply a little later
        directory = c.processes()[STORE]["data_dir"]
        family = {"SST-data": b"default", "SST-raft": b"raft", "SST-promises": b"raft"}.get(kind)
        if family:
            stop(c)
        else:
            c.kill(STORE)
        if family:
            c.run("store", "compact", "--data-dir", directory)
        path = file_of(directory, KINDS[kind], family)
        offset = flip(path, kind)
        name = os.path.basename(path)
        offline = c.run("store", "check", "--data-dir", directory, check_code=None)
        named_offline = name in offline.stdout + offline.stderr and offline.returncode != 0
        before = len(log_of(c))
        started = time.monotonic()
        c.start("storenode", STORE)
        result = {"kind": kind, "file": name, "offset": offset, "store check": "names it" if named_offline else "-",
                  "online": "-", "healed_ms": None}
        deadline = time.monotonic() + 40
        while time.monotonic() < deadline:
            log = log_of(c)[before:]
            if "event=replica_lost" in log:
                line = next(line for line in log.splitlines() if "event=replica_lost" in line)
                result["online"] = "replica not started" + (", names it" if name in line else "")
                for region in sorted(set(re.findall(r"event=replica_lost region=(\d+)", log))):
                    c.client("region", "rebuild-peer", region, STORE)
                result["healed_ms"] = int((time.monotonic() - started) * 1000)
                check(replicas_are_the_same(c), "replicas differ, or are not complete")
                break
            if not cluster.is_alive(c.processes()[STORE]["pid"]):
                result["online"] = "refuses to start" + (", names it" if name in log or directory in log else "")
                result["healed_ms"] = rebuild(c)
                break
            if "event=raft_contradiction" in log:
                result["online"] = "forgot entries: contradiction logged"
                break
            if time.monotonic() > started + 1:
                same = replicas_are_the_same(c)
                found = re.findall(r"event=replica_damaged .*", log_of(c)[before:])
                if found:
                    result["online"] = "replica damaged" + (", names it" if any(name in line for line in found) else "")
                    if "event=replica_healed" in log_of(c)[before:]:
                        result["healed_ms"] = int((time.monotonic() - started) * 1000)
                        break
                elif same:
                    result["online"] = "all replicas are the same"
                    break
            time.sleep(0.2)
        result["wrong"] = wrong_values(c, expected)
    return result


def body(options):
    results = []
    for kind in options.kinds.split(","):
        results.append(one(options, kind))
        print(json.dumps(results[-1]), flush=True)
    print(f"{'kind':10} {'file':28} {'store check':12} {'when it runs':36} {'healed in':>10}  wrong values")
    for r in results:
        healed = f"{r['healed_ms']} ms" if r["healed_ms"] else "-"
        print(f"{r['kind']:10} {r['file']:28} {r['store check']:12} {r['online']:36} {healed:>10}  {r['wrong']}")
    check(all(r["wrong"] == 0 for r in results), "wrong values were served")
    for r in results:
        unread = r["kind"] in ("OPTIONS", "IDENTITY")  # nothing reads them: RocksDB's notes for people
        check(unread or r["store check"] != "-", f"polder store check does not name it: {r}")
        check(r["online"] != "-", f"a flipped byte was seen by nobody: {r}")
        check(r["online"] == "all replicas are the same" or "names it" in r["online"], f"not named: {r}")
        check(r["online"] == "all replicas are the same" or r["healed_ms"], f"not healed: {r}")
        check(not r["kind"].startswith("WAL") or r["online"].startswith("refuses"), f"what was synced was forgotten: {r}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build")
    parser.add_argument("--keys", type=int, default=3000)
    parser.add_argument("--value-size", type=int, default=200)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--keep", action="store_true")
    cluster.main(body, parser.parse_args())
