#!/usr/bin/env python3
"""`polder store` on data directories: what it tells agrees with what was written, nothing it reads is changed, and of
every kind of file one flipped byte is found and named.

    tests/e2e/store_cli.py BUILD [--rows 12000] [--flips 6] [--seed 1]
"""
import argparse
import fcntl
import hashlib
import json
import os
import random
import shutil
import tempfile
import time

import cluster
from cluster import check

REGIONS = 8


def tree(directory):
    """Everything that could change: names, times, contents."""
    found = {}
    for path, folders, files in os.walk(directory):
        for name in folders + files:
            full = os.path.join(path, name)
            status = os.stat(full)
            content = ""
            if name in files:
                with open(full, "rb") as file:
                    content = hashlib.sha256(file.read()).hexdigest()
            found[full] = (status.st_mtime_ns, status.st_size, content)
    return found


def store(c, *args, code=0):
    """What `polder store ARGS -o json` says."""
    return json.loads(c.polder("store", *args, "-o", "json", check_code=code))


def look(c, directory, code=None):
    ended = c.run("store", "check", "--data-dir", directory, "-o", "json", check_code=code)
    check(ended.returncode in (0, 1), f"check: exit code {ended.returncode}: {ended.stderr}")
    result = json.loads(ended.stdout)
    check((result["findings"] > 0) == (ended.returncode == 1), f"exit code {ended.returncode} with {result}")
    return result


# ---- sound directories


def show_running(c, directory, pid):
    ended = c.run("store", "check", "--data-dir", directory, check_code=2)
    check(f"pid {pid}" in ended.stderr, f"does not say who uses it: {ended.stderr}")
    for args in (["region", "list"], ["raft", "list"], ["size"]):
        c.run("store", *args, "--data-dir", directory, check_code=2)
    print(f"in use: {ended.stderr.strip()}")


def show_refusals(c, pd_dir, directory):
    ended = c.run("store", "check", "--data-dir", pd_dir, check_code=2)
    check("not the data directory of a storenode" in ended.stderr, ended.stderr)
    c.run("store", "check", "--data-dir", c.directory, check_code=2)
    c.run("store", "check", "--data-dir", directory + "-none", check_code=2)
    c.run("store", "check", check_code=2)
    c.run("store", "region", "show", 999999, "--data-dir", directory, check_code=3)
    c.run("store", "raft", "log", 999999, "--data-dir", directory, check_code=3)
    c.run("store", "raft", "show", "seven", "--data-dir", directory, check_code=2)
    with open(os.path.join(directory, "LOCK.polder"), "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        ended = c.run("storenode", "--data-dir", directory, "--pd", "tcp://127.0.0.1:1", "--address",
                      "tcp://127.0.0.1:2", check_code=1)
        check("is used by another process" in ended.stderr, f"a storenode starts while somebody reads: {ended.stderr}")
        look(c, directory, code=0)


def show_log(c, directory, group):
    entries = store(c, "raft", "log", group["id"], "--limit", 0, "--data-dir", directory)
    check([e["index"] for e in entries] == list(range(group["first_index"], group["last_index"] + 1)),
          f"entries of group {group['id']}")
    some = store(c, "raft", "log", group["id"], "--from", group["last_index"], "-n", 5, "--data-dir", directory)
    check(some == entries[-1:], "--from and -n")
    return [write for entry in entries if entry["index"] <= group["applied_index"] for write in entry["writes"]]


