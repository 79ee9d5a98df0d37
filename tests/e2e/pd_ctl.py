#!/usr/bin/env python3
"""pd-ctl on a real cluster: every verb does what it says, by name and by exit code, and `why` tells the reasons of what was done.

    tests/e2e/pd_ctl.py BUILD [--seconds 60] [--keep]

--seconds: how long pd may take for what it was asked (a move, a drain).
"""
import argparse
import json
import os
import pty
import re
import select
import socket
import subprocess
import time
import urllib.request

import cluster
from cluster import check

STORES, REGIONS = 4, 6
DONE, FAILED, USAGE, NOT_FOUND, CONDITION = 0, 1, 2, 3, 4


class Ctl:
    def __init__(self, c, folder):
        self.cluster, self.tried = c, set()
        self.name = os.path.join(folder, "pd-ctl")  # the name that operators know
        os.symlink(c.binary, self.name)
        self.url = next(p["status_address"] for p in c.file()["processes"] if p["role"] == "pd")

    def run(self, *words, code=DONE, timeout=30):
        ended = subprocess.run([self.name, "--url", self.url] + [str(word) for word in words], capture_output=True, text=True,
                               timeout=timeout, env=self.cluster.environment, check=False)
        check(ended.returncode == code, f"pd-ctl {' '.join(map(str, words))}: exit code {ended.returncode}, not {code}: "
              f"{ended.stdout[-1000:]}{ended.stderr[-1000:]}")
        check(code == DONE or ended.stderr.startswith("pd-ctl"),
              f"pd-ctl {words}: says nothing: {ended.stderr}")
        for count in (1, 2):
            self.tried.add(" ".join(str(word) for word in words[:count]))
        return ended.stdout if code == DONE else ended.stderr

    def json(self, *words):
        return json.loads(self.run(*words, "-o", "json"))

    def wait(self, what, seconds, condition):
        deadline = time.monotonic() + seconds
        while True:
            found = condition()
            if found:
                return found
            check(time.monotonic() < deadline, f"{what}: not after {seconds} s")
            time.sleep(0.1)

    def operator(self, words, seconds):
        """Asks for a change of a region, and waits for its end."""
        number = re.search(r"operator (\d+)", self.run(*words)).group(1)
        shown = self.wait(f"operator {number}", seconds,
                          lambda: (lambda o: o if o["state"] != "running" else None)(self.json("operator", "show", number)))
        check(shown["state"] == "done", f"{words}: {shown}")
        return number


def stores_of(region):
    return {peer["store"] for peer in region["peers"]}


def look(ctl):
    status = ctl.json("status")
    check(status["health"] == "healthy" and status["region_count"] >= REGIONS, f"status: {status}")
    check(len(ctl.json("member", "list")["members"]) == 1, "members")
    stores = ctl.json("store", "list")["stores"]
    check(len(stores) == STORES and all(s["state"] == "up" for s in stores), f"stores: {stores}")
    check(ctl.json("store", "show", stores[0]["id"])["id"] == stores[0]["id"], "store show")
    regions = ctl.json("region", "list")["regions"]
    check(len(regions) == status["region_count"], "region list")
    check(len(ctl.run("region", "list", "-o", "jsonl").splitlines()) == len(regions), "jsonl: a line per region")
    check(len(ctl.json("region", "list", "--limit", "2")["regions"]) == 2, "--limit")
    some = ctl.json("region", "key", "hello")
    check(bytes.fromhex(some["start_key"]) <= b"rhello" and (b"rhello" < bytes.fromhex(some["end_key"]) or not some["end_key"]),
          f"region key: {some}")
    check(ctl.json("region", "show", some["id"])["id"] == some["id"], "region show")
    for what in ("miss", "extra", "down", "pending", "oversized", "holes"):
        check("none" in ctl.run("region", "check", what), f"region check {what}")
    for what in ("read", "write", "size"):
        check(len(ctl.json("region", "top", what, "--limit", "2")["regions"]) == 2, f"region top {what}")
    check("2027-01-15T08:00" in ctl.run("tso", "471859200000000000"), "tso")
    ctl.run("tso")
    ctl.run("hot")
    ctl.run("operator", "list")
    check("STORE" in ctl.run("balance", "plan"), "balance plan")
    check(ctl.json("config", "show")["replicas"] == "3", "config show")
    print(f"{len(regions)} regions on {STORES} stores looked at in tables, JSON and lines")
    return regions


