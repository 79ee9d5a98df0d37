"""The run of vs_etcd.sh: etcd and polder in turn, each alone on the machine, medians over the rounds.

etcd: 3 members of Debian's etcd-server with their default (durable) settings, each with its own data directory,
driven by etcd_load, a C client of gRPC over nghttp2 which costs the shared cores less than etcd's own Go benchmark
(about 4 us per request). It is given the way that is best for etcd: one shared connection straight to the leader. What
64 clients reach over 8 connections spread over the members, as etcd's own tool is usually called, is shown beside it.

polder: `polder up`, 1 pd and 3 storenodes, driven by `polder bench`, one process with one connection per storenode, in two
shapes. With one region it is what etcd is: one Raft group, one leader; the goals are judged by that. With 16, as `polder up` makes
them by default, every store leads a third: each batch of writes is three, with three times the frames and syncs, and here all three
stores share the cores that a cluster would have three times. Both are shown.

Both: 16 byte keys or so, 100 byte values, closed loop, random keys out of the same number, fsync before the answer, each
get linearizable.
"""
import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
import cluster  # noqa: E402

VALUE_SIZE = 100
CLIENTS = 64


class Etcd:
    """Three members on free ports."""

    def __init__(self, directory, load):
        self.directory = tempfile.mkdtemp(prefix="vs-etcd-", dir=directory)
        self.load_program = load
        self.members, self.ports = [], []

    def __enter__(self):
        base = next(port for port in range(23790, 32000, 10) if all(cluster.is_free(port + i) for i in range(6)))
        self.ports = [base + 2 * i for i in range(3)]
        peers = ",".join(f"n{i}=http://127.0.0.1:{port + 1}" for i, port in enumerate(self.ports))
        environment = {key: value for key, value in os.environ.items() if not key.startswith("ETCD_")}
        for i, port in enumerate(self.ports):
            client, peer = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{port + 1}"
            with open(os.path.join(self.directory, f"n{i}.log"), "ab") as log:
                self.members.append(subprocess.Popen(
                    ["etcd", "--name", f"n{i}", "--data-dir", os.path.join(self.directory, f"n{i}"),
                     "--listen-client-urls", client, "--advertise-client-urls", client, "--listen-peer-urls", peer,
                     "--initial-advertise-peer-urls", peer, "--initial-cluster", peers,
                     "--initial-cluster-state", "new", "--logger", "zap", "--log-level", "error"],
                    stdout=log, stderr=log, env=environment))
        return self

    def __exit__(self, *_):
        for member in self.members:
            member.send_signal(signal.SIGTERM)
        for member in self.members:
            try:
                member.wait(10)
            except subprocess.TimeoutExpired:
                member.kill()
                member.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    def wait_leader(self):
        """The leader's port: the member that says so on its own metrics page."""
        import urllib.request
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            for port in self.ports:
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=2) as page:
                        if b"\netcd_server_is_leader 1\n" in page.read():
                            return port
                except OSError:
                    pass
            time.sleep(0.1)
        raise cluster.Failed("etcd: no leader in 20 s")

    def load(self, ports, op, clients, conns, seconds, keys):
        endpoints = ",".join(f"127.0.0.1:{port}" for port in ports)
        ended = subprocess.run(
            [self.load_program, "--endpoints", endpoints, "--op", op, "--clients", str(clients), "--conns", str(conns),
             "--seconds", str(seconds), "--value-size", str(VALUE_SIZE), "--keys", str(keys)],
            capture_output=True, text=True, check=False)
        if ended.returncode != 0:
            raise cluster.Failed(f"etcd_load {op}: {ended.stdout}{ended.stderr}")
        return json.loads(ended.stdout)


def run_etcd(options):
    with Etcd(options.dir, options.etcd_load) as etcd:
        leader = [etcd.wait_leader()]
        seconds, keys = options.seconds, options.keys
        etcd.load(leader, "fill", CLIENTS, 1, seconds, keys)
        results = {
            "put_1": etcd.load(leader, "put", 1, 1, seconds, keys),
            "put_64": etcd.load(leader, "put", CLIENTS, 1, seconds, keys),
            "get_64": etcd.load(leader, "get", CLIENTS, 1, seconds, keys),
            "put_64_spread": etcd.load(etcd.ports, "put", CLIENTS, 8, seconds, keys),
            "get_64_spread": etcd.load(etcd.ports, "get", CLIENTS, 8, seconds, keys),
        }
        # A fair get is a linearizable one: a leader that changed meanwhile is still right, only slower.
        if etcd.wait_leader() != leader[0]:
            print("note: etcd changed its leader during the round", file=sys.stderr)
        return results


def bench(c, options, op, concurrency, seconds):
    result = c.bench("--op", op, "--concurrency", concurrency, "--seconds", seconds, "--value-size", VALUE_SIZE,
                     "--keys", options.keys)
    cluster.check(result["errors"] == 0 and result["missing"] == 0, f"bench {op}: {result}")
    return {"ops_per_s": result["ops_per_s"], **{name: result["latency"][name] for name in ("p50_us", "p99_us")}}