def show_sound(c, directory, rows, exact):
    before = tree(directory)
    result = look(c, directory, code=0)
    check(result["warnings"] == 0 and result["groups"] == REGIONS, f"{directory}: {result}")
    regions = store(c, "region", "list", "--count", "--data-dir", directory)
    groups = store(c, "raft", "list", "--data-dir", directory)
    count = sum(region["rows"] for region in regions)
    check(len(regions) == len(groups) == REGIONS, "regions")
    check(count == rows if exact else count <= rows, f"{directory}: {count} rows of {rows}")
    check(sum(group["log_entries"] for group in groups) == result["log_entries"], "log entries")
    check(all(left["end"] == right["start"] for left, right in zip(regions, regions[1:])), "ranges do not join")
    written = [write for group in groups for write in show_log(c, directory, group)]
    check(len({write["key"] for write in written}) == count, "rows and what the logs say was applied")
    for group in groups:
        one = store(c, "raft", "show", group["id"], "--data-dir", directory)
        check(one == group, f"raft show: {one} is not {group}")
        check(group["min_checkpoint"] <= group["applied_index"] + 1, f"{group}")
    size = store(c, "size", "--data-dir", directory)
    check(size["total_bytes"] > 0 and [f["name"] for f in size["families"]] == ["default", "lock", "write", "raft"], f"{size}")
    for args in (["region", "list"], ["raft", "list"], ["raft", "min-checkpoint"], ["size"], ["check", "--progress"]):
        text = c.polder("store", *args, "--data-dir", directory)
        check(len(text.splitlines()) >= 1, f"{args}: nothing said")
    check(tree(directory) == before, f"{directory} was changed")
    print(f"{os.path.basename(os.path.dirname(directory))}: {result['rows']} rows ({count} of users), {result['log_entries']} log entries, "
          f"{result['tables']} tables: sound, and as it was before")
    return result


# ---- damage


class Copy:
    def __init__(self, c, directory, scratch):
        self.c, self.path = c, os.path.join(scratch, "copy")
        shutil.rmtree(self.path, ignore_errors=True)
        shutil.copytree(directory, self.path, ignore=shutil.ignore_patterns("engine.reserve"))
        self.engine = os.path.join(self.path, "engine")

    def files(self, end=None, start=None):
        return sorted(name for name in os.listdir(self.engine)
                      if (not end or name.endswith(end)) and (not start or name.startswith(start)))

    def read(self, name):
        with open(os.path.join(self.engine, name), "rb") as file:
            return file.read()

    def write(self, name, content):
        with open(os.path.join(self.engine, name), "wb") as file:
            file.write(content)

    def flip(self, name, offset, names=None):
        """One byte: must be found, and the file named (or one of `names`)."""
        good = self.read(name)
        self.write(name, good[:offset] + bytes([good[offset] ^ 0x20]) + good[offset + 1:])
        result = look(self.c, self.path)
        texts = " ".join(item["text"] for item in result["list"])
        check(result["findings"] > 0, f"{name}: the flipped byte {offset} of {len(good)} was not found")
        check(any(part in texts for part in names or [name]), f"{name}, byte {offset}: not named: {texts}")
        self.write(name, good)
        return result

    def lost(self, name, names=None):
        good = self.read(name)
        os.unlink(os.path.join(self.engine, name))
        result = look(self.c, self.path)
        texts = " ".join(item["text"] for item in result["list"])
        check(result["findings"] > 0, f"{name} is gone, and nothing was found")
        check(any(part in texts for part in names or [name[:6]]), f"{name} is gone: not named: {texts}")
        self.write(name, good)


def show_table_damage(copy, options):
    tables = copy.files(end=".sst")
    check(tables, "no table files")
    for name in tables:
        size = len(copy.read(name))
        # The footer's last 13 bytes (version, magic) count; before them is padding that nobody reads.
        offsets = [0, size - 1] + [random.randrange(size - 60) for _ in range(options.flips)]
        for offset in offsets:
            copy.flip(name, offset)
        copy.lost(name)
    print(f"{len(tables)} tables: {2 + options.flips} flips each and a loss each were found")


def show_manifest_damage(copy, options):
    name = copy.files(start="MANIFEST-")[-1]
    size = len(copy.read(name))
    for offset in [0, 4, 6, size - 1] + [random.randrange(size) for _ in range(4 * options.flips)]:
        copy.flip(name, offset, names=["MANIFEST"])
    copy.lost(name, names=[name])
    for offset in range(len(copy.read("CURRENT"))):
        copy.flip("CURRENT", offset, names=["CURRENT"])
    copy.lost("CURRENT", names=["CURRENT"])
    print("MANIFEST and CURRENT: flips and losses were found")


