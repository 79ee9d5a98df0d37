#!/usr/bin/env python3
"""Networks that part: whoever of pd is cut off gives out nothing any more, the others do soon, and nothing is given out or done twice.

    tests/e2e/pd_partition.py BUILD [--limit-ms 3000] [--ways port,routes,silence,deaf] [--keep]

Three members of pd and four storenodes, each in a network namespace of its own, clients in another, all on one bridge.

- The leader of pd is cut off while clients ask for timestamps, ids and routes without a pause, from where all members are reached and from
  beside the leader, where it alone is:
    port     its port of the bridge is down: from everybody
    routes   from the other members: no route leads there (a connection ends with an error, at once)
    silence  from the other members: packets to them vanish, both ways
    deaf     from the other members: what they send to it vanishes; it is heard for as long as TCP goes without an answer
  Then it heals, and must follow.
- A storenode is cut off from the leader of pd, for so long that it counts as down: clients notice nothing, and each region that pd can
  repair gets one new peer, no more.
- A storenode is drained, and when the first region has got its new peer the leader of pd is cut off: whoever leads next goes on, and each
  region still gets one new peer, no more.

Wants root and iproute2; skipped without.
"""
import argparse
import bisect
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import cluster
from cluster import check
from pd_failover import leader

SKIPPED = 77
NET = "10.77.0."
NOBODY = "02:00:00:00:00:01"  # a hardware address that no interface has
PDS, STORES, REPLICAS = 3, 4, 3
MEMBERS = [f"pd-{number}" for number in range(1, PDS + 1)]


class Network:
    """Namespaces on a bridge, which has one of its own; nothing is visible outside."""

    def __init__(self, hosts):
        self.tag = f"polder-{os.getpid()}-"
        self.address = {host: f"{NET}{10 + at}" for at, host in enumerate(hosts)}
        self.hardware = {host: f"02:00:00:00:01:{10 + at:02x}" for at, host in enumerate(hosts)}
        self.made = []

    def ip(self, *args, host=None, code=0):
        command = ["ip"] + (["-n", self.tag + host] if host else []) + [str(arg) for arg in args]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        if code is not None and ended.returncode != code:
            raise cluster.Failed(f"{' '.join(command)}: {ended.stderr.strip()}")

    def make(self):
        for host in ["hub", *self.address]:
            self.ip("netns", "add", self.tag + host)
            self.made.append(host)
            self.ip("link", "set", "lo", "up", host=host)
        self.ip("link", "add", "bridge", "type", "bridge", host="hub")
        self.ip("link", "set", "bridge", "up", host="hub")
        for host, address in self.address.items():
            self.ip("link", "add", host, "type", "veth", "peer", "name", "net", "address", self.hardware[host], "netns",
                    self.tag + host, host="hub")
            self.ip("link", "set", host, "master", "bridge", host="hub")
            self.ip("link", "set", host, "up", host="hub")
            self.ip("address", "add", address + "/24", "dev", "net", host=host)
            self.ip("link", "set", "net", "up", host=host)

    def remove(self):
        for host in reversed(self.made):
            self.ip("netns", "delete", self.tag + host, code=None)

    def inside(self, host):
        return ["ip", "netns", "exec", self.tag + host]

    # ---- harm

    def mute(self, source, target):
        """What source sends to target vanishes."""
        self.ip("neighbour", "replace", self.address[target], "lladdr", NOBODY, "dev", "net", "nud", "permanent", host=source)

    def unmute(self, source, target):
        self.ip("neighbour", "replace", self.address[target], "lladdr", self.hardware[target], "dev", "net", "nud", "reachable",
                host=source)

    def cut(self, way, host, others):
        if way == "port":
            self.ip("link", "set", host, "down", host="hub")
        for other in others:
            if way == "routes":
                self.ip("route", "add", "blackhole", self.address[other], host=host)
                self.ip("route", "add", "blackhole", self.address[host], host=other)
            if way == "silence":
                self.mute(host, other)
            if way in ("silence", "deaf"):
                self.mute(other, host)

    def heal(self, way, host, others):
        if way == "port":
            self.ip("link", "set", host, "up", host="hub")
        for other in others:
            if way == "routes":
                self.ip("route", "delete", "blackhole", self.address[other], host=host)
                self.ip("route", "delete", "blackhole", self.address[host], host=other)
            if way == "silence":
                self.unmute(host, other)
            if way in ("silence", "deaf"):
                self.unmute(other, host)


