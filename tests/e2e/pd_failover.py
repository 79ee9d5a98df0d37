#!/usr/bin/env python3
"""Whatever happens to the leader of pd, timestamps, ids and routes are there again soon, and none is given out twice.

    tests/e2e/pd_failover.py BUILD [--limit-ms 3000] [--keep]

Three members of pd and three storenodes. While pd_questions asks for all three kinds without a pause, the leader is killed (kill -9), or
stopped (SIGSTOP), or one of its threads is: that of the log (a disk that hangs in a sync), that of the rows, that of pd itself. In the end it is
brought back. At last all three are killed at once. The cluster serves keys all the time.
"""
import argparse
import ctypes
import json
import os
import signal
import subprocess
import time

import cluster
from cluster import check

PTRACE_SEIZE, PTRACE_INTERRUPT, WALL = 0x4206, 0x4207, 0x40000000
TRACED = []  # threads that stand still: whoever traces them must take their end, or their process never ends


def threads_of(pid, name):
    found = []
    for tid in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{tid}/comm", encoding="utf-8") as file:
            if file.read().strip() == name:
                found.append(int(tid))
    return found


def ptrace(request, tid):
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    libc.ptrace.restype = ctypes.c_long
    return libc.ptrace(request, tid, None, None) == 0


def stop_thread(pid, name):
    """False: this machine does not let us."""
    tids = threads_of(pid, name)
    check(tids, f"process {pid} has no thread '{name}'")
    if not ptrace(PTRACE_SEIZE, tids[0]):
        return False
    TRACED.append(tids[0])
    return ptrace(PTRACE_INTERRUPT, tids[0])


def take_ends():
    for tid in TRACED[:]:
        try:
            ended, status = os.waitpid(tid, WALL | os.WNOHANG)
        except ChildProcessError:
            ended, status = tid, 0
        if ended == tid and not os.WIFSTOPPED(status):
            TRACED.remove(tid)


def leader(c):
    """Process id within the role; the name is pd-N."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        members = c.status().get("pd", [])
        for member in members:
            if member.get("leader"):
                return int(member["name"].rsplit("-", 1)[1])
        time.sleep(0.05)
    raise cluster.Failed("pd has no leader")


def harm(c, how):
    """Returns who was hit; None: it cannot be done here."""
    number = leader(c)
    pid = c.processes("pd")[number]["pid"]
    if how == "kill -9":
        os.kill(pid, signal.SIGKILL)
    elif how == "SIGSTOP":
        os.kill(pid, signal.SIGSTOP)
    elif not stop_thread(pid, how):
        return None
    return number


def bring_back(c, number, how):
    pid = c.processes("pd")[number]["pid"]
    if how == "SIGSTOP":
        os.kill(pid, signal.SIGCONT)
        return
    if cluster.is_alive(pid):
        os.kill(pid, signal.SIGKILL)
    while cluster.is_alive(pid):
        take_ends()
        time.sleep(0.01)
    c.start("pd", number)


def phase(c, how, options):
    load = subprocess.Popen([os.path.join(c.build, "tests", "pd_questions"), c.pd(), str(options.seconds)],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    time.sleep(0.7)
    number = harm(c, how)
    out, complaints = load.communicate(timeout=60)
    check(load.returncode == 0, f"{how}: {complaints[-1000:]}")
    if number is None:
        print(f"{how}: threads of others cannot be stopped here, left out", flush=True)
        return
    result = json.loads(out)
    print(f"{how} of pd {number}: longest silence " + ", ".join(
        f"{kind} {result[kind]['gap_ms']} ms ({result[kind]['answered']} answered)" for kind in result), flush=True)
    for kind, counts in result.items():
        check(counts["gap_ms"] < options.limit_ms, f"{how}: no {kind} for {counts['gap_ms']} ms")
        check(counts["failed"] == 0, f"{how}: {counts['failed']} questions for {kind} were never answered: {complaints}")
    check(leader(c) != number or how == "SIGSTOP", f"{how}: pd {number} leads on")
    c.client("kv", "put", "k", how)
    bring_back(c, number, how)


def wait_members(c, count):
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for process in c.processes("pd").values(): # the leader alone says who lives
            ended = c.run("status", "--pd", process["address"], "-o", "json", check_code=None)
            members = json.loads(ended.stdout).get("pd", []) if ended.stdout else []
            if sum(1 for member in members if member.get("active")) == count:
                return
        time.sleep(0.1)
    raise cluster.Failed(f"pd has not {count} members that live: {c.status().get('pd')}")


def kill_all(c):
    pids = {number: process["pid"] for number, process in c.processes("pd").items()}
    for pid in pids.values():
        os.kill(pid, signal.SIGKILL)
    while any(cluster.is_alive(pid) for pid in pids.values()):
        time.sleep(0.01)
    for number in pids:
        c.start("pd", number)
    begun = time.monotonic()
    wait_members(c, 3)
    print(f"all three killed: all there again {time.monotonic() - begun:.1f} s after the last was started", flush=True)


def pd_failover(options):
    with cluster.Cluster(options.build, stores=3, regions=16, pds=3, keep=options.keep) as c:
        print(f"three pds and three storenodes ready after {c.ready_seconds:.1f} s", flush=True)
        for how in ["kill -9", "SIGSTOP", "log", "apply", "pd"]:
            phase(c, how, options)
            wait_members(c, 3)
        kill_all(c)
        check(c.client("kv", "get", "k").strip() == "pd", "the last key that was written is gone")
        c.wait_healthy(30)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build")
    parser.add_argument("--limit-ms", type=float, default=3000, help="longer silence is a failure")
    parser.add_argument("--seconds", type=float, default=5, help="of load in each phase")
    parser.add_argument("--keep", action="store_true", help="leave the directory of the cluster")
    cluster.main(pd_failover, parser.parse_args())
