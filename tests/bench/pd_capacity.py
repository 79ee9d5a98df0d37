#!/usr/bin/env python3
"""What one pd carries: regions in memory, heartbeats, routes and timestamps over the wire, and how soon it serves again.

    tests/bench/pd_capacity.py BUILD [--regions 1000000] [--stores 1000] [--seconds 3] [--directory DIR] [-o table|json]

Starts one pd, plays --stores stores to it that lead --regions regions of three peers (pd_load), measures, kills it with -9,
starts it again. "Per core" is per second of pd's own CPU. The goals, for 1,000,000 regions: 350 MB, 500,000 heartbeats,
100,000 routes and 1,000,000 timestamps per second over the wire, serving again within 3 s. Exit code 0 whatever comes out.
"""
import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
import cluster  # noqa: E402


def start(options, directory, port):
    log = open(os.path.join(directory, "pd.log"), "ab")
    return subprocess.Popen([os.path.join(options.build, "polder"), "pd", "--data-dir", os.path.join(directory, "data"), "--address",
                             f"tcp://127.0.0.1:{port}", "--bootstrap-stores", "3", "--bootstrap-regions", "1"],
                            stdout=log, stderr=log)


def load(options, port, pid, *args):
    ended = subprocess.run([cluster.program(options.build, "pd_load"), f"tcp://127.0.0.1:{port}", str(pid), *map(str, args)],
                           stdout=subprocess.PIPE, text=True, timeout=900, check=False)
    if ended.returncode != 0:
        raise cluster.Failed(f"pd_load {' '.join(map(str, args))}: exit code {ended.returncode}: {ended.stdout}")
    return json.loads(ended.stdout)


def measure(options, directory):
    port = 2379 + cluster.free_port_offset(1)
    pd = start(options, directory, port)
    try:
        found = load(options, port, pd.pid, "fill", options.regions, options.stores, options.seconds)
        os.kill(pd.pid, signal.SIGKILL)
        pd.wait()
        pd = start(options, directory, port)
        found.update({f"restart_{name}": value for name, value in load(options, port, pd.pid, "wait", options.regions).items()})
    finally:
        pd.terminate()
        pd.wait(60)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build")
    parser.add_argument("--regions", type=int, default=1000000)
    parser.add_argument("--stores", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--directory")
    parser.add_argument("-o", "--output", choices=["table", "json"], default="table")
    options = parser.parse_args()
    directory = tempfile.mkdtemp(prefix="polder-pd-", dir=options.directory)
    try:
        found = measure(options, directory)
    except cluster.Failed as failure:
        with open(os.path.join(directory, "pd.log"), encoding="utf-8", errors="replace") as file:
            sys.stderr.write("".join(file.readlines()[-5:]))
        sys.exit(f"pd_capacity: {failure}")
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    if options.output == "json":
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name:28} {value:>14,}")


if __name__ == "__main__":
    main()