def ask_a_running_store(ctl):
    """polder store raft and snapshot by address: what they tell of a directory, of a storenode that runs."""
    for store in ctl.json("store", "list")["stores"]:
        address = store["status_address"]
        groups = json.loads(ctl.cluster.polder("store", "raft", "list", "--address", address, "-o", "json"))
        check(len(groups) == store["region_count"], f"store raft list: {len(groups)} groups, {store['region_count']} regions")
        led = [group["id"] for group in groups if group["role"] == "leader"]
        check(len(led) == store["leader_count"], f"store raft list: leads {led}, pd says {store['leader_count']}")
        one = json.loads(ctl.cluster.polder("store", "raft", "show", groups[0]["id"], "--address", address, "-o", "json"))
        check(one["id"] == groups[0]["id"] and one["commit"] <= one["last_index"], f"store raft show: {one}")
        ctl.cluster.run("store", "raft", "show", 99999, "--address", address, check_code=NOT_FOUND)
        ctl.cluster.polder("store", "snapshot", "list", "--address", address)
    print("Raft groups of running stores, by address")


def ask_stores(ctl, seconds):
    def shown(store=2):
        return ctl.json("store", "show", store)
    ctl.run("store", "label", 2, "zone", "east")
    check(shown()["labels"] == {"zone": "east"}, "label")
    check("so already" in ctl.run("store", "label", 2, "zone", "east"), "label again")
    ctl.run("store", "label", 2, "zone", "")
    check(shown()["labels"] == {}, "label away")
    ctl.run("store", "weight", 2, "2", "1.5")
    check((shown()["leader_weight"], shown()["region_weight"]) == (2, 1.5), "weight")
    ctl.run("store", "weight", 2, "1", "1")
    ctl.run("store", "limit", 2, "10MiB", "20MiB")
    check((shown()["receive_limit"], shown()["send_limit"]) == (10 << 20, 20 << 20), "limit")
    ctl.run("store", "limit", 2, "0B", "0B")
    for on, off, field in (("cordon", "uncordon", "cordoned"), ("evict-leaders", "return-leaders", "evict_leaders")):
        ctl.run("store", on, 2)
        check(shown()[field], on)
        ctl.run("store", off, 2)
        check(not shown()[field], off)
    ctl.run("store", "prepare-stop", 2, "--for", "1min")
    check(shown()["planned_restart"], "prepare-stop")
    ctl.run("store", "prepare-stop", 2, "--for", "0ms")
    check(not shown()["planned_restart"], "prepare-stop is over")
    ctl.run("store", "remove-tombstone", 2, code=CONDITION)
    print("labels, weights, limits, cordons, planned restarts: set, shown and taken back")


def ask_regions(ctl, regions, seconds):
    region = regions[0]["id"]
    stores = stores_of(regions[0])
    other = next(iter({s["id"] for s in ctl.json("store", "list")["stores"]} - stores))
    follower = next(p["store"] for p in regions[0]["peers"] if not p["leader"])
    numbers = {"people-transfer-leader": ctl.operator(("region", "transfer-leader", region, follower), seconds)}
    gone = next(store for store in stores if store != follower)
    numbers["people-move-peer"] = ctl.operator(("region", "move-peer", region, gone, other), seconds)
    check(stores_of(ctl.json("region", "show", region)) == stores - {gone} | {other}, "move-peer")
    numbers["people-add-peer"] = ctl.operator(("region", "add-peer", region, gone), seconds)
    check("none" not in ctl.run("region", "check", "extra"), "one replica more is an extra one")
    numbers["people-remove-peer"] = ctl.operator(("region", "remove-peer", region, gone), seconds)
    check(len(ctl.json("operator", "history")["operators"]) >= 4, "history")
    text = ctl.run("why", "region", region)
    for policy, number in numbers.items():
        check(f"operator {number} of region {region}: done" in text and policy in text, f"why region: {policy}: {text}")
        told = ctl.run("why", "operator", number)
        check("compared:" in told and "refused:" in told and "step 1" in told, f"why operator: {told}")
    print(f"region {region}: leader, peers moved, added and removed; why tells who asked, the steps and what was compared")