def run_polder(options, regions):
    with cluster.Cluster(options.build, stores=3, regions=regions, directory=options.dir) as c:
        # Each bench writes all keys first: etcd was filled before as well.
        return {
            "put_1": bench(c, options, "put", 1, options.seconds),
            "put_64": bench(c, options, "put", CLIENTS, options.seconds),
            "get_64": bench(c, options, "get", CLIENTS, options.seconds),
        }


NAMES = {
    "put_1": "put, 1 client",
    "put_64": f"put, {CLIENTS} clients",
    "get_64": f"linearizable get, {CLIENTS} clients",
    "put_64_spread": f"put, {CLIENTS} clients, 8 connections to 3 members",
    "get_64_spread": f"get, {CLIENTS} clients, 8 connections to 3 members",
}


def median(rounds, name, field):
    return statistics.median(one[name][field] for one in rounds)


def print_table(system, rounds):
    for name in rounds[0]:
        rates = [one[name]["ops_per_s"] for one in rounds]
        print(f"{system:9} {NAMES[name]:46} {median(rounds, name, 'ops_per_s'):9,.0f}/s "
              f"({min(rates):,.0f} to {max(rates):,.0f})  p50 {median(rounds, name, 'p50_us'):7,.0f} us  "
              f"p99 {median(rounds, name, 'p99_us'):8,.0f} us")


def medians(rounds):
    return {name: {field: median(rounds, name, field) for field in ("ops_per_s", "p50_us", "p99_us")} for name in rounds[0]}


def judge(etcd, polder, regions):
    """One line each; the ratios, and which goals are met."""
    shape = f"polder, {regions} region{'s' if regions > 1 else ''}"
    ours, theirs = polder["put_1"]["p50_us"], etcd["put_1"]["p50_us"]
    ratio, met = {"put_1_p50": round(ours / theirs, 3)}, {"put_1_p50": ours <= theirs}
    print(f"put p50, 1 client: {shape} {ours:,.0f} us, etcd {theirs:,.0f} us, ratio {ours / theirs:.2f}; "
          f"not worse: {'yes' if met['put_1_p50'] else 'no'}")
    for name in ("put_64", "get_64"):
        ours, theirs, spread = polder[name]["ops_per_s"], etcd[name]["ops_per_s"], etcd[name + "_spread"]["ops_per_s"]
        ratio[name], ratio[name + "_spread"] = round(ours / theirs, 3), round(ours / spread, 3)
        met[name] = ours >= 2 * theirs
        print(f"{NAMES[name]}: {shape} {ours:,.0f}/s, etcd {theirs:,.0f}/s, ratio {ours / theirs:.2f}; "
              f"at least 2: {'yes' if met[name] else 'no'} (etcd driven over 8 spread connections: ratio {ours / spread:.2f})")
    return {"ratio": ratio, "met": met}


def compare(options):
    version = subprocess.run(["etcd", "--version"], capture_output=True, text=True, check=False).stdout.split("\n")[0]
    print(f"{version}, 3 members, driven by etcd_load (C, nghttp2, one connection to the leader unless said otherwise)\n"
          f"polder, 1 pd and 3 storenodes, {' and '.join(map(str, options.regions))} regions, driven by polder bench (one process)\n"
          f"{options.keys} keys, {VALUE_SIZE} byte values, {options.seconds} s each, medians of {options.rounds} rounds, "
          f"data in {options.dir}", flush=True)
    etcd, polder = [], {regions: [] for regions in options.regions}
    for i in range(options.rounds):
        load = os.getloadavg()[0]
        if i == 0 and load > 0.5:
            print(f"note: the load average is {load:.1f}, something else is running", file=sys.stderr)
        if options.only != "polder":
            etcd.append(run_etcd(options))
        for regions in options.regions if options.only != "etcd" else []:
            polder[regions].append(run_polder(options, regions))
        print(f"round {i + 1} of {options.rounds}", file=sys.stderr)
    shapes = {f"polder/{regions}": rounds for regions, rounds in polder.items()}
    for system, rounds in {"etcd": etcd, **shapes}.items():
        if rounds:
            print_table(system, rounds)
    if options.only:
        return
    theirs = medians(etcd)
    result = {"etcd": theirs, "polder": {regions: medians(rounds) for regions, rounds in polder.items()}}
    judged = {regions: judge(theirs, ours, regions) for regions, ours in result["polder"].items()}
    print(json.dumps({**result, "judged": judged}))
    if not all(judged[options.regions[0]]["met"].values()):
        sys.exit(1)


def region_counts(text):
    counts = [int(count) for count in text.split(",")]
    if min(counts) < 1:
        raise ValueError
    return counts


if __name__ == "__main__":
    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=os.path.join(root, "build"))
    parser.add_argument("--etcd-load", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--regions", type=region_counts, default=[1, 16], help="shapes of polder; the goals are judged by the first")
    parser.add_argument("--keys", type=int, default=10000)
    parser.add_argument("--dir", default="/var/tmp", help="where both put their data")
    parser.add_argument("--only", choices=["etcd", "polder"], help="one half, for a quick look")
    cluster.main(compare, parser.parse_args())
