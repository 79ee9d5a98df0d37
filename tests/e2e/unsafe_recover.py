#!/usr/bin/env python3
"""Two of five stores lose their disks at the same instant, under load, and some regions their majority. `pd-ctl unsafe recover`
says what is left, refuses what is wrong, and brings every region back that one replica is left of: a leader, three replicas, no
value that was never written, and of what was acknowledged before the load, all. A lost store that comes back from a copy of its old
directory is refused by pd and by the others.

    tests/e2e/unsafe_recover.py BUILD [--regions 12] [--keys 4000] [--seconds 60] [--keep]

--seconds: how long the recovery may take.
"""
import argparse
import json
import os
import shutil
import subprocess
import time

import cluster
from cluster import check

STORES, REPLICAS = 5, 3
DONE, USAGE, NOT_FOUND, CONDITION = 0, 2, 3, 4


class Ctl:
    def __init__(self, c):
        self.cluster = c
        self.url = next(p["status_address"] for p in c.file()["processes"] if p["role"] == "pd")

    def run(self, *words, code=DONE):
        ended = subprocess.run([self.cluster.binary, "ctl", "--url", self.url] + [str(word) for word in words], timeout=60,
                               capture_output=True, text=True, env=self.cluster.environment, check=False)
        check(ended.returncode == code, f"pd-ctl {' '.join(map(str, words))}: exit code {ended.returncode}, not {code}: "
              f"{ended.stdout[-1000:]}{ended.stderr[-1000:]}")
        return ended.stdout if code == DONE else ended.stderr

    def json(self, *words):
        return json.loads(self.run(*words, "-o", "json"))

    def recover(self, *words, code=DONE):
        return self.run("unsafe", "recover", *words, code=code)

    def wait(self, what, seconds, condition):
        deadline = time.monotonic() + seconds
        while not condition():
            check(time.monotonic() < deadline, f"{what}: not after {seconds} s")
            time.sleep(0.2)


def number_of(c, ctl, store):
    """`polder up` counts its storenodes; pd gave them other ids."""
    address = next(s["address"] for s in ctl.json("store", "list")["stores"] if s["id"] == store)
    return next(number for number, process in c.processes().items() if process["address"] == address)


def load(c, keys):
    rows = "".join(f"key{i:06}\tvalue of {i}\n" for i in range(keys))
    c.client("kv", "load", "-", input_text=rows)


def stores_of(region):
    return [peer["store"] for peer in region["peers"]]


def has_majority(region, lost):
    """Of its voters (a learner that is on its way counts for nothing), before the change and after it where it is in two halves."""
    halves = ("voter", "demoting_voter"), ("voter", "incoming_voter")
    return all(sum(store not in lost for store in voters) * 2 > len(voters)
               for half in halves
               for voters in [[peer["store"] for peer in region["peers"] if peer["role"] in half]])


def choose_lost(regions, ids):
    """Two stores such that some region has both, and none has its third peer on no other."""
    pairs = [(a, b) for a in ids for b in ids if a < b]
    return max(pairs, key=lambda pair: sum(set(pair) <= set(stores_of(r)) for r in regions))


def refusals(ctl, lost):
    check("is up" in ctl.recover("plan", "--stores", lost[0], code=CONDITION), "a store that is up is refused")
    check("no store 77" in ctl.recover("plan", "--stores", "77", code=NOT_FOUND), "an unknown store is refused")
    check("--stores" in ctl.recover("plan", code=USAGE), "no store is named")
    check("separated by commas" in ctl.recover("plan", "--stores", "3,,4", code=USAGE), "no list")
    check("no id of a plan" in ctl.recover("apply", "nonsense", "--yes", code=USAGE), "no plan")
    check("there was none" in ctl.recover("report"), "no recovery")


def status_counts(ctl, lost):
    """Who led before its store went does not lead: neither status says so."""
    def count():
        orphans = sum(r["leader_store"] in (*lost, 0) for r in ctl.json("region", "list")["regions"])
        by_pd = ctl.json("status")
        seen = json.loads(ctl.cluster.run("status", "-o", "json", "--pd", ctl.cluster.pd(), check_code=None).stdout)
        return orphans, by_pd["region_count"] - by_pd["region_led_count"], seen["regions_without_leader"]
    ctl.wait(f"as many regions without a leader as lost leaders: {count()}", 20, lambda: len(set(count())) == 1)
    print(f"{count()[0]} regions were led by a lost store")


def plan(ctl, lost, regions):
    """The plan, once the stores are silent for long enough."""
    ctl.wait("the lost stores are silent", 20,
             lambda: all(s["state"] != "up" for s in ctl.json("store", "list")["stores"] if s["id"] in lost))
    check("not heard either" in ctl.recover("plan", "--stores", lost[0], code=CONDITION), "half of the lost stores")
    status_counts(ctl, lost)
    made = ctl.json("unsafe", "recover", "plan", "--stores", ",".join(map(str, lost)))
    without = {r["id"] for r in regions if not has_majority(r, lost)}
    check(without, f"no region has lost its majority: {regions}")
    forced = {r["region"]: r for r in made["regions"]}
    check(set(forced) == without, f"planned {sorted(forced)}, without a majority {sorted(without)}")
    check(all(r["action"] == "force" and r["store"] not in lost for r in forced.values()), f"plan: {made}")
    check(made["hole_count"] == 0 and made["healthy"] == len(regions) - len(without), f"plan: {made}")
    return made