class PartedCluster(cluster.Cluster):
    """Processes are started here, since `polder up` knows one machine."""

    def __init__(self, options):
        super().__init__(options.build, stores=STORES, regions=options.regions, pds=PDS, keep=options.keep)
        self.network = Network(MEMBERS + [f"store-{number}" for number in range(1, STORES + 1)] + ["clients"])
        self.started, self.prefix = {}, self.network.inside("clients")

    def up(self):
        self.network.make()
        begun = time.monotonic()
        founders = ",".join(f"{name}={self.network.address[name]}:{cluster.PD_PORT}" for name in MEMBERS)
        for number, name in enumerate(MEMBERS, 1):
            self.spawn("pd", number, cluster.PD_PORT, "--name", name, "--initial-cluster", founders, "--bootstrap-stores", STORES,
                       "--bootstrap-regions", self.regions, "--replicas", REPLICAS, "--store-disconnected-after", "2s",
                       "--store-down-after", "4s", "--store-limit", "4MiB")
        for number in range(1, STORES + 1):
            self.spawn("storenode", number, cluster.STORE_PORT, "--pd", self.pd())
        while self.run("status", "--pd", self.pd(), check_code=None).returncode != 0:
            check(time.monotonic() - begun < 30, "not ready after 30 s")
            time.sleep(0.1)
        self.ready_seconds = time.monotonic() - begun

    def spawn(self, role, number, port, *args):
        host = self.host(role, number)
        directory = os.path.join(self.directory, f"{role}-{number}")
        address = f"{self.network.address[host]}:{port}"
        os.mkdir(directory)
        with open(os.path.join(directory, "log"), "w", encoding="utf-8") as log:
            self.started[(role, number)] = subprocess.Popen(
                [*self.network.inside(host), self.binary, role, "--data-dir", os.path.join(directory, "data"), "--address",
                 f"tcp://{address}", "--status-address", f"{self.network.address[host]}:{port + 2}", "--insecure",
                 *[str(arg) for arg in args]], stdout=log, stderr=log, start_new_session=True)

    def __exit__(self, kind, value, trace):
        if kind is not None:
            self.print_logs()
        for process in reversed(self.started.values()):
            process.send_signal(signal.SIGTERM)
        for process in self.started.values():
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.network.remove()
        if self.keep or kind is not None:
            print(f"kept {self.directory}", flush=True)
        else:
            shutil.rmtree(self.directory, ignore_errors=True)
        return False

    # ---- what there is

    def host(self, role, number):
        return f"{'pd' if role == 'pd' else 'store'}-{number}"

    def pd(self, *names):
        return ",".join(f"{self.network.address[name]}:{cluster.PD_PORT}" for name in names or MEMBERS)

    def log(self, role, number):
        with open(os.path.join(self.directory, f"{role}-{number}", "log"), encoding="utf-8") as file:
            return file.read()

    def file(self):
        return {"processes": [{"role": role, "id": number, "pid": process.pid,
                               "address": f"tcp://{self.network.address[self.host(role, number)]}:{cluster.PD_PORT if role == 'pd' else cluster.STORE_PORT}",
                               "log": os.path.join(self.directory, f"{role}-{number}", "log")}
                              for (role, number), process in self.started.items()]}

    def ctl(self, *args):
        urls = ",".join(f"http://{self.network.address[name]}:{cluster.PD_PORT + 2}" for name in MEMBERS)
        return json.loads(self.run("ctl", *args, "--url", urls, "-o", "json").stdout)

    def store_ids(self):
        """pd's number of a store, by that of its process."""
        by_address = {store["address"]: int(store["id"]) for store in self.status()["stores"]}
        return {number: by_address[process["address"]] for number, process in self.processes().items()}

    def peers(self):
        """By region: its leader's store, and the stores of its peers."""
        return {int(region["id"]): (int(region["leader_store"]), {int(store) for store in region["stores"]})
                for region in json.loads(self.client("region", "list", "-o", "json"))}

    def peers_ever(self):
        """By region: all peers that it has had since it has had others than its first ones, as the stores themselves say."""
        found = {}
        for number in range(1, STORES + 1):
            for region, members in re.findall(r"event=members_changed region=(\d+) .*members=(\S+)", self.log("storenode", number)):
                found.setdefault(int(region), set()).update(int(peer) for peer in re.findall(r"(\d+)@", members))
        return found

    def peers_known(self):
        """By region: all peers that there are or were, which is what it takes to tell what was added since."""
        known = self.peers_ever()
        for region in self.peers():
            shown = json.loads(self.client("region", "show", region, "-o", "json"))
            known.setdefault(region, set()).update(int(peer["id"]) for peer in shown["peers"])
        return known

    def added(self, known):
        """By region: the peers that are not known, whether they are there still or not. Ids are never given out again."""
        return {region: peers - known[region] for region, peers in self.peers_ever().items()}

    def wait_quiet(self, seconds=3, limit=40):
        """Until pd has nothing to do for a while."""
        begun = quiet_since = time.monotonic()
        while time.monotonic() - quiet_since < seconds:
            if self.ctl("operator", "list")["operators"] or self.status()["exit_code"] != 0:
                quiet_since = time.monotonic()
            check(time.monotonic() - begun < limit, f"pd is still busy after {limit} s: {self.ctl('operator', 'list')}")
            time.sleep(0.2)

    def questions(self, host, names, seconds, name):
        """Starts pd_questions there."""
        path = os.path.join(self.directory, name)
        command = [*self.network.inside(host), os.path.join(self.build, "tests", "pd_questions"), self.pd(*names), str(seconds), path]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True), path