def show_wal_damage(copy, sound, options):
    """Of what lies behind the damage nothing is left, so the rest is a smaller store without contradictions."""
    name = max(copy.files(end=".log"), key=lambda log: len(copy.read(log)))
    good = copy.read(name)
    size = len(good.rstrip(b"\0"))
    check(size > 0, "no log: the store was not killed")
    for offset in [0, 4, 6, size // 2, size - 2] + [random.randrange(size) for _ in range(2 * options.flips)]:
        result = copy.flip(name, offset)
        check(result["rows"] <= sound["rows"] and result["log_entries"] <= sound["log_entries"], f"more than there was: {result}")
        check(offset > size // 2 or result["rows"] < sound["rows"], f"what lies behind the damage was counted: {result}")
    copy.lost(name, names=["identity is missing"])
    # A log that ends in the middle of a record is told, as a warning: any kill -9 may do that...
    copy.write(name, good[:size // 2])
    cut = look(copy.c, copy.path)
    told = [item["text"] for item in cut["list"] if item["severity"] == "warning" and name in item["text"]]
    check(cut["findings"] == 0 and told and cut["rows"] < sound["rows"], f"half a log: {cut}")
    # ...one that ends between records cannot be told from one that was never longer. That is a known limit.
    end = first_records_end(good, size // 2)
    copy.write(name, good[:end])
    blind = look(copy.c, copy.path)
    check(blind["findings"] == 0 and blind["rows"] < sound["rows"], f"a log that ends between records: {blind}")
    copy.write(name, good)
    check(look(copy.c, copy.path, code=0)["rows"] == sound["rows"], "the copy is sound again")
    print(f"{name}: flips and loss were found, a cut told; cut between records: {blind['rows']} rows of {sound['rows']}, unseen")


def first_records_end(log, at_least):
    """Where a record ends, at or after `at_least` (RocksDB's log format: blocks of 32 KiB, headers of 7 bytes)."""
    at = 0
    while True:
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        at += 7 + int.from_bytes(log[at + 4:at + 6], "little")
        if at >= at_least and ends_record(log, at):
            return at


def ends_record(log, at):
    """Is the part that begins here (behind padding) a first or whole one?"""
    left = 32768 - at % 32768
    start = at + left if left < 7 else at
    return log[start + 6] in (1, 2)


def run(options):
    random.seed(options.seed)
    lines = "".join(f"{chr(97 + i % 26)}{i:06d}\tvalue {i} {'x' * (i % 300)}\n" for i in range(options.rows))
    with cluster.Cluster(options.build, stores=3, regions=REGIONS) as c, \
            tempfile.TemporaryDirectory(prefix="polder-store-") as scratch:
        c.client("kv", "load", "-", input_text=lines)
        c.wait_healthy()
        time.sleep(2)  # followers apply the last writes with the next heartbeat
        directories = c.data_dirs()
        show_running(c, directories[0], c.processes()[1]["pid"])
        pd_dir = next(iter(c.processes("pd").values()))["data_dir"]
        c.kill(1)
        c.down()
        results = [show_sound(c, directory, options.rows, exact=i > 0) for i, directory in enumerate(directories)]
        show_refusals(c, pd_dir, directories[1])
        show_table_damage(Copy(c, directories[1], scratch), options)
        show_manifest_damage(Copy(c, directories[1], scratch), options)
        show_wal_damage(Copy(c, directories[0], scratch), results[0], options)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build")
    parser.add_argument("--rows", type=int, default=12000)
    parser.add_argument("--flips", type=int, default=6)
    parser.add_argument("--seed", type=int, default=1)
    cluster.main(run, parser.parse_args())


if __name__ == "__main__":
    main()
