#!/usr/bin/env python3
"""What `polder sim` says: JSON with coverage, and that a fault class nobody met is an error.

usage: test_output.py POLDER
"""
import json
import subprocess
import sys


def run(polder, *flags):
    done = subprocess.run([polder, "sim", *flags], capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout, done.stderr


def main():
    polder = sys.argv[1]
    flags = ["--swarm", "--seeds", "49..52", "--seconds", "3"]
    code, out, err = run(polder, *flags, "-o", "json")
    assert code == 0, err
    first = json.loads(out)
    assert first["seeds"] == 4 and first["failed"] == 0 and first["failures"] == []
    assert first["run_twice"] == 1, "seed 50 is run twice"
    assert len(first["coverage"]) >= 30 and set(first["coverage"]["hang"]) == {"happened", *first["done"]}
    again = json.loads(run(polder, *flags, "-o", "json", "--jobs", "2")[1])
    assert again["digest"] == first["digest"], "whatever the order of the jobs"
    assert again["coverage"] == first["coverage"]

    # nobody ever dies, so nothing is ever lost
    small = ["--stores", "1", "--clients", "1", "--regions", "1", "--seconds", "1", "--quiet", "--jobs", "4"]
    code, out, err = run(polder, *small, "--seeds", "1..1000", "--faults", "hang,lose")
    assert code == 1 and "DEAD FAULT CLASS" in err and "lose" in err, err
    assert "1000 seeds, 0 failed" in out, out
    code, out, err = run(polder, *small, "--seeds", "1..50", "--faults", "hang,lose")
    assert code == 0, err

    assert run(polder, "--faults", "nonsense")[0] == 2
    assert run(polder, "--output", "xml")[0] == 2
    print("ok")


main()