def split_and_merge(ctl, seconds):
    """The other kinds of operators, and what why says of each."""
    ctl.cluster.client("kv", "batch", input_text="".join(f"put key{i:03} value\n" for i in range(200)))
    region = ctl.json("region", "key", "key100")["id"]
    before = ctl.json("status")["region_count"]
    split = ctl.operator(("region", "split", region), seconds)
    ctl.wait("split", seconds, lambda: ctl.json("status")["region_count"] == before + 1)
    regions = ctl.json("region", "list")["regions"]
    merge = ctl.operator(("region", "merge", regions[0]["id"], regions[1]["id"]), seconds)
    ctl.wait("merge", seconds, lambda: ctl.json("status")["region_count"] == before)
    for number, policy, step in ((split, "people-split", "split"), (merge, "people-merge", "merge")):
        told = ctl.run("why", "operator", number)
        check(policy in told and f"step 1: {step}" in told and "compared:" in told and "refused:" in told, f"why operator: {told}")
    check(ctl.json("region", "check", "holes")["holes"] == [], "holes after split and merge")
    ctl.run("region", "scatter", region)
    print("a region split, two merged; why says so")


def let_pd_decide(ctl, regions, seconds):
    """Everything leaves store 4, by policies; then it may go for ever."""
    ctl.run("config", "set", "scheduling", "true")
    check(ctl.json("config", "show")["scheduling"] == "true", "config set")
    ctl.run("config", "set", "nonsense", "1", code=NOT_FOUND)
    ctl.run("config", "set", "store-limit", "5", code=USAGE)
    ctl.run("config", "reset", "store-limit")
    check("leads nothing" in ctl.run("store", "prepare-stop", 2, "--wait", timeout=seconds), "prepare-stop --wait")
    check(ctl.json("store", "show", 2)["leader_count"] == 0, "a store that is to stop leads nothing")
    ctl.run("store", "prepare-stop", 2, "--for", "0ms")
    def paused_ms():
        return next(s for s in ctl.json("scheduler", "list")["schedulers"] if s["name"] == "balance-region").get("paused_ms", 0)

    ctl.run("scheduler", "pause", "balance-region", "--for", "1h")
    check(3500000 < paused_ms() <= 3600000, f"paused for an hour, said: {paused_ms()} ms")
    check("PAUSED FOR" in ctl.run("scheduler", "list") and re.search(r"balance-region +yes +59 min", ctl.run("scheduler", "list")), "scheduler list")
    check("paused for another 59 min" in ctl.run("scheduler", "explain", "balance-region"), "explain of what is paused")
    ctl.run("scheduler", "resume", "balance-region")
    ctl.run("scheduler", "remove", "balance-leader")
    ctl.run("scheduler", "add", "balance-leader")
    check("scheduling" in ctl.json("scheduler", "config") and "data-dir" not in ctl.json("scheduler", "config"), "scheduler config")
    ctl.run("scheduler", "config", "schedule-interval", "250ms")
    check(ctl.json("scheduler", "config")["schedule-interval"] == "250ms", "scheduler config KEY VALUE")
    leaders_go_where_they_are_granted(ctl, seconds)
    ctl.run("balance", "now", code=CONDITION)
    ctl.run("balance", "now", "--yes")
    ctl.run("store", "drain", 4)
    ctl.run("store", "cancel-drain", 4)
    check(ctl.json("store", "show", 4)["life"] == "serving", "cancel-drain")
    began = time.monotonic()
    check("drained" in ctl.run("store", "drain", 4, "--wait", timeout=seconds), "drain --wait")
    took = time.monotonic() - began
    check(ctl.json("store", "show", 4)["life"] == "tombstone", "a drained store is a tombstone")
    ctl.run("store", "drain", 4, code=CONDITION)  # it is already
    ctl.run("store", "drain", 3, code=CONDITION)  # two would be left for three replicas
    left = [r for r in ctl.json("region", "list")["regions"] if 4 in stores_of(r)]
    check(not left, f"regions on a drained store: {left}")
    moved = [o for o in ctl.json("operator", "history")["operators"] if not o["by_people"]]
    check(moved, "no policy has done anything")
    told = ctl.run("why", "operator", moved[0]["operator"])
    check("compared:" in told and "refused:" in told, f"why of a policy: {told}")
    moves = [o for o in moved if o["reason"]["policy"] == "drain"]
    check(moves, "no drain in the history")
    told = ctl.run("why", "region", moves[0]["region"])
    for said in ("decided by: drain", "source store 4", "source size", "target mean size", "target free size", "refused:"):
        check(said in told, f"why of a drain lacks {said!r}: {told}")
    ctl.run("why", "store", 4)
    ctl.run("why", "store", 1)
    check("on" in ctl.run("scheduler", "explain", "balance-leader"), "scheduler explain")
    policies = ctl.json("scheduler", "list")["schedulers"]
    check(any(s["started_count"] > 0 for s in policies), "scheduler list")
    offered = cluster.completed(ctl.cluster.binary, "pd-ctl", "scheduler", "explain", "")
    check(offered == [s["name"] for s in policies], f"completed as policies: {offered}")
    ctl.run("config", "set", "scheduling", "false")
    print(f"store 4 drained in {took:.1f} s by policies, which say why")


