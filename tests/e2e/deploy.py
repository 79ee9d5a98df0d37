#!/usr/bin/env python3
"""Three machines as docs/deploy.md says: certificates by its commands, files by `polder config gen --hosts`, TLS everywhere.

    tests/e2e/deploy.py BUILD [--keep]

Each machine is a network namespace, as is a client. The cluster founds itself; a client with a certificate writes and reads, one
without is told what is missing; pd-ctl works on each machine, whoever of pd leads; a machine that is lost is not missed, and comes
back. Wants root, iproute2 and openssl; skipped without.
"""
import argparse
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
from pd_partition import SKIPPED, Network, can_part, stop

HERE = os.path.dirname(os.path.abspath(__file__))
MACHINES = ["db1", "db2", "db3"]


class Deployment(cluster.Cluster):
    """Its processes are those of the generated files."""

    def __init__(self, options):
        super().__init__(options.build, stores=len(MACHINES), keep=options.keep)
        self.network = Network(MACHINES + ["client"])
        self.hosts = {name: self.network.address[name] for name in MACHINES}
        self.started = {}

    def up(self):
        self.network.make()
        self.make_certificates()
        self.sh(self.binary, "config", "gen", "--hosts", ",".join(self.hosts.values()), "--dir", "conf", "--tls-dir", "TLS",
                "--data-dir", "DATA")
        for name, address in self.hosts.items():
            for role in ("pd", "storenode"):
                path = os.path.join(self.directory, "conf", address, f"{role}.yaml")
                with open(path, encoding="utf-8") as file:
                    text = file.read()
                with open(path, "w", encoding="utf-8") as file:
                    file.write(text.replace("TLS/", f"{self.directory}/tls/{address}/").replace("DATA", f"{self.directory}/{name}"))
                self.sh(self.binary, "config", "check", role, path)
        for name in MACHINES:
            self.start_machine(name)

    def make_certificates(self):
        with open(os.path.join(HERE, "..", "..", "docs", "deploy.md"), encoding="utf-8") as file:
            commands = re.search(r"```sh certificates\n(.*?)```", file.read(), re.S).group(1)
        self.sh("bash", "-euc", commands, env={**os.environ, "HOSTS": " ".join(self.hosts.values())})

    def sh(self, *command, env=None):
        ended = subprocess.run(command, cwd=self.directory, env=env, capture_output=True, text=True, check=False)
        check(ended.returncode == 0, f"{' '.join(command)[:60]}: {ended.returncode}: {ended.stderr}")

    def start_machine(self, name):
        for role in ("pd", "storenode"):
            with open(os.path.join(self.directory, f"{name}-{role}.log"), "a", encoding="utf-8") as log:
                self.started[(name, role)] = subprocess.Popen(
                    [*self.network.inside(name), self.binary, role, "--config",
                     os.path.join(self.directory, "conf", self.hosts[name], f"{role}.yaml")],
                    cwd=self.directory, stdout=log, stderr=log, start_new_session=True)

    def lose_machine(self, name):
        for role in ("pd", "storenode"):
            self.started[(name, role)].kill()
            self.started.pop((name, role)).wait()

    def __exit__(self, kind, value, trace):
        for process in self.started.values():
            process.send_signal(signal.SIGTERM)
        for process in self.started.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.network.remove()
        if kind is not None:
            for name in sorted(os.listdir(self.directory)):
                if name.endswith(".log"):
                    with open(os.path.join(self.directory, name), encoding="utf-8", errors="replace") as file:
                        print(f"--- {name}\n{''.join(file.readlines()[-12:])}", flush=True)
        if self.keep or kind is not None:
            print(f"kept {self.directory}", flush=True)
        else:
            shutil.rmtree(self.directory, ignore_errors=True)
        return False

    # ---- people

    def polder(self, *args, host="client", trust=True, code=0):
        env = {**os.environ, "POLDER_PD": ",".join(f"tls+tcp://{address}:2379" for address in self.hosts.values())}
        tls = os.path.join(self.directory, "tls", "client")
        env["POLDER_TLS_CA"] = os.path.join(tls, "ca.pem")
        if trust:
            env.update(POLDER_TLS_CERT=os.path.join(tls, "cert.pem"), POLDER_TLS_KEY=os.path.join(tls, "key.pem"))
        ended = subprocess.run([*self.network.inside(host), self.binary, *map(str, args)], env=env, capture_output=True, text=True,
                               check=False)
        check(code is None or ended.returncode == code, f"{args} on {host}: {ended.returncode}: {ended.stdout}{ended.stderr}")
        return ended

    def wait(self, what, seconds=30):
        deadline = time.monotonic() + seconds
        while not what():
            check(time.monotonic() < deadline, f"not so after {seconds} s")
            time.sleep(0.2)

    def healthy(self):
        return self.polder("status", code=None).returncode == 0


def people_on_each_machine(c):
    for name in c.hosts:
        if (name, "pd") not in c.started:
            continue
        stores = json.loads(c.polder("ctl", "store", "list", "-o", "json", host=name).stdout)["stores"]
        check(len(stores) == len(MACHINES), f"{name}: {stores}")
        members = json.loads(c.polder("ctl", "member", "list", "-o", "json", host=name).stdout)["members"]
        check(sum(member["leader"] for member in members) == 1, f"{name}: {members}")


def body(options):
    with Deployment(options) as c:
        c.wait(c.healthy)
        c.polder("kv", "put", "colour", "red")
        check(c.polder("kv", "get", "colour").stdout == "red\n", "not what was written")
        stranger = c.polder("status", trust=False, code=2)
        check("tls-cert" in stranger.stdout + stranger.stderr, f"no word of a certificate: {stranger}")
        plain = c.polder("status", "--pd", f"tcp://{c.hosts['db1']}:2379", code=2)
        check("tls+tcp" in plain.stdout + plain.stderr, f"no word of TLS: {plain}")
        people_on_each_machine(c)
        c.polder("ctl", "store", "label", 1, "zone", "a", host="db1")
        leader = next(member["address"] for member in json.loads(c.polder("ctl", "member", "list", "-o", "json", host="db1").stdout)["members"]
                      if member["leader"])
        lost = next(name for name, address in c.hosts.items() if f"//{address}:" in leader)
        c.lose_machine(lost)
        begun = time.monotonic()
        c.polder("kv", "put", "colour", "green", "--deadline", "20s")
        print(f"written {time.monotonic() - begun:.1f} s after machine {lost} was lost, which led pd", flush=True)
        check(c.polder("kv", "get", "colour").stdout == "green\n", "not what was written")
        c.wait(lambda: c.polder("ctl", "status", host=next(n for n in MACHINES if n != lost), code=None).returncode == 0)
        people_on_each_machine(c)
        c.start_machine(lost)
        c.wait(c.healthy)
        print("a machine was lost, and came back; pd-ctl worked on each", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build")
    parser.add_argument("--keep", action="store_true", help="leave the directory of the cluster")
    chosen = parser.parse_args()
    reason = can_part() or (None if shutil.which("openssl") else "no openssl")
    if reason:
        print(f"skipped: {reason}")
        sys.exit(SKIPPED)
    signal.signal(signal.SIGTERM, stop)
    cluster.main(body, chosen)
