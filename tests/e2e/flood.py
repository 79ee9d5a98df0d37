#!/usr/bin/env python3
"""Clients without manners: they send what they can and read no answers. The memory of the stores stays bounded, polite
clients are served, and nothing died.

    tests/e2e/flood.py BUILD [--seconds N] [--connections N] [--limit-mib N]
"""
import argparse

import cluster
from cluster import check


def flood(options):
    with cluster.Cluster(options.build, stores=3, regions=4) as c:
        pids = c.pids()
        stores = [str(pid) for (role, _), pid in sorted(pids.items()) if role == "storenode"]
        common = ["--pd", c.pd(), "--seconds", options.seconds, "--connections", options.connections,
                  "--limit-mib", options.limit_mib]
        for pid in stores:
            common += ["--pid", pid]
        for extra in ([], ["--get"], ["--size", 100]):
            print(c.tool("flood", *common, *extra).stdout.strip(), flush=True)
        check(c.pids() == pids, "a process died")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build")
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--limit-mib", type=int, default=2000)
    cluster.main(flood, parser.parse_args())