# ---- the leader of pd

def answers_of(path):
    """By kind: asked at, answered at (us), first."""
    found = {"timestamps": [], "ids": [], "routes": []}
    with open(path, encoding="utf-8") as file:
        for line in file:
            kind, *numbers = line.split()
            found[kind].append(tuple(int(number) for number in numbers))
    return found


def judge_together(files, given_out=10):
    """What was given out to all, wherever they asked."""
    for kind in ("timestamps", "ids"):
        answers = sorted((answer for file in files for answer in file[kind]), key=lambda answer: answer[2])
        for first, second in zip(answers, answers[1:]):
            check(second[2] >= first[2] + given_out, f"{kind} {first[2]} and {second[2]} overlap")
        if kind == "ids":
            continue
        by_end = sorted(answers, key=lambda answer: answer[1])
        ends, largest = [answer[1] for answer in by_end], [0]
        for answer in by_end:
            largest.append(max(largest[-1], answer[2] + given_out - 1))
        for begin, _, first in answers:
            before = largest[bisect.bisect_left(ends, begin)]
            check(first > before, f"timestamp {first} was asked for after {before} had been given out")


def wait_members(c, seconds=20):
    """Milliseconds until the leader hears all members."""
    begun = time.monotonic()
    while True:
        members = c.status().get("pd", [])
        if sum(1 for member in members if member.get("active")) == PDS:
            return (time.monotonic() - begun) * 1000
        check(time.monotonic() - begun < seconds, f"after {seconds} s pd has not {PDS} members that live: {members}")
        time.sleep(0.05)


def ended(load, how):
    out, complaints = load.communicate(timeout=60)
    check(load.returncode == 0, f"{how}: {complaints[-1000:]}")
    return json.loads(out), complaints