def leaders_go_where_they_are_granted(ctl, seconds):
    def row(name):
        return next(s for s in ctl.json("scheduler", "list")["schedulers"] if s["name"] == name)

    def led_elsewhere(store):
        return [r["id"] for r in ctl.json("region", "list")["regions"]
                if any(p["leader"] for p in r["peers"] if p["store"] != store) and
                any(p["role"] == "voter" for p in r["peers"] if p["store"] == store)]
    before = led_elsewhere(3)
    ctl.run("scheduler", "pause", "grant-leader", "--for", "1h")
    ctl.run("scheduler", "add", "grant-leader", 3)
    check(row("grant-leader")["stores"] == [3] and "3" in ctl.run("scheduler", "list"), "scheduler list names the store")
    check(ctl.json("store", "show", 3)["grant_leaders"], "grant_leaders")
    check("granted" in ctl.run("scheduler", "add", "evict-leader", 3, code=CONDITION), "evict what is granted")
    check("granted" in ctl.run("store", "evict-leaders", 3, code=CONDITION), "evict what is granted")
    check(before and led_elsewhere(3), "a policy that is paused moves nothing")
    ctl.run("scheduler", "resume", "grant-leader")
    ctl.wait("all leaders on store 3", seconds, lambda: not led_elsewhere(3))
    told = [ctl.run("why", "region", region) for region in before]
    for said in ("decided by: grant-leader", "target store 3", "source leaders", "refused:"):
        check(any(said in text for text in told), f"why of a granted leader lacks {said!r}: {told}")
    check("on" in ctl.run("scheduler", "explain", "grant-leader") and row("grant-leader")["started_count"] > 0, "scheduler explain")
    ctl.run("scheduler", "remove", "grant-leader", 3)
    check(row("grant-leader")["stores"] == [], "nobody is granted leaders")
    ctl.wait("leaders on others again", seconds, lambda: led_elsewhere(3))
    ctl.run("scheduler", "add", "evict-leader", 3)
    check("to leave store 3" in ctl.run("scheduler", "add", "grant-leader", 3, code=CONDITION), "grant what is evicted")
    check(row("evict-leader")["stores"] == [3], "scheduler list names the store")
    ctl.wait("store 3 leads nothing", seconds, lambda: ctl.json("store", "show", 3)["leader_count"] == 0)
    ctl.run("scheduler", "remove", "evict-leader", 3)
    ctl.run("scheduler", "add", "balance-leader", 3, code=USAGE)
    print("leaders go where they are granted, and stay away where they are not")


def rules(ctl):
    ctl.run("rule", "put", "app", "east", "1", "--role", "learner", "--constraint", "zone=east,west", "--start-key", "a",
            "--end-key", "b", "--locations", "zone,host", "--isolation", "1")
    found = next(r for r in ctl.json("rule", "list")["rules"] if r["group"] == "app")
    check((found["count"], found["role"], found["start_key"], found["isolation_level"]) == (1, "learner", b"ra".hex(), 1), f"{found}")
    check(found["constraints"] == [{"label": "zone", "test": "in", "values": ["east", "west"]}], f"{found}")
    ctl.run("rule", "remove", "app", "east")
    ctl.run("rule", "remove", "app", "east", code=NOT_FOUND)


