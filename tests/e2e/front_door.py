#!/usr/bin/env python3
"""What `make run` does, and the commands around a cluster's life: up, the demo, a load that goes on where it was
interrupted, restart, Ctrl-C, up again with the data, down.

    tests/e2e/front_door.py BUILD
"""
import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time

import cluster
from cluster import check

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class Reader:
    """Collects the lines of a process until one matches."""

    def __init__(self, command):
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)
        self.lines = []

    def until(self, pattern):
        for line in self.process.stdout:
            self.lines.append(line)
            if re.search(pattern, line):
                return line
        raise cluster.Failed(f"no {pattern} in what it said: {''.join(self.lines)}")

    def interrupt(self, seconds=30):
        """Ctrl-C: the whole foreground group gets it. Returns the exit code."""
        os.killpg(self.process.pid, signal.SIGINT)
        rest, _ = self.process.communicate(timeout=seconds)
        self.lines.append(rest)
        return self.process.returncode


def pids_of(directory):
    with open(os.path.join(directory, "cluster.json"), encoding="utf-8") as file:
        return [p["pid"] for p in json.load(file)["processes"]]


def show_store_ids(binary, directory):
    """Who reads `store 2` somewhere may restart storenode 2."""
    with open(os.path.join(directory, "cluster.json"), encoding="utf-8") as file:
        planned = {str(p["id"]): p["address"] for p in json.load(file)["processes"] if p["role"] == "storenode"}
    status = subprocess.run([binary, "status", "--dir", directory, "-o", "json"], capture_output=True, text=True, timeout=30, check=True)
    known = {s["id"]: s["address"] for s in json.loads(status.stdout)["stores"]}
    check(known == planned, f"pd numbers the stores as cluster.json does: {known} {planned}")


def show_demo(binary, directory):
    demo = Reader([os.path.join(ROOT, "tools", "run_demo.sh"), binary, directory, "--port-offset", str(cluster.free_port_offset(3))])
    try:
        demo.until(r"ready in \d+\.\d+ s")
        loaded = demo.until(r"rows in .* rows/s")
        check(int(loaded.split()[0]) > 0 and "NOT" not in loaded, loaded)
        verified = demo.until(r"rows read back")
        check(verified.startswith(loaded.split()[0]) and "0 missing, 0 different" in verified, verified)
        demo.until(r"^healthy")
        command = demo.until(r"kv get bash").split()
        demo.until(r"Ctrl-C")
        ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        check(ended.returncode in (0, 3), f"the first command to try: {ended}")
        pids = pids_of(directory)
        check(all(cluster.is_alive(pid) for pid in pids), "the cluster runs")
        show_store_ids(binary, directory)
    finally:
        code = demo.interrupt()
    check(code == 0, f"Ctrl-C on the demo: exit code {code}")
    check(not any(cluster.is_alive(pid) for pid in pids), "Ctrl-C on the demo stops all processes")
    print(f"demo: {verified.strip()}")


def show_up_in_foreground(binary, directory):
    """Starts the demo's cluster again, with its data; notices a process that dies; stops a process that was restarted."""
    up = Reader([binary, "up", "--dir", directory])
    try:
        up.until(r"Ctrl-C stops the cluster")
        before = pids_of(directory)
        ended = subprocess.run([binary, "kv", "scan", "--dir", directory, "--limit", "0", "--keys-only"], capture_output=True, text=True,
                               timeout=60, check=True)
        check(len(ended.stdout.splitlines()) > 10, "the data is there after up")
        os.kill(before[2], signal.SIGKILL)
        up.until(r"storenode 2 \(pid %d\) ended; start it again: polder restart" % before[2])
        ended = subprocess.run([binary, "restart", "--dir", directory, "--id", "2"], capture_output=True, text=True, timeout=60, check=False)
        check(ended.returncode == 0 and "serves again" in ended.stdout, f"restart: {ended}")
        after = pids_of(directory)
        check(after[2] != before[2] and after[1] == before[1], f"restart of one process: {before} {after}")
        # A pid in the file that is somebody else's by now is nobody of ours.
    finally:
        code = up.interrupt()
    check(code == 0, f"Ctrl-C on up: exit code {code}: {''.join(up.lines)}")
    check(not any(cluster.is_alive(pid) for pid in after), "Ctrl-C on up stops all processes, the restarted one too")
    print("up in the foreground: ok")