def wait_stores(c, old, cut_us, options):
    """Milliseconds until another member leads, and has heard of all stores and their regions."""
    while True:
        status, took_ms = c.status(), (time.monotonic_ns() // 1000 - cut_us) / 1000
        if status["exit_code"] == 0 and any(member["leader"] and member["name"] != f"pd-{old}" for member in status["pd"]):
            return took_ms
        check(took_ms < options.stores_limit_ms, f"{took_ms:.0f} ms after the cut pd is not well: {status['reason']}")
        time.sleep(0.05)


def last_after(answers, since_us, until_us):
    """Milliseconds from then to the last one that was answered until then."""
    return max([(end - since_us) / 1000 for _, end, _ in answers if since_us <= end < until_us], default=0)


def refuses(c, host):
    """What this member tells somebody beside it who asks for the regions."""
    command = [*c.network.inside(host), c.binary, "region", "list", "--pd", c.pd(host), "--deadline", "300ms"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    check(done.returncode == 1, f"{host}, which is cut off, answers: {done.returncode} {done.stdout[-300:]}{done.stderr[-300:]}")
    return done.stderr.strip()


def cut_leader(c, way, options, files):
    """Both sides ask; `healed_us` is when the old leader hears of the others again."""
    number = leader(c)
    old, others = f"pd-{number}", [name for name in MEMBERS if name != f"pd-{number}"]
    load, load_path = c.questions("clients", MEMBERS, options.seconds + 1.7, f"{way}-clients")
    beside, beside_path = c.questions(old, [old], options.seconds + 1.7, f"{way}-beside")
    time.sleep(0.7)
    cut_us = time.monotonic_ns() // 1000
    c.network.cut(way, old, others)
    stores_ms = wait_stores(c, number, cut_us, options)
    time.sleep(max(0.0, options.seconds - 0.5 - (time.monotonic_ns() // 1000 - cut_us) / 1e6))
    refused = refuses(c, old)
    time.sleep(max(0.0, options.seconds - (time.monotonic_ns() // 1000 - cut_us) / 1e6))
    healed_us = time.monotonic_ns() // 1000
    c.network.heal(way, old, others)
    follows_ms = wait_members(c)
    result, complaints = ended(load, way)
    ended(beside, f"{way}, beside the leader")
    mine, its = answers_of(load_path), answers_of(beside_path)
    files += [mine, its]
    judge_together(files)
    for kind, answers in its.items():
        check(any(end < cut_us for _, end, _ in answers), f"{way}: pd {number} gave out no {kind} to who is beside it, before it was cut off")
    served = {kind: last_after(its[kind], cut_us, healed_us) for kind in its}
    print(f"{way}: pd {number} cut off for {(healed_us - cut_us) / 1e6:.1f} s. Longest silence: " + ", ".join(
        f"{kind} {result[kind]['gap_ms']} ms ({result[kind]['answered']} answered)" for kind in result) + f". Another leader had heard of all stores after {stores_ms:.0f} ms. The old one gave out " + ", ".join(
            f"{kind} for {served[kind]:.0f} ms" for kind in served) + f", then '{refused}'; all three there {follows_ms:.0f} ms after it healed", flush=True)
    for kind, counts in result.items():
        check(counts["gap_ms"] < options.limit_ms, f"{way}: no {kind} for {counts['gap_ms']} ms")
        check(counts["failed"] == 0, f"{way}: {counts['failed']} questions for {kind} were never answered: {complaints}")
    for kind in ("timestamps", "ids"):
        check(served[kind] < options.old_limit_ms, f"{way}: pd {number} gave out {kind} {served[kind]:.0f} ms after it was cut off")
    check(leader(c) != number, f"{way}: pd {number} leads again")
    c.client("kv", "put", "k", way)


# ---- operators

def judge_load(bench, limit_ms):
    found = bench["verify"]
    check(bench["errors"] == 0, f"operations failed: {bench['not_done']} {bench['unknown']}")
    check(found["lost"] == found["wrong"] == found["unreadable"] == 0, f"verify: {found}")
    check(bench["longest_gap_ms"] <= limit_ms, f"nothing succeeded for {bench['longest_gap_ms']} ms")
    return f"{bench['ops']} operations of clients, none failed, longest pause {bench['longest_gap_ms']} ms"


def start_load(c, seconds):
    return c.bench_start("--op", "mix", "--concurrency", 8, "--value-size", 1000, "--keys", 4000, "--rate", 500, "--seconds", seconds, "--verify")


def wait_until(seconds, what, happened):
    begun = time.monotonic()
    while not happened():
        check(time.monotonic() - begun < seconds, f"after {seconds} s: {what()}")
        time.sleep(0.1)
    return time.monotonic() - begun


def check_added(c, known, wanted, at_most):
    """Each of `wanted` has got one peer; of the others in `at_most` perhaps."""
    added = c.added(known)
    for region, peers in added.items():
        check(len(peers) <= 1, f"region {region} has got {len(peers)} new peers: {sorted(peers)}")
        check(not peers or region in at_most, f"region {region} had got all its peers, and was given {sorted(peers)}")
    missing = [region for region in wanted if not added.get(region)]
    check(not missing, f"regions {missing} have got no new peer")
    return sum(len(peers) for peers in added.values())


def cut_store(c, options):
    """From pd's leader only: other stores and clients reach it, and so do the other members."""
    c.wait_quiet()
    before, known, ids = c.peers(), c.peers_known(), c.store_ids()
    led = {number: sum(1 for leads, _ in before.values() if leads == store) for number, store in ids.items()}
    number = max(led, key=led.get)
    pd, lost = f"pd-{leader(c)}", ids[number]
    repairable = [region for region, (leads, peers) in before.items() if lost in peers and leads != lost]
    bench = start_load(c, options.store_seconds)
    time.sleep(0.5)
    begun = time.monotonic()
    c.network.cut("silence", f"store-{number}", [pd])

    def are_repaired():
        now = c.peers()
        return all(lost not in now[region][1] and len(now[region][1]) == REPLICAS for region in repairable)

    took = wait_until(30, lambda: f"of {repairable}: {c.added(known)}", are_repaired)
    check(all(leads == lost for region, (leads, _) in c.peers().items() if before[region][0] == lost), "regions of the store have other leaders")
    time.sleep(max(0.0, options.store_seconds - 1 - (time.monotonic() - begun)))
    moved = check_added(c, known, repairable, repairable)
    c.network.heal("silence", f"store-{number}", [pd])
    told = judge_load(c.bench_end(bench), options.limit_ms)
    print(f"store {lost} cut off from the leader of pd: {len(repairable)} regions to repair, {moved} peers added, {took:.1f} s; "
          f"{led[number]} regions that it led went on: {told}", flush=True)
    c.wait_healthy(30)


def drain(c, options):
    """The leader goes when the first peer was added."""
    c.wait_quiet()
    before, known, ids = c.peers(), c.peers_known(), c.store_ids()
    number = leader(c)
    old, others = f"pd-{number}", [name for name in MEMBERS if name != f"pd-{number}"]
    leaving = max(ids.values(), key=lambda store: sum(1 for _, stores in before.values() if store in stores))
    there = [region for region, (_, peers) in before.items() if leaving in peers]
    bench = start_load(c, options.store_seconds)
    begun = time.monotonic()
    c.ctl("store", "drain", leaving, "--yes")
    wait_until(20, lambda: "no peer was added", lambda: any(c.added(known).values()))
    done, open_now = sum(len(peers) for peers in c.added(known).values()), len(c.ctl("operator", "list")["operators"])
    c.network.cut("silence", old, others)
    wait_until(60, lambda: f"{c.ctl('store', 'show', leaving)}", lambda: c.ctl("store", "show", leaving)["life"] == "tombstone")
    took = time.monotonic() - begun
    check(leader(c) != number, f"pd {number} leads on")
    moved = check_added(c, known, there, there)
    c.network.heal("silence", old, others)
    wait_members(c)
    told = judge_load(c.bench_end(bench), options.limit_ms)
    print(f"drained under a new leader: {len(there)} regions to move, {moved} peers added ({done} of them, with {open_now} operators open, "
          f"when pd {number} was cut off), a tombstone after {took:.1f} s: {told}", flush=True)


def body(options):
    with PartedCluster(options) as c:
        print(f"three pds and {STORES} storenodes, each on a network of its own, ready after {c.ready_seconds:.1f} s", flush=True)
        files = []
        for way in options.ways.split(","):
            cut_leader(c, way, options, files)
        c.bench("--op", "put", "--concurrency", 32, "--value-size", 1000, "--keys", 4000, "--seconds", 1, "--verify")
        cut_store(c, options)
        drain(c, options)


def can_part():
    if os.geteuid() != 0:
        return "not root"
    probe = f"polder-{os.getpid()}-probe"
    try:
        made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True, check=False)
        if made.returncode != 0:
            return f"no network namespaces: {made.stderr.strip()}"
        linked = subprocess.run(["ip", "-n", probe, "link", "add", "bridge", "type", "bridge"], capture_output=True, text=True, check=False)
        subprocess.run(["ip", "netns", "delete", probe], check=False)
        return f"no bridges: {linked.stderr.strip()}" if linked.returncode != 0 else None
    except FileNotFoundError:
        return "no iproute2"


def stop(*_):
    raise SystemExit(1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build")
    parser.add_argument("--limit-ms", type=float, default=3000, help="longer silence is a failure")
    parser.add_argument("--old-limit-ms", type=float, default=3000, help="giving out for longer while cut off is a failure")
    parser.add_argument("--stores-limit-ms", type=float, default=6000, help="later than that the next leader has heard of all stores")
    parser.add_argument("--ways", default="port,routes,silence,deaf")
    parser.add_argument("--regions", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=4, help="that the leader of pd is cut off")
    parser.add_argument("--store-seconds", type=float, default=10, help="of load while operators run")
    parser.add_argument("--keep", action="store_true", help="leave the directory of the cluster")
    chosen = parser.parse_args()
    reason = can_part()
    if reason:
        print(f"skipped: {reason}")
        sys.exit(SKIPPED)
    signal.signal(signal.SIGTERM, stop)
    cluster.main(body, chosen)