def bad_words(ctl):
    """A clear refusal that names what was meant."""
    for words, code, text in (
            (("stor", "list"), USAGE, "did you mean"), (("store", "lst"), USAGE, "store list"), (("store", "show"), USAGE, "wants STORE"),
            (("store", "show", "x"), USAGE, "no number"), (("store", "show", 77), NOT_FOUND, "no store 77"),
            (("store", "drain", 77), NOT_FOUND, "no store 77"), (("region", "show", 0), USAGE, "above 0"),
            (("region", "show", 99999), NOT_FOUND, "no region"), (("region", "check", "bad"), USAGE, "no check"),
            (("region", "key", "\\x0"), USAGE, ""), (("region", "transfer-leader", 99999, 1), NOT_FOUND, "no region"),
            (("operator", "add", "frob", 1), USAGE, "there is no"), (("operator", "cancel", 99999), NOT_FOUND, ""),
            (("operator", "show", 99999), NOT_FOUND, "remembered"), (("scheduler", "add", "nobody"), NOT_FOUND, "nobody"),
            (("scheduler", "add", "grant-leader", 77), NOT_FOUND, "no store 77"), (("scheduler", "add", "grant-leader", "x"), USAGE, "no number"),
            (("store", "weight", 1, "much", "1"), USAGE, "number"), (("store", "limit", 1, "10", "10"), USAGE, "unit"),
            (("member", "remove", 1), USAGE, "last"), (("status", "--outptu", "json"), USAGE, "output")):
        said = ctl.run(*words, code=code)
        check(text in said, f"pd-ctl {words}: {said}")
    nowhere = subprocess.run([ctl.name, "--url", "http://127.0.0.1:1", "status"], capture_output=True, text=True, timeout=30, check=False)
    check(nowhere.returncode == FAILED and "127.0.0.1" in nowhere.stderr, f"nobody there: {nowhere}")
    print("nonsense is refused and named")


def every_verb_was_tried(ctl):
    listed = ctl.run("help")
    verbs = re.findall(r"^  ([a-z]+(?: [a-z-]+)?)  +\S", listed, re.M)
    spared = {"member add", "member transfer"}  # there is one member here
    missed = [verb for verb in verbs if verb not in ctl.tried and verb not in spared]
    check(len(verbs) > 40 and not missed, f"verbs that nobody has tried: {missed}")
    for verb in verbs:
        told = subprocess.run([ctl.name] + verb.split() + ["--help"], capture_output=True, text=True, timeout=30, check=False)
        check(told.returncode == DONE and "Examples:" in told.stdout and "Exit codes:" in told.stdout, f"{verb} --help")
    print(f"{len(verbs)} verbs have help with examples")