def show_recycled_pid(binary, directory):
    """down must not kill a process that merely has the pid of one of ours."""
    bystander = subprocess.Popen(["sleep", "60"])
    path = os.path.join(directory, "cluster.json")
    with open(path, encoding="utf-8") as file:
        content = json.load(file)
    content["processes"][0]["pid"] = bystander.pid
    with open(path, "w", encoding="utf-8") as file:
        json.dump(content, file)
    ended = subprocess.run([binary, "down", "--dir", directory], capture_output=True, text=True, timeout=30, check=False)
    alive = bystander.poll() is None
    bystander.kill()
    bystander.wait()
    check(alive, "down killed a process that was not ours")
    check(ended.returncode == 0 and "nothing was running" in ended.stdout, f"down: {ended}")
    print("a pid that went to somebody else is left alone")


def show_resume(c):
    """A load that is killed goes on where it was; the later of two lines with one key wins."""
    count = 60000
    rows, state = os.path.join(c.directory, "rows.tsv"), os.path.join(c.directory, "rows.state")
    with open(rows, "w", encoding="utf-8") as file:
        for i in range(count):
            file.write(f"row{i % (count // 2):07d}\tvalue {i} \\x00\\t{'x' * 100}\n")
    command = [c.binary, "kv", "load", "--pd", c.pd(), rows, "--resume", state, "--batch", "16", "--window", "2"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while not os.path.exists(state) and process.poll() is None:
        check(time.monotonic() < deadline, "no state file")
        time.sleep(0.01)
    check(process.poll() is None, "the load ended before it could be interrupted")
    process.kill()
    process.wait()
    with open(state, encoding="utf-8") as file:
        line = json.load(file)["line"]
    check(0 < line < count, f"interrupted at line {line}")
    report = json.loads(c.client("kv", "load", rows, "--resume", state, "-o", "json", timeout=120))
    check(report["complete"] and report["rows"] == count - line and report["rows_total"] == count, f"resumed at {line}: {report}")
    report = json.loads(c.client("kv", "verify", rows, "-o", "json", timeout=120))
    check(report == {"rows": count, "missing": 0, "different": 0, "complete": True}, f"verify: {report}")
    shorter = os.path.join(c.directory, "shorter.tsv")
    with open(shorter, "w", encoding="utf-8") as file:
        file.write("row\tvalue\n")
    ended = c.run("kv", "load", shorter, "--resume", state, "--pd", c.pd(), check_code=2)
    check("belongs to" in ended.stderr and not ended.stdout, f"a state of another file: {ended}")
    again = json.loads(c.client("kv", "load", rows, "--resume", state, "-o", "json"))
    check(again["rows"] == 0 and again["complete"], f"a load that is complete does nothing: {again}")
    c.client("kv", "put", "row0000005", "changed")
    c.client("kv", "delete", "row0000006")
    ended = c.run("kv", "verify", rows, "--pd", c.pd(), check_code=1)
    check("1 missing, 1 different" in ended.stdout, f"verify notices: {ended.stdout}")
    print(f"load interrupted at line {line} of {count} and resumed: ok")


def show_bench_interrupted(c):
    """Who stops a measurement sees what was measured."""
    bench = Reader([c.binary, "bench", "--pd", c.pd(), "--keys", "100", "--seconds", "60", "--progress"])
    bench.until(r"^ *\d")
    began = time.monotonic()
    code = bench.interrupt()
    said = "".join(bench.lines)
    check(code == 0 and "ops/s" in said and "interrupted" in said and time.monotonic() - began < 20, f"Ctrl-C on bench: {code} {said}")
    print("bench stopped early: ok")


def body(options):
    binary = os.path.join(os.path.abspath(options.build), "polder")
    directory = tempfile.mkdtemp(prefix="polder-door-")
    try:
        show_demo(binary, directory)
        show_up_in_foreground(binary, directory)
        show_recycled_pid(binary, directory)
        with cluster.Cluster(options.build, stores=3, regions=8) as c:
            show_resume(c)
            show_bench_interrupted(c)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("build")
    cluster.main(body, arguments.parse_args())