def judge_rows(c, keys):
    """All that was acknowledged before the load is on some replica of each region: followers have it."""
    rows = dict(line.split("\t", 1) for line in c.client("kv", "scan", "--start", "key0", "--end", "key1", "--limit", 0).splitlines())
    wrong = [key for key, value in rows.items() if value != f"value of {int(key[3:])}"]
    check(not wrong, f"values that nobody wrote: {wrong[:5]}")
    check(len(rows) == keys, f"{keys - len(rows)} of {keys} rows are lost that all replicas had")


def is_whole(ctl, lost, count):
    regions = ctl.json("region", "list", "--limit", 1000)["regions"]
    return len(regions) >= count and all(
        len(r["peers"]) == REPLICAS and not set(stores_of(r)) & set(lost) and r.get("leader_store", 1) not in lost
        and all(p["role"] == "voter" for p in r["peers"]) for r in regions)


def come_back(c, ctl, store, copy):
    """From a copy of its old directory, under its old id."""
    number = number_of(c, ctl, store)
    shutil.copytree(copy, c.processes()[number]["data_dir"])
    c.start("storenode", number)
    log = c.processes()[number]["log"]

    def refused():
        with open(log, encoding="utf-8", errors="replace") as file:
            return "GivenUp" in file.read()
    ctl.wait("the lost store is refused", 20, refused)
    ctl.wait("the lost store ends", 20, lambda: not cluster.is_alive(c.processes()[number]["pid"]))


def body(options):
    environment = {"POLDER_STORE_DISCONNECTED_AFTER": "2s", "POLDER_REPLICAS": str(REPLICAS), "POLDER_SCHEDULE_INTERVAL": "100ms",
                   "POLDER_STORE_SPACE_LOW": "1"}
    with cluster.Cluster(options.build, stores=STORES, regions=options.regions, keep=options.keep, env=environment) as c:
        ctl = Ctl(c)
        load(c, options.keys)
        time.sleep(1.5)  # followers hear with the next heartbeat what is committed
        regions = ctl.json("region", "list")["regions"]
        ids = [store["id"] for store in ctl.json("store", "list")["stores"]]
        lost = choose_lost(regions, ids)
        refusals(ctl, lost)
        bench = c.bench_start("--op", "put", "--keys", "1000", "--seconds", "3", "--clients", "4")
        time.sleep(1)
        numbers = {store: number_of(c, ctl, store) for store in lost}
        c.kill(*numbers.values())
        copies = {}
        for store, number in numbers.items():
            copies[store] = os.path.join(c.directory, f"copy-{store}")
            shutil.move(c.processes()[number]["data_dir"], copies[store])
        bench.communicate(timeout=60)
        regions = ctl.json("region", "list")["regions"]
        made = plan(ctl, lost, regions)
        check("the plan fits" in ctl.recover("dry-run", made["plan"]), "dry-run")
        check("fit any more" in ctl.recover("dry-run", made["plan"][:-1] + ("0" if made["plan"][-1] != "0" else "1"),
                                            code=CONDITION), "another plan")
        check("--yes" in ctl.recover("apply", made["plan"], code=CONDITION), "apply wants --yes")
        began = time.monotonic()
        ctl.recover("apply", made["plan"], "--yes")
        ctl.recover("apply", made["plan"], "--yes")  # once more: nothing changes
        ctl.recover("report", "--wait", "--deadline", f"{options.seconds}s")
        ended = time.monotonic()
        judge_rows(c, options.keys)
        try:
            ctl.wait("three replicas of each region, none on a lost store", options.seconds, lambda: is_whole(ctl, lost, len(regions)))
        except cluster.Failed:
            print(ctl.run("why", "region", made["regions"][0]["region"]), ctl.run("store", "list"), ctl.run("scheduler", "explain", "replica-check"))
            raise
        whole = time.monotonic()
        report = ctl.json("unsafe", "recover", "report")
        check(report["state"] == "ended" and report["leading"] + report["replicated"] == made["to_force"], f"report: {report}")
        come_back(c, ctl, lost[0], copies[lost[0]])
        check("lost" in ctl.run("store", "remove-tombstone", lost[0], "--yes", code=CONDITION), "its id stays")
        judge_rows(c, options.keys)
        c.wait_healthy(20)  # nobody waits for the lost stores
        c.client("kv", "put", "key000000", "value of 0")
        print(f"{made['to_force']} of {len(regions)} regions had lost stores {lost} and with them their majority: led again "
              f"after {ended - began:.1f} s, three replicas after {whole - began:.1f} s, all {options.keys} rows are there, a lost "
              "store that came back was refused")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build")
    parser.add_argument("--regions", type=int, default=12)
    parser.add_argument("--keys", type=int, default=4000)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--keep", action="store_true")
    cluster.main(body, parser.parse_args())


if __name__ == "__main__":
    main()