def metrics(ctl):
    """Each has its help and type, each series comes once, and each name is in docs/metrics.md."""
    with open(os.path.join(os.path.dirname(__file__), "../../docs/metrics.md"), encoding="utf-8") as file:
        documented = set(re.findall(r"`(polder_\w+)`", file.read()))
    names = set()
    for process in ctl.cluster.file()["processes"]:
        with urllib.request.urlopen(process["status_address"] + "/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        series, current = set(), None
        for line in lines:
            if line.startswith("# HELP "):
                current = line.split()[2]
            elif line.startswith("# TYPE "):
                check(line.split()[2] == current and line.split()[3] in ("counter", "gauge"), f"metrics: {line}")
            else:
                found = re.fullmatch(r"(\w+)(\{(\w+=\"[^\"]*\",?)+\})? (-?[0-9.e+-]+)", line)
                check(found and found.group(1) == current, f"metrics: {line}")
                check(line.rsplit(" ", 1)[0] not in series, f"metrics: twice: {line}")
                series.add(line.rsplit(" ", 1)[0])
                names.add(current)
    check(names <= documented, f"not in docs/metrics.md: {sorted(names - documented)}")
    check(len(names) > 60, f"only {len(names)} metrics")
    print(f"{len(names)} metrics, all of them documented")


def shell(ctl):
    """By itself it is a shell: words complete, the last line comes back, and the history stays."""
    home = os.path.join(ctl.cluster.directory, "home")
    os.mkdir(home)
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update(HOME=home, TERM="xterm")
        os.execv(ctl.name, [ctl.name, "--url", ctl.url])
    said = ""

    def read_until(text):
        nonlocal said
        deadline = time.monotonic() + 20
        while text not in said:
            check(time.monotonic() < deadline, f"the shell does not say {text!r}: {said[-500:]!r}")
            if select.select([terminal], [], [], 0.2)[0]:
                said += os.read(terminal, 65536).decode(errors="replace")
        said = said.split(text, 1)[1]

    read_until("pd-ctl> ")
    for typed, wanted in ((b"sto\tsh\t2\r", "heartbeat_age_ms"), (b"region key 'hello world'\r", "start_key"),
                          (b"\x1b[A\r", "start_key"), (b"sch\texp\tgra\t\r", "grant-leader: "), (b"store show 77\r", "no store 77"),
                          (b"unsafe recover dry\t --help\r", "Usage: pd-ctl unsafe recover dry-run"), (b"help sched\t\r", "scheduler explain")):
        os.write(terminal, typed)
        read_until(wanted)
        read_until("pd-ctl> ")
    os.write(terminal, b"exit\r")
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    check(status == 0, f"the shell ended with {status}")
    with open(os.path.join(home, ".pd-ctl_history"), encoding="utf-8") as file:
        check("hello" in file.read(), "the history is not kept")
    print("the shell completes, remembers and ends")


def junk(address):
    """What is no HTTP, too much of it, or half of it, does not hurt those who come after."""
    host, port = re.match(r"http://(.*):(\d+)", address).groups()
    sockets = []
    for text in (b"", b"\x00" * 4096, b"GET", b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 10000, b"GET /" + b"x" * 100000 + b" HTTP/1.1\r\n\r\n",
                 b"POST /pd/v1/stores/1/drain HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n",
                 b"POST /livez HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFF\r\n" + b"x" * 65536,
                 b"GET /%00%zz?%%& HTTP/1.1\r\nHost: x\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"):
        for _ in range(3):
            one = socket.create_connection((host, int(port)), timeout=5)
            one.sendall(text) if text else None
            sockets.append(one)
    seen = subprocess.run(["curl", "-s", "-m", "5", f"{address}/livez"], capture_output=True, text=True, check=False)
    origin = subprocess.run(["curl", "-s", "-m", "5", "-X", "POST", "-H", "Origin: http://evil", f"{address}/pd/v1/stores/1/drain"],
                            capture_output=True, text=True, check=False)
    for one in sockets:
        one.close()
    if seen.returncode != 127:
        check(seen.stdout == "ok\n", f"livez after junk: {seen}")
        check("browser" in origin.stdout, f"a page of a browser: {origin}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args()
    with cluster.Cluster(options.build, stores=STORES, regions=REGIONS, keep=options.keep,
                         env={"POLDER_SCHEDULING": "false"}) as c:
        ctl = Ctl(c, c.directory)
        for process in c.file()["processes"]:
            junk(process["status_address"])
        ctl.run("config", "set", "scheduling", "false")  # until it is its turn: only what we ask for
        ctl.wait("no operators", options.seconds, lambda: ctl.json("operator", "list")["count"] == 0)
        regions = look(ctl)
        metrics(ctl)
        ask_a_running_store(ctl)
        shell(ctl)
        ask_stores(ctl, options.seconds)
        ask_regions(ctl, regions, options.seconds)
        rules(ctl)
        number = re.search(r"operator (\d+)", ctl.run("operator", "add", "transfer-leader", regions[1]["id"], next(
            p["store"] for p in regions[1]["peers"] if not p["leader"]))).group(1)
        ctl.run("operator", "cancel", regions[1]["id"])
        check(ctl.json("operator", "show", number)["state"] == "cancelled", "operator cancel")
        split_and_merge(ctl, options.seconds)
        let_pd_decide(ctl, regions, options.seconds)
        bad_words(ctl)
        every_verb_was_tried(ctl)


cluster.main(main)
